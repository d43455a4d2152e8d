//! What the suite does not ask of every broker: topology, native redrive policies, types of attributes,
//! sizes, delays, long polls and silence. Groups of FIFO queues are in `groups`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aws_sdk_sqs::{
    primitives::Blob,
    types::{MessageAttributeValue, QueueAttributeName},
};
use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, Outgoing, PublishError, SettleError, Sink, Source, Verdict,
};
use forebay_sqs::{SqsError, SqsOptions, SqsQueue, Topology};
use std::time::{Duration, Instant};
use support::{
    BOTH, Emulator, Own, dead_letter, fresh_name, nothing_comes, publish, receive, receive_n,
    retry, sdk, settle, settlement, text, url_of,
};

#[tokio::test]
async fn a_missing_queue_is_named_unless_it_is_to_be_created() {
    for emulator in BOTH {
        let sdk = sdk(emulator.address()).await;
        let name = fresh_name(false);
        let error = SqsQueue::open_with(SqsOptions::new(&name), &sdk).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SqsError::Missing { .. }), "{text}");
        assert!(text.contains(&name) && text.contains("topology"), "{text}");
    }
}

/// Workers that start at once, with settings that differ: one of them creates the queue, all find it.
#[tokio::test]
async fn a_queue_that_several_create_at_once_is_found_by_all() {
    for emulator in BOTH {
        let sdk = sdk(emulator.address()).await;
        let client = aws_sdk_sqs::Client::new(&sdk);
        for _ in 0..8 {
            let name = fresh_name(false);
            let open = |attempts| {
                let mut options = SqsOptions::new(&name).topology(Topology::Create);
                options.attempts = attempts;
                SqsQueue::open_with(options, &sdk)
            };
            let opened = tokio::join!(open(5), open(6), open(7), open(8));
            let (a, b, c, d) = opened;
            for opened in [a, b, c, d] {
                assert_eq!(opened.unwrap().name(), name);
            }
            for name in [name.clone(), format!("{name}-dead")] {
                let url = url_of(&client, &name).await;
                client.delete_queue().queue_url(url).send().await.unwrap();
            }
        }
    }
}

/// Whoever is first creates the queue, and a worker with many attempts, as a bridge is, can take from it.
#[tokio::test]
async fn a_created_queue_has_room_for_more_attempts_than_its_creator_has() {
    for emulator in BOTH {
        for fifo in [false, true] {
            let own = Own::new(emulator, fifo, |o| o.attempts(5)).await;
            let mut options = own.options.clone().topology(Topology::Verify);
            options.attempts = 100;
            SqsQueue::open_with(options, &sdk(own.direct).await).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_endpoint_where_nobody_is_is_named() {
    let options = SqsOptions::new("orders").endpoint("http://127.0.0.1:9");
    let sdk = sdk("127.0.0.1:9".parse().unwrap()).await;
    let error = SqsQueue::open_with(options, &sdk).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9") && error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_queue_is_found_by_its_url_and_may_be_left_alone() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o).await;
    let client = own.client().await;
    let url = url_of(&client, &own.options.queue).await;
    let options = SqsOptions::new(url).topology(Topology::Trust);
    let queue = SqsQueue::open_with(options, &sdk(own.direct).await).await.unwrap();
    assert_eq!(queue.name(), own.options.queue);
    publish(&own.queue, &[Outgoing::new("x")]).await;
    let source = queue.source().await.unwrap();
    let out = receive(&source, 1).await.remove(0);
    settle(&source, &out, dead_letter()).await;
    assert_eq!(own.queue.list(&DeadFilter::default(), None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_redrive_policy_that_conflicts_with_the_attempts_is_refused_with_both_numbers() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o.attempts(3)).await;
    let client = own.client().await;
    let url = url_of(&client, &own.options.queue).await;
    let attributes = client.get_queue_attributes().queue_url(&url);
    let attributes = attributes.attribute_names(QueueAttributeName::All).send().await.unwrap();
    let policy = &attributes.attributes.unwrap()[&QueueAttributeName::RedrivePolicy];
    assert!(
        policy.contains("\"200\"") && policy.contains("-dead"),
        "made with the queue: {policy}"
    );
    let policy = policy.replace("\"200\"", "\"4\"");
    let set = client.set_queue_attributes().queue_url(&url);
    set.attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
    let error = SqsQueue::open_with(own.options.clone(), &sdk(own.direct).await).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`maxReceiveCount` 4") && text.contains("`attempts` is 3"), "{text}");
    assert!(text.contains("13 or more"), "{text}");
    // A policy of the dead-letter queue's own would move letters when they are looked at.
    let other = own.options.clone().dead_queue(own.options.queue.clone());
    let error = SqsQueue::open_with(other, &sdk(own.direct).await).await.unwrap_err();
    assert!(matches!(error, SqsError::DeadMoves { .. }), "{error}");
}

/// What SQS itself moves to the dead letters, after too many receives, is listed and redriven like
/// all others.
#[tokio::test]
async fn what_the_queues_own_policy_moved_is_a_dead_letter_too() {
    let own = Own::new(Emulator::Fauxqs, false, |o| {
        o.attempts(1).release_room(1).lease(Duration::from_secs(1))
    })
    .await;
    publish(&own.queue, &[Outgoing::new("x").id("m-1").header("h", "1")]).await;
    let client = own.client().await;
    let url = url_of(&client, &own.options.queue).await;
    // As often as a policy allows that is made with a queue, and once more.
    for _ in 0..=200 {
        let received = client.receive_message().queue_url(&url).visibility_timeout(0);
        received.send().await.unwrap();
    }
    let letters = own.queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, DeadReason::KilledWorker);
    assert_eq!(letters[0].message.id.to_string(), "m-1");
    assert!(letters[0].last_failure().unwrap().error.contains("redrive policy"));
    assert_eq!(own.queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 1);
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    assert_eq!((out.message.id.to_string().as_str(), out.message.redrives), ("m-1", 1));
    assert_eq!(out.message.headers.get_str("h"), Some("1"));
}

/// Attributes that another program has sent keep their types through dead letter and redrive.
#[tokio::test]
async fn attributes_keep_their_types_through_copies() {
    for emulator in BOTH {
        let own = Own::new(emulator, false, |o| o).await;
        let client = own.client().await;
        let url = url_of(&client, &own.options.queue).await;
        let attribute = |data_type: &str| MessageAttributeValue::builder().data_type(data_type);
        let number = attribute("Number").string_value("17.50").build().unwrap();
        let image = attribute("Binary").binary_value(Blob::new([0, 255])).build().unwrap();
        let bytes = attribute("Binary").binary_value(Blob::new("text")).build().unwrap();
        client
            .send_message()
            .queue_url(&url)
            .message_body("body")
            .message_attributes("n", number.clone())
            .message_attributes("i", image.clone())
            .message_attributes("t", bytes.clone())
            .send()
            .await
            .unwrap();
        let source = own.source().await;
        let out = receive(&source, 1).await.remove(0);
        assert_eq!(out.message.headers.get_str("n"), Some("17.50"));
        assert_eq!(out.message.headers.get("i").unwrap().as_ref(), [0, 255]);
        settle(&source, &out, dead_letter()).await;
        own.queue.redrive(&DeadFilter::default(), 1).await.unwrap();
        source.close(Duration::from_secs(5)).await.unwrap();
        let received = client.receive_message().queue_url(&url).message_attribute_names("All");
        let back = received.wait_time_seconds(5).send().await.unwrap().messages.unwrap().remove(0);
        let attributes = back.message_attributes.unwrap();
        assert_eq!(attributes["n"], number, "{emulator:?}");
        assert_eq!(attributes["i"], image, "{emulator:?}");
        assert_eq!(attributes["t"], bytes, "{emulator:?}");
        assert_eq!(back.body.unwrap(), "body");
    }
}

#[tokio::test]
async fn more_headers_than_sqs_has_attributes_arrive() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o).await;
    let mut message = Outgoing::new("x").id("m-1").key("k");
    for n in 0..30 {
        message = message.header(&format!("h{n}"), format!("v{n}"));
    }
    publish(&own.queue, std::slice::from_ref(&message)).await;
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    assert_eq!(out.message.headers, message.headers);
    settle(&source, &out, dead_letter()).await;
    let letter = own.queue.list(&DeadFilter::default(), None, 1).await.unwrap().remove(0);
    assert_eq!(letter.message.headers, message.headers);
    assert_eq!(letter.message.key.as_deref(), Some(b"k".as_ref()));
}

#[tokio::test]
async fn large_payloads_fit_up_to_the_limit_and_no_further() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o).await;
    let most = own.queue.capabilities().max_payload.unwrap();
    let text_limit = (1 << 20) - 2048;
    let batch = [
        Outgoing::new(vec![0; most]),
        Outgoing::new("t".repeat(text_limit)),
        Outgoing::new(vec![0; most + 1]),
        Outgoing::new("t".repeat(text_limit + 1)),
    ];
    let results = own.queue.publish(&batch).await;
    assert!(results[0].is_ok() && results[1].is_ok(), "each fills a batch: {results:?}");
    for result in &results[2..] {
        let Err(PublishError::Refused(error)) = result else { panic!("{result:?}") };
        assert!(error.to_string().contains("publish a reference"), "{error}");
    }
    // So large a message has room for its stamps when it dies.
    let source = own.source().await;
    for out in receive_n(&source, 2).await {
        settle(&source, &out, dead_letter()).await;
    }
    let letters = own.queue.list(&DeadFilter::default(), None, 9).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.reason == DeadReason::Permanent));
}

#[tokio::test]
async fn what_cannot_be_delayed_is_refused() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o).await;
    let refused = async |queue: &SqsQueue, delay| {
        let message = Outgoing::new("x").delay(Duration::from_secs(delay));
        match queue.publish(&[message]).await.remove(0) {
            Err(PublishError::Refused(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&own.queue, 901).await.contains("15 minutes"));
    let fifo = Own::new(Emulator::Fauxqs, true, |o| o).await;
    assert!(refused(&fifo.queue, 1).await.contains("FIFO"));
    assert!(!fifo.queue.capabilities().delayed_publish);
}

/// The capability that the runtime holds a retry policy against.
#[tokio::test]
async fn hold_and_delay_share_the_twelve_hours() {
    let hour = Duration::from_secs(3600);
    let own = Own::new(Emulator::Fauxqs, false, |o| o.max_hold(hour)).await;
    let can = own.queue.capabilities();
    assert_eq!(can.max_delay, Some(11 * hour));
    assert_eq!(can.lease.unwrap().max_hold, Some(hour));
    publish(&own.queue, &[Outgoing::new("x")]).await;
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    settle(&source, &out, retry(11 * hour)).await;
    assert!(nothing_comes(&source, Duration::from_secs(2)).await);
    let backlog = own.queue.backlog().await.unwrap();
    assert_eq!(backlog.delayed.unwrap().value, 1);
}

/// What comes to a receive that is under way while the source closes is given back at once.
#[tokio::test]
async fn what_a_long_poll_brings_after_the_close_is_given_back() {
    let long = Duration::from_secs(60 * 60);
    let own = Own::new(Emulator::Fauxqs, false, |o| {
        o.lease(long).drain_timeout(long).wait(Duration::from_secs(20))
    })
    .await;
    let source = own.source().await;
    assert!(nothing_comes(&source, Duration::from_millis(300)).await, "a poll is under way");
    let close = source.close(Duration::from_secs(15));
    let publish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        publish(&own.queue, &[Outgoing::new("late")]).await;
    };
    let (closed, ()) = tokio::join!(close, publish);
    closed.unwrap();
    let next = own.source().await;
    let start = Instant::now();
    let out = receive(&next, 1).await.remove(0);
    assert!(start.elapsed() < Duration::from_secs(5), "not hidden for its lease");
    assert_eq!(out.message.attempt, 0, "and not charged");
    settle(&next, &out, Verdict::Ack).await;
    // A close that has not the time says so.
    assert!(nothing_comes(&next, Duration::from_millis(300)).await);
    let error = next.close(Duration::from_millis(100)).await.unwrap_err().to_string();
    assert!(error.contains("comes back when its lease ends"), "{error}");
}

/// A connection on which nothing comes any more, neither data nor its end, is noticed by its silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_noticed() {
    let own = Own::new(Emulator::Fauxqs, false, |o| o).await;
    publish(&own.queue, &[Outgoing::new("x")]).await;
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    own.proxy.half_open(true);
    let start = Instant::now();
    let ack = [settlement(&out, Verdict::Ack)];
    match source.settle(&ack).await.remove(0) {
        Err(SettleError::Unavailable(error)) => {
            assert!(error.to_string().contains("did not answer"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(12), "after {:?}", start.elapsed());
    own.proxy.half_open(false);
    source.settle(&ack).await.remove(0).expect("it goes on");
    publish(&own.queue, &[Outgoing::new("y")]).await;
    assert_eq!(text(&receive(&source, 1).await.remove(0)), "y");
}

/// SQS reports success for deleting with the handle of a hand-out that has ended. We do not.
#[tokio::test]
async fn a_verdict_after_the_lease_is_stale_though_sqs_would_take_it() {
    for emulator in BOTH {
        let own = Own::new(emulator, false, |o| o.lease(Duration::from_secs(1))).await;
        publish(&own.queue, &[Outgoing::new("x")]).await;
        let source = own.source().await;
        let out = receive(&source, 1).await.remove(0);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let results = source.settle(&[settlement(&out, Verdict::Ack)]).await;
        assert!(matches!(results[0], Err(SettleError::Stale)), "{emulator:?}: {results:?}");
        let again = receive(&source, 1).await.remove(0);
        assert_eq!(text(&again), "x");
        settle(&source, &again, Verdict::Ack).await;
    }
}
