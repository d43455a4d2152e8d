//! Dead letters: what they keep, that there is one of each, and how they are found and deleted.

use crate::{
    CaseResult, Harness, Setup,
    stage::{
        Stage, check_attempt, dead_letter, errors, note, numbered, producer_headers, retry, text,
    },
    stop::{check, check_eq},
};
use forebay_contract::{DeadFilter, DeadLetters, DeadReason, Outgoing, Source, Verdict};
use std::time::{Duration, SystemTime};

/// MUST 16: a dead letter keeps payload, key, headers, identity, attempts and history as they were,
/// ends the history with the note that decided, and knows reason, origin and time.
pub async fn keeps_everything<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let before = SystemTime::now() - Duration::from_secs(2);
    let payload: Vec<u8> = (0..=255).collect();
    let sent = Outgoing::new(payload).key(vec![0, 255, 10]).header("h", vec![0, 200]).id("m-1");
    stage.publish(&[sent]).await?;
    let first = worker.receive_one().await?;
    worker.settle(&first, retry(Duration::ZERO, "error 1")).await?;
    let last = worker.receive_one().await?;
    let verdict =
        Verdict::DeadLetter { reason: DeadReason::AttemptsExhausted, note: note("error 2") };
    worker.settle(&last, verdict).await?;
    worker.nothing_comes("it is a dead letter").await?;

    let letter = stage.dead_letters_n(1).await?.remove(0);
    let (seen, sent) = (&letter.message, &first.message);
    check_eq!(seen.payload, sent.payload, "payload");
    check_eq!(seen.key, sent.key, "key");
    check_eq!(producer_headers(&seen.headers), producer_headers(&sent.headers), "headers");
    check_eq!(seen.id, sent.id, "identity");
    check_attempt(worker.source.capabilities(), seen.attempt, last.message.attempt, "when dead")?;
    check_eq!(errors(&seen.history), ["error 1", "error 2"], "history");
    check_eq!(letter.reason, DeadReason::AttemptsExhausted, "reason");
    check!(!letter.origin.queue.is_empty(), "the origin names no queue");
    check!(!letter.origin.position.is_empty(), "the origin names no position");
    let now = SystemTime::now() + Duration::from_secs(2);
    check!(letter.died_at >= before && letter.died_at <= now, "died at {:?}", letter.died_at);
    Ok(())
}

/// MUST 16: a dead letter survives the process that made it.
pub async fn survives_a_new_process<H: Harness>(harness: &H) -> CaseResult {
    let mut stage = Stage::new(harness, Setup::default()).await?;
    stage.bury(&numbered(3)).await?;
    let before = stage.dead_letters_n(3).await?;
    stage.queue = harness.restart(stage.queue).await?;
    let after = stage.dead_letters_n(3).await?;
    for (before, after) in before.iter().zip(&after) {
        check_eq!(after.id, before.id, "place among the dead letters");
        check_eq!(after.message.payload, before.message.payload, "payload");
        check_eq!(after.message.history, before.message.history, "history");
    }
    Ok(())
}

/// MUST 17: a message dies once: three delayed retries before leave one dead letter, and nothing in
/// the queue. (A rival left three copies.)
pub async fn once_after_delayed_retries<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(5)).await?;
    for _ in 0..3 {
        for delivery in worker.receive_n(5).await? {
            worker.settle(&delivery, retry(Duration::from_millis(100), "again")).await?;
        }
    }
    for delivery in worker.receive_n(5).await? {
        worker.settle(&delivery, dead_letter("for good")).await?;
    }
    worker.nothing_comes("all are dead").await?;
    let letters = stage.dead_letters_n(5).await?;
    let mut payloads: Vec<_> = letters.iter().map(|letter| &letter.message.payload).collect();
    payloads.sort();
    payloads.dedup();
    check_eq!(payloads.len(), 5, "different messages among the dead letters");
    Ok(())
}

/// MUST 18: dead letters are listed in the order of their death, page by page, as the filter says.
pub async fn are_listed_in_pages<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    stage.bury(&numbered(7)).await?;
    let all = stage.dead_letters_n(7).await?;
    check!(all.is_sorted_by_key(|letter| letter.died_at), "they are not in the order of death");
    let dead = harness.dead(&stage.queue).await?;
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = dead.list(&DeadFilter::default(), after.as_ref(), 3).await?;
        check!(page.len() <= 3, "a page of 3 has {}", page.len());
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        paged.extend(page);
        check!(paged.len() <= 7, "the pages go round in circles");
    }
    let ids = |letters: &[forebay_contract::DeadLetter]| -> Vec<_> {
        letters.iter().map(|letter| letter.id.clone()).collect()
    };
    check_eq!(ids(&paged), ids(&all), "dead letters by pages");

    let wanted = DeadFilter { ids: Some(vec![all[2].id.clone()]), ..DeadFilter::default() };
    check_eq!(ids(&dead.list(&wanted, None, 10).await?), ids(&all[2..3]), "one by its name");
    let wanted = DeadFilter { reason: Some(DeadReason::TooOld), ..DeadFilter::default() };
    check_eq!(dead.list(&wanted, None, 10).await?.len(), 0, "letters of another reason");
    Ok(())
}

/// MUST 19: a purge deletes what matches, says how many, and touches nothing else.
pub async fn purge_takes_only_what_matches<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let names = ["apple", "pear", "apple pie", "plum"];
    stage.bury(&names.map(Outgoing::new)).await?;
    stage.dead_letters_n(4).await?;
    stage.publish(&[Outgoing::new("alive")]).await?;
    let dead = harness.dead(&stage.queue).await?;
    let filter = DeadFilter { error_contains: Some("apple".into()), ..DeadFilter::default() };
    check_eq!(dead.purge(&filter).await?, 2, "purged");
    let letters = stage.dead_letters_n(2).await?;
    let left: Vec<_> = letters.iter().map(|letter| letter.message.payload.as_ref()).collect();
    check_eq!(left, [b"pear".as_ref(), b"plum".as_ref()], "dead letters left");
    check_eq!(dead.purge(&filter).await?, 0, "purged again");
    let worker = stage.worker().await?;
    let alive = worker.receive_one().await?;
    check_eq!(text(&alive), "alive", "what is in the queue");
    worker.nothing_comes("the rest is dead").await?;
    worker.settle(&alive, Verdict::Ack).await
}
