//! From the dead letters back into the queue.

use crate::{
    CaseResult, Harness, Setup,
    stage::{Stage, check_attempt, dead_letter, errors, give_up_on, numbered, text},
    stop::{check, check_eq},
};
use forebay_contract::{DeadFilter, DeadLetters, Outgoing, Source, Verdict};
use std::collections::BTreeSet;

/// MUST 20: a redriven message keeps its identity, payload and history, has its attempts at 0 and
/// `redrives` raised by one; it can fail and be redriven again.
pub async fn starts_afresh_and_forgets_nothing<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let sent = Outgoing::new("body").key("key").header("h", "1").id("m-1");
    stage.bury(&[sent]).await?;
    let dead = harness.dead(&stage.queue).await?;
    let worker = stage.worker().await?;
    for n in 1..=3 {
        stage.dead_letters_n(1).await?;
        let redriven = dead.redrive(&DeadFilter::default(), 10).await?;
        check_eq!(redriven.moved.len(), 1, "moved by redrive {n}");
        let delivery = worker.receive_one().await?;
        let seen = &delivery.message;
        check_eq!(seen.id.to_string(), "m-1", "identity after redrive {n}");
        check_eq!(seen.payload.as_ref(), b"body", "payload after redrive {n}");
        check_eq!(seen.key.as_deref(), Some(b"key".as_ref()), "key after redrive {n}");
        check_eq!(seen.headers.get_str("h"), Some("1"), "header after redrive {n}");
        check_attempt(worker.source.capabilities(), seen.attempt, 0, "after a redrive")?;
        check_eq!(seen.redrives, n, "redrives");
        let mut expected = vec!["error of body".to_owned()];
        expected.extend((1..n).map(|n| format!("again {n}")));
        check_eq!(errors(&seen.history), expected, "history after redrive {n}");
        check_eq!(stage.dead_letters().await?.len(), 0, "dead letters after redrive {n}");
        worker.settle(&delivery, dead_letter(&format!("again {n}"))).await?;
    }
    let letter = stage.dead_letters_n(1).await?.remove(0);
    check_eq!(letter.message.redrives, 3, "redrives of the dead letter");
    Ok(())
}

/// MUST 21: a redrive moves what matches, `limit` at most, the oldest death first, and leaves the
/// rest.
pub async fn moves_only_what_is_meant<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let names = ["apple", "pear", "apple pie", "plum", "apple tree"];
    stage.bury(&names.map(Outgoing::new)).await?;
    stage.dead_letters_n(5).await?;
    let dead = harness.dead(&stage.queue).await?;
    let filter = DeadFilter {
        error_contains: Some("apple".into()),
        redriven_less_than: Some(1),
        ..DeadFilter::default()
    };
    let moved = dead.redrive(&filter, 2).await?.moved;
    let payloads: Vec<_> = moved.iter().map(|letter| letter.message.payload.as_ref()).collect();
    check_eq!(payloads, [b"apple".as_ref(), b"apple pie".as_ref()], "moved with a limit of 2");
    let worker = stage.worker().await?;
    let out = worker.receive_n(2).await?;
    let seen: BTreeSet<_> = out.iter().map(text).collect();
    check_eq!(seen, BTreeSet::from(["apple".to_owned(), "apple pie".to_owned()]), "in the queue");
    for delivery in &out {
        worker.settle(delivery, dead_letter("apple again")).await?;
    }
    stage.dead_letters_n(5).await?;
    let moved = dead.redrive(&filter, 2).await?.moved;
    check_eq!(moved.len(), 1, "moved that was never redriven");
    check_eq!(stage.dead_letters_n(4).await?.len(), 4, "left behind");
    let third = worker.receive_one().await?;
    check_eq!(text(&third), "apple tree", "what came of the second redrive");
    worker.nothing_comes("only one was moved").await?;
    worker.settle(&third, Verdict::Ack).await
}

/// MUST 22: a redrive whose caller goes away half-way loses nothing: each message is in one place
/// or, at worst, in both.
pub async fn given_up_halfway_loses_nothing<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 60;
    let stage = Stage::new(harness, Setup::default()).await?;
    stage.bury(&numbered(N)).await?;
    stage.dead_letters_n(N).await?;
    let dead = harness.dead(&stage.queue).await?;
    for _ in 0..20 {
        give_up_on(dead.redrive(&DeadFilter::default(), 4)).await;
    }
    finish_and_count(&stage, N).await
}

/// MUST 22: nor does one whose process is killed half-way.
pub async fn killed_halfway_loses_nothing<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 100;
    let stage = Stage::new(harness, Setup::default()).await?;
    stage.bury(&numbered(N)).await?;
    stage.dead_letters_n(N).await?;
    harness.redrive_killed_halfway(&stage.queue).await?;
    finish_and_count(&stage, N).await
}

/// Redrives the rest, and insists that each of `0..n` comes.
async fn finish_and_count<H: Harness>(stage: &Stage<'_, H>, n: usize) -> CaseResult {
    let dead = stage.harness.dead(&stage.queue).await?;
    while !dead.redrive(&DeadFilter::default(), 50).await?.moved.is_empty() {}
    check_eq!(stage.dead_letters().await?.len(), 0, "dead letters after redriving all");
    let worker = stage.worker().await?;
    let mut seen = BTreeSet::new();
    let mut copies = 0;
    while seen.len() < n {
        let delivery = worker.receive_one().await?;
        seen.insert(text(&delivery));
        copies += 1;
        check!(copies <= 2 * n, "{copies} copies of {n} messages, {} different", seen.len());
        worker.settle(&delivery, Verdict::Ack).await?;
    }
    Ok(())
}
