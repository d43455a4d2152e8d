//! Coming back: later, with what is known of the failures.

use crate::{
    CaseResult, Harness, Setup,
    stage::{
        GRAIN, Stage, check_attempt, errors, note, numbered, producer_headers, release, retry, text,
    },
    stop::{check, check_eq},
};
use forebay_contract::{Outgoing, Source, Verdict};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// MUST 6: a retried, a postponed and a released message come back when their time has passed, and
/// not earlier.
pub async fn is_not_early<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let after = Duration::from_millis(250);
    let postpone = Verdict::Postpone { after, note: note("busy") };
    for verdict in [retry(after, "failed"), postpone, release(after)] {
        let delivery = worker.receive_one().await?;
        let start = Instant::now();
        worker.settle(&delivery, verdict.clone()).await?;
        let again = worker.receive_one().await?;
        let waited = start.elapsed();
        check!(waited + GRAIN >= after, "{verdict:?} came back after {waited:?} already");
        worker.settle(&again, release(Duration::ZERO)).await?;
    }
    Ok(())
}

/// MUST 7: each retry raises `attempt` by one and appends its note to the history; payload, key,
/// headers and identity stay as they are.
pub async fn raises_the_attempt_and_keeps_the_rest<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let sent = Outgoing::new("body").key("key").header("h", "1").header("h", "2").id("m-1");
    stage.publish(&[sent]).await?;
    let first = worker.receive_one().await?;
    check_attempt(worker.source.capabilities(), first.message.attempt, 0, "at first sight")?;
    let mut delivery = first.clone();
    for n in 1..=3 {
        worker.settle(&delivery, retry(Duration::from_millis(20), &format!("error {n}"))).await?;
        delivery = worker.receive_one().await?;
        let seen = &delivery.message;
        let when = format!("after {n} retries");
        check_attempt(worker.source.capabilities(), seen.attempt, n, &when)?;
        let expected: Vec<_> = (1..=n).map(|n| format!("error {n}")).collect();
        check_eq!(errors(&seen.history), expected, "history {when}");
        check_eq!(seen.id, first.message.id, "identity {when}");
        check_eq!(seen.payload, first.message.payload, "payload {when}");
        check_eq!(seen.key, first.message.key, "key {when}");
        let headers = producer_headers(&first.message.headers);
        check_eq!(producer_headers(&seen.headers), headers, "headers {when}");
    }
    worker.settle(&delivery, Verdict::Ack).await
}

/// MUST 8: a postponed message has its note in the history, and no attempt counted.
pub async fn postponing_counts_no_attempt<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    for n in 1..=3 {
        let delivery = worker.receive_one().await?;
        let note = note(&format!("busy {n}"));
        worker.settle(&delivery, Verdict::Postpone { after: Duration::ZERO, note }).await?;
    }
    let last = worker.receive_one().await?;
    check_attempt(worker.source.capabilities(), last.message.attempt, 0, "postponed thrice")?;
    check_eq!(errors(&last.message.history), ["busy 1", "busy 2", "busy 3"], "its history");
    worker.settle(&last, Verdict::Ack).await
}

/// MUST 9: attempts survive the worker and its process; so does the history, where the broker can
/// hold it.
pub async fn attempts_survive_a_new_process<H: Harness>(harness: &H) -> CaseResult {
    let mut stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&[Outgoing::new("body").id("m-1")]).await?;
    for n in 1..=2 {
        let delivery = worker.receive_one().await?;
        worker.settle(&delivery, retry(Duration::ZERO, &format!("error {n}"))).await?;
    }
    worker.close().await?;
    drop(worker);
    stage.queue = harness.restart(stage.queue).await?;
    let next = stage.worker().await?;
    let delivery = next.receive_one().await?;
    check_attempt(next.source.capabilities(), delivery.message.attempt, 2, "in a new process")?;
    if next.source.capabilities().durable_history {
        check_eq!(errors(&delivery.message.history), ["error 1", "error 2"], "its history");
    }
    check_eq!(delivery.message.id.to_string(), "m-1", "its identity");
    next.settle(&delivery, Verdict::Ack).await
}

/// MUST 9: a delayed retry survives them, too, and is still not early: it waits in the broker, not in
/// the worker's memory.
pub async fn a_delay_survives_a_new_process<H: Harness>(harness: &H) -> CaseResult {
    let mut stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let delivery = worker.receive_one().await?;
    let (start, after) = (Instant::now(), Duration::from_millis(500));
    worker.settle(&delivery, retry(after, "error 1")).await?;
    worker.close().await?;
    drop(worker);
    stage.queue = harness.restart(stage.queue).await?;
    let next = stage.worker().await?;
    let again = next.receive_one().await?;
    let waited = start.elapsed();
    check!(waited + GRAIN >= after, "retried after {after:?}, it came back after {waited:?}");
    check_attempt(next.source.capabilities(), again.message.attempt, 1, "in a new process")?;
    next.settle(&again, Verdict::Ack).await
}

/// MUST 10: a release records nothing: no attempt where the broker can tell, no interruption, no
/// history.
pub async fn releasing_records_nothing<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let first = worker.receive_one().await?;
    worker.settle(&first, retry(Duration::ZERO, "error 1")).await?;
    for _ in 0..3 {
        let delivery = worker.receive_one().await?;
        worker.settle(&delivery, release(Duration::ZERO)).await?;
    }
    let last = worker.receive_one().await?;
    let attempt = last.message.attempt;
    if worker.source.capabilities().release_keeps_attempt {
        check_attempt(worker.source.capabilities(), attempt, 1, "after three releases")?;
    } else {
        check!(attempt >= 1, "`attempt` is {attempt} after one retry and three releases");
    }
    if worker.source.capabilities().counts_interruptions {
        check_eq!(last.message.interrupted, 0, "interruptions after three releases");
    }
    check_eq!(errors(&last.message.history), ["error 1"], "history after three releases");
    worker.settle(&last, Verdict::Ack).await
}

/// MUST 11: a message that waits for its time keeps no other from coming, whatever was first: not
/// one that is due, and not one that is due earlier.
pub async fn a_long_delay_blocks_no_shorter_one<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(2)).await?;
    let out = worker.receive_n(2).await?;
    worker.settle(&out[0], retry(Duration::from_secs(20), "long")).await?;
    worker.settle(&out[1], retry(Duration::from_millis(200), "short")).await?;
    stage.publish(&[Outgoing::new("fresh")]).await?;
    // In which order depends on how long the publish took.
    let came = worker.receive_n(2).await?;
    let texts: BTreeSet<_> = came.iter().map(text).collect();
    check_eq!(texts, BTreeSet::from(["fresh".to_owned(), text(&out[1])]), "what came");
    worker.ack_all(&came).await
}
