//! Coming back: later, with what is known of the failures.

use crate::{
    CaseResult, Harness, Setup,
    stage::{GRAIN, Stage, numbered, retry},
    stop::{check, check_eq},
};
use forebay_contract::Verdict;
use std::time::{Duration, Instant};

/// MUST 6: a retry, a postponed and a released message come back when their time has passed, and
/// not earlier.
pub async fn is_not_early<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let after = Duration::from_millis(250);
    let note = crate::stage::note("busy");
    for verdict in [
        Verdict::Retry { after, note: note.clone() },
        Verdict::Postpone { after, note },
        Verdict::Release { after },
    ] {
        let delivery = worker.receive_one().await?;
        let start = Instant::now();
        worker.settle(&delivery, verdict.clone()).await?;
        let again = worker.receive_one().await?;
        let waited = start.elapsed();
        check!(waited + GRAIN >= after, "{verdict:?} came back after {waited:?} already");
        worker.settle(&again, crate::stage::release(Duration::ZERO)).await?;
    }
    Ok(())
}

/// MUST 7: each retry raises `attempt` by one and appends its note to the history; payload, key,
/// headers and identity stay as they are.
pub async fn raises_the_attempt_and_keeps_the_history<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let sent = numbered(1).remove(0).key("key").header("h", "1").id("m-1");
    stage.publish(&[sent]).await?;
    let first = worker.receive_one().await?;
    check_eq!(first.message.attempt, 0, "attempts at first sight");
    let mut delivery = first.clone();
    for n in 1..=3 {
        worker.settle(&delivery, retry(Duration::from_millis(20), &format!("error {n}"))).await?;
        delivery = worker.receive_one().await?;
        let seen = &delivery.message;
        check_eq!(seen.attempt, n, "attempts after {n} retries");
        let errors: Vec<_> = seen.history.notes().iter().map(|note| note.error.clone()).collect();
        let expected: Vec<_> = (1..=n).map(|n| format!("error {n}")).collect();
        check_eq!(errors, expected, "history after {n} retries");
        check_eq!(seen.id, first.message.id, "identity after {n} retries");
        check_eq!(seen.payload, first.message.payload, "payload after {n} retries");
        check_eq!(seen.key, first.message.key, "key after {n} retries");
        check_eq!(seen.headers, first.message.headers, "headers after {n} retries");
    }
    worker.settle(&delivery, Verdict::Ack).await
}
