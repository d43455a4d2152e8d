//! What many receives do to a message: SQS counts each of them, and moves it away when there are too many.
//! A message that is only ever given back must not die of it; one that kills its workers must.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, FOREBAY_STATE, Outgoing, Source, Verdict,
};
use forebay_sqs::{SqsOptions, Topology};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Emulator, Own, note, nothing_comes, publish, receive, settle, text};

const EMULATORS: [Emulator; 2] = [Emulator::Fauxqs, Emulator::ElasticMq];

/// A queue whose redrive policy allows so many receives; `None`: it has no policy.
async fn own(
    emulator: Emulator,
    max_receives: Option<u32>,
    change: impl FnOnce(SqsOptions) -> SqsOptions,
) -> (Own, String) {
    let mut own = Own::new(emulator, false, |o| change(o.lease(Duration::from_secs(20)))).await;
    let client = own.client().await;
    let url = client.get_queue_url().queue_name(&own.options.queue).send().await.unwrap();
    let url = url.queue_url.unwrap();
    // Anew: ElasticMQ lets no policy be taken away.
    client.delete_queue().queue_url(&url).send().await.unwrap();
    let create = client.create_queue().queue_name(&own.options.queue);
    let create = match max_receives {
        Some(max) => {
            let dead = format!("{}-dead", own.options.queue);
            let dead = client.get_queue_url().queue_name(dead).send().await.unwrap();
            let read = client.get_queue_attributes().queue_url(dead.queue_url.unwrap());
            let read = read.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
            let arn = &read.attributes.unwrap()[&QueueAttributeName::QueueArn];
            let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{max}"}}"#);
            create.attributes(QueueAttributeName::RedrivePolicy, policy)
        }
        None => create,
    };
    let url = create.send().await.unwrap().queue_url.unwrap();
    own.options.topology = Topology::Verify;
    own.reopen().await;
    (own, url)
}

#[tokio::test]
async fn a_message_that_is_postponed_without_end_never_becomes_a_dead_letter() {
    for emulator in EMULATORS {
        let (own, _) = own(emulator, Some(15), |o| o.attempts(5)).await;
        let sent = Outgoing::new("x").id("m-1").key("k").header("h", "1");
        publish(&own.queue, &[sent]).await;
        let source = own.source().await;
        for round in 0..40 {
            let out = receive(&source, 1).await.remove(0);
            let message = &out.message;
            assert_eq!((message.attempt, message.id.to_string()), (0, "m-1".into()), "{round}");
            assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
            assert_eq!(message.headers.get("h").unwrap(), "1");
            assert!(message.deliveries.unwrap() < 15, "{:?}", message.deliveries);
            let verdict = match round % 3 {
                0 => Verdict::Release { after: Duration::ZERO },
                _ => Verdict::Postpone { after: Duration::ZERO, note: note("down") },
            };
            settle(&source, &out, verdict).await;
        }
        let out = receive(&source, 1).await.remove(0);
        assert!(!out.message.history.notes().is_empty());
        settle(&source, &out, Verdict::Ack).await;
        let left = own.queue.backlog().await.unwrap();
        assert_eq!((left.outstanding(), left.dead.unwrap().value), (0, 0));
    }
}

/// Another process knows only what travels with the message.
#[tokio::test]
async fn what_was_postponed_before_a_restart_has_most_of_its_attempts_left() {
    let (mut own, _) = own(Emulator::Fauxqs, Some(100), |o| o.attempts(10)).await;
    publish(&own.queue, &[Outgoing::new("x")]).await;
    let source = own.source().await;
    for _ in 0..30 {
        let out = receive(&source, 1).await.remove(0);
        let verdict = Verdict::Postpone { after: Duration::ZERO, note: note("down") };
        settle(&source, &out, verdict).await;
    }
    source.close(Duration::from_secs(5)).await.unwrap();
    own.reopen().await;
    let out = receive(&own.source().await, 1).await.remove(0);
    assert!(out.message.attempt <= 6, "{}", out.message.attempt);
}

/// A worker that is restarted again and again: nobody remembers anything.
#[tokio::test]
async fn a_message_that_is_given_back_by_many_workers_stays() {
    let (mut own, _) = own(Emulator::Fauxqs, Some(15), |o| o.attempts(5)).await;
    publish(&own.queue, &[Outgoing::new("a"), Outgoing::new("b")]).await;
    for _ in 0..40 {
        let source = own.source().await;
        receive(&source, 1).await;
        source.close(Duration::from_secs(5)).await.unwrap();
        own.reopen().await;
    }
    let left = own.queue.backlog().await.unwrap();
    assert_eq!((left.outstanding(), left.dead.unwrap().value), (2, 0));
}

#[tokio::test]
async fn without_a_redrive_policy_what_kills_its_workers_becomes_a_dead_letter() {
    for emulator in EMULATORS {
        let (own, url) = own(emulator, None, |o| o.attempts(1).release_room(0)).await;
        publish(&own.queue, &[Outgoing::new("killer")]).await;
        // Received and never settled, as by workers that die of it.
        let client = own.client().await;
        for _ in 0..11 {
            let got = client.receive_message().queue_url(&url).visibility_timeout(0).send().await;
            assert_eq!(got.unwrap().messages().len(), 1);
        }
        let source = own.source().await;
        assert!(nothing_comes(&source, Duration::from_millis(1500)).await, "it is not handed out");
        let letters = own.queue.list(&DeadFilter::default(), None, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].reason, DeadReason::KilledWorker);
        let why = &letters[0].last_failure().unwrap().error;
        assert!(why.contains("received 12 times"), "{why}");
        assert_eq!(own.queue.backlog().await.unwrap().outstanding(), 0);
    }
}

/// A copy can be delayed by 15 minutes; the rest of its delay travels with it.
#[tokio::test]
async fn a_copy_that_comes_before_it_is_due_is_hidden_until_then() {
    let (own, url) = own(Emulator::Fauxqs, Some(100), |o| o).await;
    let due = SystemTime::now() + Duration::from_secs(3);
    let due = due.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let state = MessageAttributeValue::builder().data_type("String");
    let state = state.string_value(format!(r#"{{"v":1,"attempt":2,"due":{due}}}"#)).build();
    let start = Instant::now();
    let client = own.client().await;
    let send = client.send_message().queue_url(url).message_body("later");
    send.message_attributes(FOREBAY_STATE, state.unwrap()).send().await.unwrap();
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    assert!(start.elapsed() >= Duration::from_millis(2900), "{:?}", start.elapsed());
    assert_eq!((text(&out), out.message.attempt), ("later".into(), 2));
}
