//! What a verdict does to a message, and that nothing else does anything to it.

use crate::{
    CaseResult, Harness, Setup,
    stage::{Stage, numbered, text},
    stop::check_eq,
};
use forebay_contract::Verdict;

/// MUST 1: what is acknowledged never comes back, not even to a worker that opens the queue later.
pub async fn acked_never_returns<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(20)).await?;
    let out = worker.receive_n(20).await?;
    worker.ack_all(&out).await?;
    worker.nothing_comes("all was acknowledged").await?;
    worker.close().await?;
    let later = stage.worker().await?;
    later.nothing_comes("all was acknowledged before this worker came").await
}

/// MUST 1: what is dropped never comes back either, and is no dead letter.
pub async fn dropped_never_returns<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let delivery = worker.receive_one().await?;
    worker.settle(&delivery, Verdict::Drop("of no interest".into())).await?;
    worker.nothing_comes("it was dropped").await?;
    worker.close().await?;
    stage.worker().await?.nothing_comes("it was dropped before this worker came").await?;
    check_eq!(stage.dead_letters().await?.len(), 0, "dead letters of a dropped message");
    Ok(())
}

/// MUST 2: dropping deliveries and their receipts acknowledges nothing; all of it comes to the next
/// worker, with nothing recorded against it.
pub async fn forgetting_a_delivery_is_no_ack<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(10)).await?;
    drop(worker.receive_n(10).await?);
    worker.nothing_comes("what was dropped is still out").await?;
    worker.close().await?;
    let next = stage.worker().await?;
    let out = next.receive_n(10).await?;
    let mut seen: Vec<_> = out.iter().map(text).collect();
    seen.sort();
    let expected: Vec<_> = (0..10).map(|i| i.to_string()).collect();
    check_eq!(seen, expected, "what came back");
    next.ack_all(&out).await
}
