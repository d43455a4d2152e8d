//! Taking leave of a queue.

use crate::{
    CaseResult, Harness, Setup,
    stage::{BYTES, Stage, numbered, text, within},
    stop::{check, check_eq},
};
use forebay_contract::{Source, SourceError, Verdict, Want};
use std::{collections::BTreeSet, time::Duration};

/// MUST 33: close gives back at once what the source has buffered: another worker need not wait for
/// a lease to end. What was out is stale, and comes back at its lease's end at the latest.
pub async fn gives_back_what_it_had<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 50;
    let stage = Stage::new(harness, Setup::medium_lease()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(N)).await?;
    let one = worker.receive_one().await?;
    tokio::time::sleep(Duration::from_millis(100)).await; // time to buffer more
    worker.close().await?;
    let late = worker.try_settle(&[(&one, Verdict::Ack)]).await?;
    check!(late[0].is_err(), "a settlement after close was reported as {:?}", late[0]);
    let next = stage.worker().await?;
    let mut out = next.receive_for(Duration::from_secs(1), N - 1).await?;
    check_eq!(out.len(), N - 1, "messages that came soon after close");
    out.extend(next.receive_n(1).await?);
    let seen: BTreeSet<_> = out.iter().map(text).collect();
    check_eq!(seen.len(), N, "different messages after close");
    next.ack_all(&out).await
}

/// MUST 34: after close, `receive` says so; one that waits while the source is closed returns, too.
pub async fn receive_says_closed<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let want = Want { messages: 10, bytes: BYTES };
    let mut out = Vec::new();
    let waiting = within(stage.timing.patience, "a waiting receive to notice the close", async {
        worker.source.receive(want, &mut out).await
    });
    let close = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        worker.close().await
    };
    let (waited, closed) = tokio::join!(waiting, close);
    closed?;
    let waited = waited?;
    check!(matches!(waited, Err(SourceError::Closed)), "a waiting receive got {waited:?}");
    let mut out = Vec::new();
    let again = worker.source.receive(want, &mut out);
    let again = within(stage.timing.patience, "a receive after close", again).await?;
    check!(matches!(again, Err(SourceError::Closed)), "a receive after close got {again:?}");
    Ok(())
}
