//! FIFO queues: what is in a group waits for, goes back with and is extended with the first of it, and
//! what deduplication would swallow is not the same message.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use forebay_contract::{DeadFilter, DeadLetters, Outgoing, Source, Verdict};
use std::time::Duration;
use support::{
    BOTH, Emulator, Own, dead_letter, publish, receive, receive_n, retry, settle, text, texts,
    url_of,
};

/// After a failure the rest of the group that was received goes back, so that another worker gets it
/// in order; other groups are not touched.
#[tokio::test]
async fn a_failed_message_gives_back_the_rest_of_its_group_only() {
    for emulator in BOTH {
        let own = Own::new(emulator, true, |o| o).await;
        let keyed = |key: &str, n: usize| Outgoing::new(format!("{key}{n}")).key(key.to_owned());
        publish(&own.queue, &[1, 2, 3].map(|n| keyed("a", n))).await;
        publish(&own.queue, &[1, 2].map(|n| keyed("b", n))).await;
        let source = own.source().await;
        let out = receive_n(&source, 2).await;
        assert_eq!(texts(&out), ["a1", "b1"], "{emulator:?}");
        let of = |text_: &str| out.iter().find(|out| text(out) == text_).unwrap();
        settle(&source, of("a1"), retry(Duration::from_secs(1))).await;
        let backlog = own.queue.backlog().await.unwrap();
        // Whether b2 came along with b1 is the emulator's to say.
        assert!(backlog.ready.unwrap().value >= 2, "{emulator:?}: a2 and a3 are back: {backlog:?}");
        assert_eq!(backlog.delayed.unwrap().value, 1, "{emulator:?}: a1 waits");
        assert!(backlog.leased.unwrap().value >= 1, "{emulator:?}: b1 is here: {backlog:?}");
        settle(&source, of("b1"), Verdict::Ack).await;
        let next = receive(&source, 9).await;
        assert_eq!(texts(&next), ["b2"], "{emulator:?}: a is blocked");
        settle(&source, &next[0], Verdict::Ack).await;
        source.close(Duration::from_secs(5)).await.unwrap();
        let other = own.source().await;
        for expected in ["a1", "a2", "a3"] {
            let out = receive(&other, 1).await.remove(0);
            assert_eq!(text(&out), expected, "{emulator:?}");
            settle(&other, &out, Verdict::Ack).await;
        }
    }
}

/// While the first of a group is worked on, those behind it are extended with it: they are handed on
/// without having been received again. (On ElasticMQ: fauxqs hands out one of a group at a time.)
#[tokio::test]
async fn those_behind_in_a_group_are_kept_as_long_as_the_first() {
    let lease = Duration::from_secs(2);
    let own = Own::new(Emulator::ElasticMq, true, |o| o.lease(lease)).await;
    publish(&own.queue, &["1", "2"].map(|text| Outgoing::new(text).key("k"))).await;
    let source = own.source().await;
    let first = receive(&source, 1).await.remove(0);
    for _ in 0..4 {
        tokio::time::sleep(lease / 2).await;
        source.extend(&[(first.receipt.clone(), lease)]).await.remove(0).unwrap();
    }
    settle(&source, &first, Verdict::Ack).await;
    let second = receive(&source, 1).await.remove(0);
    assert_eq!((text(&second).as_str(), second.message.deliveries), ("2", Some(1)));
    settle(&source, &second, Verdict::Ack).await;
}

/// SQS swallows a message with the same deduplication id for five minutes. A redriven message must not
/// be one, nor a second death.
#[tokio::test]
async fn redriving_is_not_swallowed_by_deduplication() {
    for emulator in BOTH {
        let own = Own::new(emulator, true, |o| o).await;
        let message = Outgoing::new("x").key("k").id("m-1");
        publish(&own.queue, &[message.clone(), message]).await;
        let source = own.source().await;
        for round in 0..3 {
            let out = receive(&source, 9).await;
            assert_eq!(out.len(), 1, "{emulator:?}: the second with this id is swallowed");
            assert_eq!(out[0].message.redrives, round);
            settle(&source, &out[0], dead_letter()).await;
            let moved = own.queue.redrive(&DeadFilter::default(), 9).await.unwrap().moved;
            assert_eq!(moved.len(), 1, "{emulator:?}, round {round}");
        }
    }
}

/// Messages of other programs, with groups of their own, have their group as key.
#[tokio::test]
async fn the_group_of_a_foreign_message_is_its_key() {
    let own = Own::new(Emulator::Fauxqs, true, |o| o).await;
    let client = own.client().await;
    let url = url_of(&client, &own.options.queue).await;
    let send = client.send_message().queue_url(&url).message_body("x");
    let send = send.message_group_id("customer-1").message_deduplication_id("d");
    let id = send.send().await.unwrap().message_id.unwrap();
    let source = own.source().await;
    let out = receive(&source, 1).await.remove(0);
    assert_eq!(out.message.key.as_deref(), Some(b"customer-1".as_ref()));
    assert_eq!(out.message.id.to_string(), id);
    settle(&source, &out, dead_letter()).await;
    own.queue.redrive(&DeadFilter::default(), 1).await.unwrap();
    source.close(Duration::from_secs(5)).await.unwrap();
    let received = client.receive_message().queue_url(&url).wait_time_seconds(5);
    let received = received.message_system_attribute_names(MessageSystemAttributeName::All);
    let back = received.send().await.unwrap().messages.unwrap().remove(0);
    let group = &back.attributes.unwrap()[&MessageSystemAttributeName::MessageGroupId];
    assert_eq!(group, "customer-1", "and so it is again when it is redriven");
}
