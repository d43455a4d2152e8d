//! What a verdict does to a message, and that nothing else does anything to it.

use crate::{
    CaseResult, Harness, Setup,
    stage::{Stage, check_attempt, dead_letter, give_up_on, note, numbered, release, retry, text},
    stop::{check, check_eq},
};
use forebay_contract::{SettleError, Settlement, Source, Verdict};
use std::{collections::BTreeSet, time::Duration};

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
/// worker, without an attempt counted.
pub async fn forgetting_a_delivery_is_no_ack<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::medium_lease()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(10)).await?;
    drop(worker.receive_n(10).await?);
    worker.nothing_comes("what was dropped is still out").await?;
    worker.close().await?;
    let next = stage.worker().await?;
    let out = next.receive_n(10).await?;
    let seen: BTreeSet<_> = out.iter().map(text).collect();
    let expected: BTreeSet<_> = (0..10).map(|i| i.to_string()).collect();
    check_eq!(seen, expected, "what came back");
    for delivery in &out {
        let capabilities = next.source.capabilities();
        check_attempt(capabilities, delivery.message.attempt, 0, "of what was forgotten")?;
    }
    next.ack_all(&out).await
}

/// MUST 2: a worker that is gone without a word has acknowledged nothing: neither by having received
/// (a commit on hand-over) nor by being dropped.
pub async fn a_lost_worker_acknowledges_nothing<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::short_lease()).await?;
    let worker = stage.worker().await?;
    if worker.source.capabilities().lease.is_some() {
        worker.short_lease()?;
    }
    stage.publish(&numbered(10)).await?;
    let out = worker.receive_n(10).await?;
    worker.settle(&out[0], Verdict::Ack).await?;
    drop(worker); // not closed
    let next = stage.worker().await?;
    let back = next.receive_n(9).await?;
    let seen: BTreeSet<_> = back.iter().map(text).collect();
    check_eq!(seen.len(), 9, "different messages among those that came back");
    check!(!seen.contains(&text(&out[0])), "the acknowledged one came back");
    next.ack_all(&back).await
}

/// MUST 1: what is done stays done although an earlier message is not: after a restart only that
/// one comes. (A rival forgets what is done above a gap.)
pub async fn done_above_a_gap_stays_done<H: Harness>(harness: &H) -> CaseResult {
    let mut stage = Stage::new(harness, Setup::medium_lease()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(10)).await?;
    let out = worker.receive_n(10).await?;
    worker.ack_all(&out[1..]).await?;
    worker.close().await?;
    drop(worker);
    stage.queue = harness.restart(stage.queue).await?;
    let next = stage.worker().await?;
    let gap = next.receive_one().await?;
    check_eq!(text(&gap), text(&out[0]), "what came after the restart");
    next.nothing_comes("all the others were acknowledged").await?;
    next.settle(&gap, Verdict::Ack).await
}

/// MUST 3: result `i` of a batch answers settlement `i`: a stale receipt in its midst fails alone.
pub async fn one_stale_receipt_does_not_spoil_its_batch<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(3)).await?;
    let out = worker.receive_n(3).await?;
    worker.settle(&out[1], release(Duration::ZERO)).await?;
    let again = worker.receive_one().await?;
    let batch: Vec<_> = out.iter().map(|delivery| (delivery, Verdict::Ack)).collect();
    let results = worker.try_settle(&batch).await?;
    for (i, result) in results.iter().enumerate() {
        match result {
            Err(SettleError::Stale) if i == 1 => {}
            Err(error) => check!(false, "settlement {i}, of 3 with a stale one at 1: {error}"),
            Ok(_) => {} // some brokers cannot tell that a receipt is stale; it must do no harm
        }
    }
    worker.settle(&again, Verdict::Ack).await?;
    worker.nothing_comes("all was acknowledged").await
}

/// MUST 3: two calls under way at once, as a worker makes them, are carried out each as if it were alone:
/// one of acknowledgements, one of all else.
pub async fn two_calls_at_once_do_not_meet<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 24;
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(3 * N)).await?;
    let out = worker.receive_n(3 * N).await?;
    for three in out.chunks(12) {
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for (i, delivery) in three.iter().enumerate() {
            match i % 3 {
                0 => removed.push((delivery, Verdict::Ack)),
                1 => kept.push((delivery, retry(Duration::from_millis(100), "again"))),
                _ => kept.push((delivery, dead_letter("never"))),
            }
        }
        let both = tokio::join!(worker.try_settle(&removed), worker.try_settle(&kept));
        for result in both.0?.into_iter().chain(both.1?) {
            check!(result.is_ok(), "beside another call: {result:?}");
        }
    }
    let back = worker.receive_n(N).await?;
    let seen: BTreeSet<_> = back.iter().map(text).collect();
    let retried: BTreeSet<_> = out.iter().skip(1).step_by(3).map(text).collect();
    check_eq!(seen, retried, "what came back");
    worker.ack_all(&back).await?;
    worker.close().await?;
    let later = stage.worker().await?;
    later.nothing_comes("all was acknowledged or is dead before this worker came").await?;
    let dead: BTreeSet<_> =
        stage.dead_letters_n(N).await?.into_iter().map(|letter| letter.message.payload).collect();
    let buried: BTreeSet<_> =
        out.iter().skip(2).step_by(3).map(|delivery| delivery.message.payload.clone()).collect();
    check!(dead == buried, "the dead letters are others than those that were meant");
    Ok(())
}

/// MUST 4: the receipt of an earlier hand-out does nothing to a later one of the same message.
pub async fn a_stale_receipt_settles_nothing<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(1)).await?;
    let old = worker.receive_one().await?;
    worker.settle(&old, release(Duration::ZERO)).await?;
    let new = worker.receive_one().await?;
    for verdict in [Verdict::Ack, dead_letter("late"), retry(Duration::ZERO, "late")] {
        let _ = worker.try_settle(&[(&old, verdict)]).await?; // stale, or a success that did nothing
    }
    worker.nothing_comes("the old receipt is stale, and the new hand-out is still out").await?;
    check_eq!(stage.dead_letters().await?.len(), 0, "dead letters by a stale receipt");
    worker.settle(&new, retry(Duration::ZERO, "in time")).await?;
    let after = worker.receive_one().await?;
    check_attempt(worker.source.capabilities(), after.message.attempt, 1, "after one retry")?;
    worker.settle(&after, Verdict::Ack).await
}

/// MUST 5: settling the same hand-out again, later or in the same batch, makes no second copy.
pub async fn settling_again_copies_nothing<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(2)).await?;
    let out = worker.receive_n(2).await?;
    let later = retry(Duration::from_millis(200), "once");
    let results = worker.try_settle(&[(&out[0], later.clone()), (&out[0], later.clone())]).await?;
    check!(results[0].is_ok(), "a first retry: {:?}", results[0]);
    let _ = worker.try_settle(&[(&out[0], later)]).await?;
    worker.settle(&out[1], dead_letter("once")).await?;
    let _ = worker.try_settle(&[(&out[1], dead_letter("once")), (&out[1], Verdict::Ack)]).await?;
    let back = worker.receive_one().await?;
    check_eq!(text(&back), text(&out[0]), "what came back");
    check_attempt(worker.source.capabilities(), back.message.attempt, 1, "settled thrice")?;
    worker.nothing_comes("the one retry has come back").await?;
    worker.settle(&back, Verdict::Ack).await?;
    let letters = stage.dead_letters_n(1).await?;
    check_eq!(letters[0].message.payload, out[1].message.payload, "the one dead letter");
    Ok(())
}

/// MUST 5: a settlement whose caller goes away half-way is carried out or not; settled again, the
/// message is there exactly once.
pub async fn a_cancelled_settlement_can_be_repeated<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 60;
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(N)).await?;
    let out = worker.receive_n(N).await?;
    for chunk in out.chunks(4) {
        let verdict = Verdict::Retry { after: Duration::from_millis(300), note: note("once") };
        let settlement = |delivery: &crate::stage::Out<H::Source>| Settlement {
            receipt: delivery.receipt.clone(),
            message: delivery.message.clone(),
            verdict: verdict.clone(),
        };
        let batch: Vec<_> = chunk.iter().map(settlement).collect();
        give_up_on(worker.source.settle(&batch)).await;
        for result in worker.source.settle(&batch).await {
            let fine = matches!(result, Ok(_) | Err(SettleError::Stale));
            check!(fine, "a settlement repeated after a cancelled one: {result:?}");
        }
    }
    let back = worker.receive_n(N).await?;
    let seen: BTreeSet<_> = back.iter().map(text).collect();
    check_eq!(seen.len(), N, "different messages among {N} that came back");
    for delivery in &back {
        check_attempt(worker.source.capabilities(), delivery.message.attempt, 1, "once failed")?;
    }
    worker.nothing_comes("each has come back once").await?;
    worker.ack_all(&back).await
}

/// MUST 32: a connection cut while copies are made loses nothing: the original leaves only after its
/// copy is confirmed. (A rival settles the original first.)
pub async fn a_cut_while_copying_loses_nothing<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 40;
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(N)).await?;
    let out = worker.receive_n(N).await?;
    for (i, chunk) in out.chunks(4).enumerate() {
        let verdict = |j| match j % 2 {
            0 => dead_letter("never"),
            _ => retry(Duration::from_millis(50), "again"),
        };
        let batch: Vec<_> = chunk.iter().enumerate().map(|(j, out)| (out, verdict(j))).collect();
        let cut = async { if i % 3 == 1 { harness.sever(&stage.queue).await } else { Ok(()) } };
        let (settled, cut) = tokio::join!(worker.try_settle(&batch), cut);
        settled?; // with whatever results: what failed comes again
        cut?;
    }
    let mut seen = BTreeSet::new();
    let dead = stage.dead_letters().await?;
    seen.extend(dead.iter().map(|letter| letter.message.payload.clone()));
    let start = std::time::Instant::now();
    while seen.len() < N {
        let waited = start.elapsed();
        check!(waited < stage.timing.patience, "{} of {N} are left after {waited:?}", seen.len());
        let back = worker.receive_for(Duration::from_millis(50), N).await?;
        seen.extend(back.iter().map(|delivery| delivery.message.payload.clone()));
        worker.ack_all(&back).await?;
    }
    Ok(())
}
