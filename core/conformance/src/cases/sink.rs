//! Putting messages into a queue.

use crate::{
    CaseResult, Harness, Setup,
    stage::{GRAIN, Stage, Worker, dead_letter, numbered, retry, text, within},
    stop::{check, check_eq, needs},
};
use forebay_contract::{
    DeadFilter, DeadLetters, MessageId, Outgoing, PublishError, Sink, Source, Verdict,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// MUST 37: result `i` of a publish answers message `i`: it is the identity under which that message
/// arrives, its own if it was given one.
pub async fn results_answer_by_index<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let mut batch = numbered(20);
    for (i, outgoing) in batch.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
        outgoing.id = Some(MessageId::from(format!("own-{i}")));
    }
    let ids = stage.publish(&batch).await?;
    for (i, (outgoing, id)) in batch.iter().zip(&ids).enumerate() {
        let own = outgoing.id.as_ref();
        check!(own.is_none_or(|own| own == id), "message {i} was sent as {own:?}, is {id}");
    }
    let out = worker.receive_n(20).await?;
    let by_text: BTreeMap<_, _> = out.iter().map(|out| (text(out), &out.message.id)).collect();
    let stable = worker.source.capabilities().stable_identity;
    for (i, (outgoing, id)) in batch.iter().zip(&ids).enumerate() {
        if stable || outgoing.id.is_some() {
            check_eq!(by_text.get(&i.to_string()).copied(), Some(id), "identity of message {i}");
        }
    }
    worker.ack_all(&out).await
}

/// MUST 37: a message that the broker refuses is refused at its index; its neighbours arrive.
pub async fn a_refused_message_fails_alone<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let Some(limit) = worker.source.capabilities().max_payload else {
        return Err(crate::Stop::skip("this broker takes a payload of any size"));
    };
    needs!(limit <= 64 << 20, "its limit of {limit} bytes is too large to exceed");
    let sink = harness.sink(&stage.queue).await?;
    let large = Outgoing::new(vec![0; limit + 1]);
    let batch = [Outgoing::new("0"), large, Outgoing::new("2")];
    let results = within(stage.timing.patience, "a publish", sink.publish(&batch)).await?;
    check_eq!(results.len(), 3, "results of three messages");
    let refused = matches!(results[1], Err(PublishError::Refused(_)));
    check!(refused, "a payload of {} bytes: {:?}", limit + 1, results[1]);
    check!(results[0].is_ok() && results[2].is_ok(), "its neighbours: {results:?}");
    let out = worker.receive_n(2).await?;
    worker.ack_all(&out).await?;
    worker.nothing_comes("the third was refused").await
}

/// MUST 38: a message published with a delay does not come before it has passed, and keeps no other
/// from coming.
pub async fn a_delayed_message_waits<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let capabilities = worker.source.capabilities();
    needs!(capabilities.delayed_publish, "this broker cannot delay what is published");
    let after = Duration::from_millis(300);
    let start = Instant::now();
    let long = Outgoing::new("long").delay(Duration::from_secs(20));
    let short = Outgoing::new("short").delay(after);
    stage.publish(&[long, short, Outgoing::new("now")]).await?;
    let first = worker.receive_one().await?;
    check_eq!(text(&first), "now", "what came first");
    let second = worker.receive_one().await?;
    let waited = start.elapsed();
    check_eq!(text(&second), "short", "what came second");
    check!(waited + GRAIN >= after, "delayed by {after:?}, it came after {waited:?}");
    worker.ack_all(&[first, second]).await
}

/// MUST 39: the identity that a producer gives is kept across retry, release, dead letter and
/// redrive.
pub async fn identity_is_kept_for_life<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let dead = harness.dead(&stage.queue).await?;
    let id = MessageId::from("order-17");
    stage.publish(&[Outgoing::new("body").id(id.clone())]).await?;
    let next = async |worker: &Worker<H::Source>, when: &str| {
        let delivery = worker.receive_one().await?;
        check_eq!(delivery.message.id, id, "identity {when}");
        Ok(delivery)
    };
    let delivery = next(&worker, "at first sight").await?;
    worker.settle(&delivery, retry(Duration::from_millis(50), "again")).await?;
    let delivery = next(&worker, "after a delayed retry").await?;
    worker.settle(&delivery, crate::stage::release(Duration::ZERO)).await?;
    let delivery = next(&worker, "after a release").await?;
    worker.settle(&delivery, dead_letter("never")).await?;
    let letter = stage.dead_letters_n(1).await?.remove(0);
    check_eq!(letter.message.id, id, "identity of the dead letter");
    dead.redrive(&DeadFilter::default(), 10).await?;
    let delivery = next(&worker, "after a redrive").await?;
    worker.settle(&delivery, Verdict::Ack).await
}
