//! The contract once more, over a connection with faults: each byte comes late, and connections are
//! reset in mid-stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::proxy::Direction;
use forebay_contract::{DeadFilter, DeadLetters, Outgoing, Sink, Source, SourceEvent, Verdict};
use forebay_rabbitmq::{RabbitOptions, RabbitSource};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::{
    CleanUp, dead_letter, event, harness::Rabbit, open, options, receive_for, retry, settlement,
    through,
};

/// How late each byte comes, on each way.
const LATE: Duration = Duration::from_millis(4);

forebay_conformance::conformance_tests!(Rabbit { late: LATE });

/// Whatever byte it is at which a connection is reset, each message is handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_at_whatever_byte_loses_nothing() {
    let (proxy, url) = through();
    let options = RabbitOptions { url, ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let mut seen = BTreeSet::new();
    let mut confirmed = BTreeSet::new();
    for round in 0..24_u64 {
        let way = if round % 2 == 0 { Direction::ToUpstream } else { Direction::FromUpstream };
        proxy.reset_after(1 + round * 397, way);
        let batch: Vec<_> = (0..6).map(|n| Outgoing::new(format!("{round}/{n}"))).collect();
        for (outgoing, result) in batch.iter().zip(queue.publish(&batch).await) {
            if result.is_ok() {
                confirmed.insert(outgoing.payload.clone());
            }
        }
        handle(&source, &mut seen, Duration::from_millis(150)).await;
    }
    let start = Instant::now();
    while !seen.is_superset(&confirmed) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", confirmed.difference(&seen));
        handle(&source, &mut seen, Duration::from_millis(200)).await;
        let letters = queue.list(&DeadFilter::default(), None, 1000).await.unwrap_or_default();
        seen.extend(letters.iter().map(|letter| letter.message.payload.clone()));
    }
    assert!(confirmed.len() > 30, "only {} were confirmed: a poor test", confirmed.len());
}

/// Acks a third, retries a third, buries a third.
async fn handle(
    source: &RabbitSource,
    seen: &mut BTreeSet<forebay_contract::Bytes>,
    time: Duration,
) {
    let out = receive_for(source, time).await;
    let batch: Vec<_> = out
        .iter()
        .map(|out| match (out.message.payload.last().unwrap() % 3, out.message.attempt) {
            (1, 0) => settlement(out, retry(Duration::from_millis(50))),
            (2, _) => settlement(out, dead_letter()),
            _ => settlement(out, Verdict::Ack),
        })
        .collect();
    for (settlement, result) in batch.iter().zip(source.settle(&batch).await) {
        if result.is_ok() && settlement.verdict == Verdict::Ack {
            seen.insert(settlement.message.payload.clone());
        }
    }
}

/// Whoever published it was told that it failed, and may have sent it again, or given a letter back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_caller_has_given_up_is_not_sent_later() {
    let (proxy, url) = through();
    let confirm_timeout = Duration::from_millis(500);
    let options = RabbitOptions { url, confirm_timeout, publish_channels: 1, ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    assert!(queue.publish(&[Outgoing::new("0")]).await[0].is_ok());
    proxy.half_open(true);
    let [sent, waiting] = ["sent", "waiting"].map(|text| [Outgoing::new(text)]);
    let (sent, waiting) = tokio::join!(queue.publish(&sent), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        queue.publish(&waiting).await
    });
    assert!(sent[0].is_err() && waiting[0].is_err(), "{sent:?} {waiting:?}");
    proxy.half_open(false);
    let source = queue.source().await.unwrap();
    let out = receive_for(&source, Duration::from_secs(1)).await;
    let seen: BTreeSet<_> = out.iter().map(|out| &out.message.payload[..]).collect();
    assert_eq!(seen, BTreeSet::from([&b"0"[..], b"sent"]));
    assert!(queue.publish(&[Outgoing::new("1")]).await[0].is_ok());
}

/// A frozen broker is noticed by its heartbeat, and one that refuses is tried again until it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_connection_is_given_up_and_the_next_one_works() {
    let (proxy, url) = through();
    let options = RabbitOptions { url, heartbeat: Duration::from_secs(1), ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    assert!(queue.publish(&[Outgoing::new("0")]).await[0].is_ok());
    assert_eq!(receive_for(&source, Duration::from_millis(300)).await.len(), 1);
    proxy.half_open(true);
    let start = Instant::now();
    while !matches!(event(&source).await, SourceEvent::Down(_)) {}
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "noticed after {took:?}");
    proxy.refuse(true);
    proxy.half_open(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.refuse(false);
    // The pauses have grown to some seconds at most.
    let back = receive_for(&source, Duration::from_secs(8)).await;
    assert_eq!(back.len(), 1);
    while event(&source).await != SourceEvent::Up {}
    assert!(queue.publish(&[Outgoing::new("1")]).await[0].is_ok());
    // After a success, the next loss is mended at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.cut();
    let start = Instant::now();
    while event(&source).await != SourceEvent::Up {
        if start.elapsed() > Duration::from_secs(10) {
            panic!("not back");
        }
        receive_for(&source, Duration::from_millis(100)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(2), "back after {:?}", start.elapsed());
}
