//! What a source tells of its queue.

use crate::{
    CaseResult, Harness, Setup,
    stage::{GRAIN, Stage, dead_letter, numbered, retry},
    stop::check,
};
use forebay_contract::{Backlog, Exactness, Source, Verdict};
use std::time::{Duration, Instant};

/// Whether each count that the broker tells is the true one.
fn counts(backlog: &Backlog, ready: u64, delayed: u64, leased: u64, dead: u64) -> bool {
    [
        (backlog.ready, ready),
        (backlog.delayed, delayed),
        (backlog.leased, leased),
        (backlog.dead, dead),
    ]
    .into_iter()
    .all(|(told, truth)| told.is_none_or(|told| told.value == truth))
}

/// MUST 35: the counts come to the truth as messages are published, handed out, delayed, buried and
/// done; at once, where they are said to be exact.
pub async fn tells_the_truth<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let exact = worker.source.capabilities().backlog == Exactness::Exact;
    let step = async |what: &str, ready, delayed, leased, dead| -> CaseResult {
        let expected = format!("{ready} ready, {delayed} delayed, {leased} leased, {dead} dead");
        let holds = |backlog: &Backlog| counts(backlog, ready, delayed, leased, dead);
        if exact {
            let backlog = worker.source.backlog().await?;
            check!(holds(&backlog), "{what}, the backlog is {backlog:?}, expected {expected}");
            let told = [backlog.ready, backlog.delayed, backlog.leased, backlog.dead];
            let all_exact = told.into_iter().flatten().all(|count| count.exact);
            check!(all_exact, "a count is not marked as exact: {backlog:?}");
        } else {
            worker.backlog_until(&format!("{expected} ({what})"), holds).await?;
        }
        Ok(())
    };
    step("at first", 0, 0, 0, 0).await?;
    stage.publish(&numbered(8)).await?;
    step("with 8 published", 8, 0, 0, 0).await?;
    let out = worker.receive_n(5).await?;
    step("with 5 handed out", 3, 0, 5, 0).await?;
    worker.settle(&out[0], Verdict::Ack).await?;
    worker.settle(&out[1], retry(Duration::from_secs(30), "later")).await?;
    worker.settle(&out[2], dead_letter("never")).await?;
    step("with one done, one delayed and one dead", 3, 1, 2, 1).await?;
    worker.close().await?;
    let next = stage.worker().await?;
    let holds = |backlog: &Backlog| counts(backlog, 5, 1, 0, 1);
    next.backlog_until("5 ready, 1 delayed and 1 dead after close", holds).await?;
    Ok(())
}

/// MUST 36: the oldest age is that of the oldest message that is due, and nothing when none is.
pub async fn tells_the_oldest_age<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let before = Instant::now();
    stage.publish(&numbered(1)).await?;
    let published = Instant::now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.publish(&numbered(2)).await?;
    let at_least = published.elapsed();
    let Some(age) = worker.source.backlog().await?.oldest_age else {
        return Err(crate::Stop::skip("this broker does not tell the oldest age"));
    };
    let at_most = before.elapsed();
    let fits = age + GRAIN >= at_least && age <= at_most + GRAIN;
    check!(fits, "the oldest age is {age:?}, expected {at_least:?} to {at_most:?}");
    let out = worker.receive_n(3).await?;
    worker.ack_all(&out[..2]).await?;
    worker.settle(&out[2], retry(Duration::from_secs(30), "later")).await?;
    let age = worker.source.backlog().await?.oldest_age.unwrap_or_default();
    check!(age <= GRAIN, "with one message, delayed, the oldest age is {age:?}");
    Ok(())
}
