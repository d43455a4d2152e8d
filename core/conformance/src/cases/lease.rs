//! Hand-outs that expire: when they do, what is recorded, and how they are made to last.

use crate::{
    CaseResult, Harness, Setup, Stop,
    stage::{GRAIN, Stage, Worker, check_attempt, numbered, retry},
    stop::{check, check_eq, needs},
};
use forebay_contract::{Lease, LeaseError, Source, Verdict};
use std::time::{Duration, Instant};

/// Extends one hand-out.
async fn extend<S: Source>(
    worker: &Worker<S>,
    receipt: &S::Receipt,
    time: Duration,
) -> Result<Result<Lease, LeaseError>, Stop> {
    let mut results = worker.source.extend(&[(receipt.clone(), time)]).await;
    check_eq!(results.len(), 1, "results of one extension");
    Ok(results.remove(0))
}

/// MUST 12: what is not settled comes to another worker once its lease has ended, and not before
/// the end that the lease told.
pub async fn unsettled_returns_when_its_lease_ends<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let (holder, other) = (stage.worker().await?, stage.worker().await?);
    holder.short_lease()?;
    stage.publish(&numbered(1)).await?;
    let held = holder.receive_one().await?;
    let Some(lease) = held.lease else {
        return Err(Stop::fail("the source declares leases, and its delivery has none"));
    };
    let again = other.receive_one().await?;
    let early = lease.expires_at.saturating_duration_since(Instant::now());
    check!(early <= GRAIN, "it was handed out again {early:?} before its lease ended");
    check_eq!(again.message.payload, held.message.payload, "what came back");
    other.settle(&again, Verdict::Ack).await
}

/// MUST 13: a lease that ends without a verdict raises `interrupted` by one where the broker counts
/// that, and `attempt` not at all.
pub async fn an_ended_lease_is_an_interruption<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let worker = stage.worker().await?;
    worker.short_lease()?;
    let counts = worker.source.capabilities().counts_interruptions;
    needs!(counts, "this broker does not count interruptions");
    stage.publish(&numbered(1)).await?;
    for n in 0..3 {
        let delivery = worker.receive_one().await?;
        check_eq!(delivery.message.interrupted, n, "interruptions after {n} ended leases");
        let attempt = delivery.message.attempt;
        check_attempt(worker.source.capabilities(), attempt, 0, "after ended leases")?;
        check_eq!(delivery.message.history.notes().len(), 0, "notes after ended leases");
        if n == 2 {
            worker.settle(&delivery, Verdict::Ack).await?;
        }
    }
    Ok(())
}

/// MUST 4: a receipt whose lease has ended settles nothing, and says so when extended; the new
/// hand-out is not harmed by it.
pub async fn a_receipt_goes_stale_with_its_lease<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let (late, other) = (stage.worker().await?, stage.worker().await?);
    let length = late.short_lease()?;
    stage.publish(&numbered(1)).await?;
    let old = late.receive_one().await?;
    let new = other.receive_one().await?;
    let kept = extend(&other, &new.receipt, Duration::from_secs(30).max(length)).await?;
    check!(kept.is_ok(), "extending the new hand-out: {kept:?}");
    let _ = late.try_settle(&[(&old, Verdict::Ack)]).await?; // stale, or a success that did nothing
    let extended = extend(&late, &old.receipt, length).await?;
    check!(matches!(extended, Err(LeaseError::Lost)), "extending a lost lease: {extended:?}");
    other.settle(&new, retry(Duration::ZERO, "in time")).await?;
    let after = other.receive_one().await?;
    check_attempt(other.source.capabilities(), after.message.attempt, 1, "after one retry")?;
    other.settle(&after, Verdict::Ack).await
}

/// MUST 14: while its lease is extended, a message stays hidden, well beyond its first lease.
pub async fn extending_keeps_it_hidden<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let (holder, other) = (stage.worker().await?, stage.worker().await?);
    let length = holder.short_lease()?;
    stage.publish(&numbered(1)).await?;
    let held = holder.receive_one().await?;
    for _ in 0..9 {
        let extended = extend(&holder, &held.receipt, length).await?;
        check!(extended.is_ok(), "extending a lease that is ours: {extended:?}");
        let stolen = other.receive_for(length / 3, 1).await?;
        check!(stolen.is_empty(), "it was handed out again although its lease was extended");
    }
    holder.settle(&held, Verdict::Ack).await?;
    other.nothing_comes("it was acknowledged").await
}

/// MUST 15: an extension counts from now: it does not add to what is left.
pub async fn extending_counts_from_now<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let worker = stage.worker().await?;
    let length = worker.short_lease()?;
    stage.publish(&numbered(1)).await?;
    let held = worker.receive_one().await?;
    for _ in 0..8 {
        match extend(&worker, &held.receipt, length).await? {
            Ok(lease) => {
                let left = lease.expires_at.saturating_duration_since(Instant::now());
                check!(left <= length + GRAIN, "extended by {length:?}, it lasts {left:?}");
            }
            Err(error) => return Err(Stop::fail(format!("extending a lease: {error}"))),
        }
    }
    let start = Instant::now();
    let again = worker.receive_one().await?;
    let took = start.elapsed();
    check!(took < length * 5, "extended eight times by {length:?}, it came back after {took:?}");
    worker.settle(&again, Verdict::Ack).await
}
