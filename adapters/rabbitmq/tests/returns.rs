//! What comes back without a verdict: what the broker counts of it, and what Forebay makes of that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, Exactness, Outgoing, Source, SourceEvent, Verdict, Want,
};
use forebay_rabbitmq::{QueueKind, RabbitOptions, RabbitSource};
use std::time::{Duration, Instant};
use support::{
    CleanUp, dead_letter, event, open, options, publish, receive, receive_for, receive_n, retry,
    settle, through,
};

const RELEASE: Verdict = Verdict::Release { after: Duration::ZERO };

/// A worker that knows nothing of what others did, as in another process.
async fn stranger(options: &RabbitOptions) -> RabbitSource {
    open(options).await.source().await.unwrap()
}

#[tokio::test]
async fn a_message_that_is_out_when_its_workers_die_becomes_a_suspect() {
    let (proxy, url) = through();
    let options = options();
    let through = RabbitOptions { url, ..options.clone() };
    let _clean_up = CleanUp(options.clone());
    publish(&open(&options).await, &[Outgoing::new("killer")]).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let worker = stranger(&through).await;
        let out = receive(&worker, 1).await;
        seen.push((out[0].message.deliveries.unwrap(), out[0].message.interrupted));
        proxy.cut(); // as dead as a connection can be
        drop(worker);
    }
    assert_eq!(
        seen,
        [(1, 0), (2, 0), (3, 1), (4, 2)],
        "deliveries, interruptions: one is forgiven"
    );
    // A copy carries what is known, and the broker counts afresh.
    let worker = stranger(&options).await;
    let out = receive(&worker, 1).await;
    assert_eq!(out[0].message.interrupted, 3);
    settle(&worker, &out, retry(Duration::ZERO)).await;
    let again = receive(&worker, 1).await;
    let message = &again[0].message;
    assert_eq!((message.deliveries, message.interrupted, message.attempt), (Some(1), 3, 1));
}

#[tokio::test]
async fn messages_that_are_given_back_never_become_suspects() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    publish(&open(&options).await, &[Outgoing::new("x")]).await;
    for round in 0..8 {
        let worker = stranger(&options).await;
        let out = receive(&worker, 1).await;
        assert_eq!(out[0].message.interrupted, 0, "in round {round}");
        assert_eq!(settle(&worker, &out, RELEASE).await, [true]);
        worker.close(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_lives_knows_what_was_no_interruption() {
    let (proxy, url) = through();
    let options = RabbitOptions { url, ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let worker = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("x").id("x")]).await;
    for round in 0..4 {
        let out = receive(&worker, 1).await;
        let message = &out[0].message;
        assert_eq!((message.deliveries, message.interrupted), (Some(round + 1), 0));
        proxy.cut();
        while event(&worker).await != SourceEvent::Lost(out[0].scope) {}
    }
}

#[tokio::test]
async fn the_brokers_own_limit_leads_to_the_dead_letters() {
    let (proxy, url) = through();
    let options = RabbitOptions { delivery_limit: 5, ..options() };
    let through = RabbitOptions { url, ..options.clone() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    publish(&queue, &[Outgoing::new("killer").id("k").key("a").header("h", "1")]).await;
    for _ in 0..6 {
        let worker = stranger(&through).await;
        receive(&worker, 1).await;
        proxy.cut();
        drop(worker);
    }
    let start = Instant::now();
    let letters = loop {
        let letters = queue.list(&DeadFilter::default(), None, 10).await.unwrap();
        if !letters.is_empty() {
            break letters;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no dead letter came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let letter = &letters[0];
    assert_eq!((letter.reason, &letter.origin.queue), (DeadReason::KilledWorker, &options.queue));
    assert!(letter.last_failure().unwrap().error.contains("delivery_limit"), "{letter:?}");
    assert_eq!(letter.message.id.to_string(), "k");
    assert_eq!(queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 1);
    let worker = stranger(&options).await;
    let message = receive(&worker, 1).await.remove(0).message;
    assert_eq!((message.interrupted, message.redrives, message.deliveries), (0, 1, Some(1)));
    assert_eq!(
        (message.key.as_deref(), message.headers.get_str("h")),
        (Some(&b"a"[..]), Some("1"))
    );
}

#[tokio::test]
async fn a_buffer_that_nobody_asks_for_goes_back() {
    let options = RabbitOptions { idle_after: Duration::from_millis(400), ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let (idle, other) = (queue.source().await.unwrap(), stranger(&options).await);
    let want = Want { messages: 20, bytes: 1 << 20 };
    let mut out = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(300), idle.receive(want, &mut out)).await;
    assert!(out.is_empty());
    let all: Vec<_> = (0..20).map(|n| Outgoing::new(n.to_string())).collect();
    publish(&queue, &all).await;
    // It was there first, so it has them; and it does not ask again.
    let seen = receive_for(&other, Duration::from_secs(2)).await;
    assert_eq!(seen.len(), 20, "what the idle one gave back");
    let counts = seen.iter().map(|out| (out.message.deliveries, out.message.interrupted));
    let counts: Vec<_> = counts.collect();
    assert!(counts.iter().all(|(_, interrupted)| *interrupted == 0), "{counts:?}");
    settle(&other, &seen, Verdict::Ack).await;
    // Asked again, it works again.
    publish(&queue, &all).await;
    let mut both = receive_n(&idle, 1).await;
    settle(&idle, &both.split_off(0), Verdict::Ack).await;
}

/// What is fetched ahead is bounded by the bytes that are wanted, too.
#[tokio::test]
async fn large_messages_are_not_fetched_ahead_beyond_the_bytes_that_are_wanted() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let all: Vec<_> = (0..40).map(|_| Outgoing::new(vec![0; 100_000])).collect();
    publish(&queue, &all).await;
    let want = Want { messages: 100, bytes: 500_000 };
    let mut handled = 0;
    while handled < 30 {
        let mut out = Vec::new();
        source.receive(want, &mut out).await.unwrap();
        assert!(out.len() <= 5, "{} at once", out.len());
        if handled == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ready = queue.backlog().await.unwrap().ready.unwrap().value;
            // 16 came before any size was known, and 5 to the consumer with the prefetch of 5.
            assert!(ready >= 19, "{ready} of 40 left to others");
        }
        handled += out.len();
        settle(&source, &out, Verdict::Ack).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (ready, left) = (queue.backlog().await.unwrap().ready.unwrap().value, 40 - handled);
    assert!(ready + 5 >= left as u64, "{ready} of {left} left to others");
}

#[tokio::test]
async fn a_larger_window_gets_a_larger_prefetch() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let all: Vec<_> = (0..60).map(|n| Outgoing::new(n.to_string())).collect();
    publish(&queue, &all).await;
    // Each time all of the prefetch is out, and one more is wanted.
    let mut out = Vec::new();
    for _ in 0..10 {
        out.extend(receive_n(&source, 1).await);
    }
    out.extend(receive_n(&source, 50).await);
    let mut seen: Vec<_> = out.iter().map(|out| out.message.payload.clone()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 60);
    assert!(settle(&source, &out, Verdict::Ack).await.iter().all(|ok| *ok));
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 0);
}

#[tokio::test]
async fn in_order_a_lost_connection_costs_neither_the_order_nor_the_attempts() {
    let (proxy, url) = through();
    let options = RabbitOptions { url, ..options() }.ordered(true);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let all: Vec<_> = (0..20).map(|n| Outgoing::new(n.to_string()).key("k")).collect();
    publish(&queue, &all).await;
    let first = receive_n(&source, 3).await;
    settle(&source, &first[..1], retry(Duration::from_secs(3))).await;
    let start = Instant::now();
    for _ in 0..3 {
        proxy.cut();
        let again = receive_n(&source, 20).await;
        assert!(start.elapsed() >= Duration::from_millis(2_995), "it came too early");
        let payloads: Vec<_> = again.iter().map(|out| out.message.payload.clone()).collect();
        let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(payloads, expected);
        assert_eq!((again[0].message.attempt, again[1].message.attempt), (1, 0));
        assert_eq!(again[0].message.history.notes().len(), 1);
    }
}

/// A message that waits is unacked all the while: before the broker closes the channel over it, the
/// channel is renewed, when nothing is with a handler.
#[tokio::test]
async fn in_order_a_channel_is_renewed_before_something_waits_for_too_long() {
    let options =
        RabbitOptions { consumer_timeout: Duration::from_secs(4), ..options() }.ordered(true);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[("0", "k"), ("1", "k"), ("2", "l")].map(|(t, k)| Outgoing::new(t).key(k)))
        .await;
    let out = receive_n(&source, 3).await;
    let start = Instant::now();
    settle(&source, &out[..2], retry(Duration::from_secs(6))).await;
    // One that is with a handler is waited for, and is not repeated.
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    assert_eq!(settle(&source, &out[2..], Verdict::Ack).await, [true]);
    assert_eq!(event(&source).await, SourceEvent::Lost(out[0].scope));
    assert!((3..4).contains(&start.elapsed().as_secs()), "renewed after {:?}", start.elapsed());
    let again = receive_n(&source, 2).await;
    assert!(start.elapsed() >= Duration::from_millis(5_995), "it came too early");
    let seen = again.iter().map(|out| (&out.message.payload[..], out.message.attempt));
    assert_eq!(seen.collect::<Vec<_>>(), [(&b"0"[..], 1), (b"1", 1)]);
    assert_ne!(again[0].scope, out[0].scope);
    assert_eq!(settle(&source, &again, Verdict::Ack).await, [true, true]);
}

/// What a worker counted of a message that waits ends with its process; that is declared.
#[tokio::test]
async fn in_order_attempts_are_never_too_many_in_another_process() {
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let options = options().ordered(true).kind(kind);
        let _clean_up = CleanUp(options.clone());
        let queue = open(&options).await;
        assert_eq!(queue.capabilities().attempts, Exactness::LowerBound);
        let source = queue.source().await.unwrap();
        publish(&queue, &["0", "1"].map(|text| Outgoing::new(text).key("k"))).await;
        for attempt in 0..2 {
            let out = receive_n(&source, 1).await;
            assert_eq!((&out[0].message.payload[..], out[0].message.attempt), (&b"0"[..], attempt));
            settle(&source, &out, retry(Duration::ZERO)).await;
        }
        source.close(Duration::from_secs(5)).await.unwrap();
        for _ in 0..2 {
            let other = stranger(&options).await;
            let out = receive_n(&other, 2).await;
            let seen = out.iter().map(|out| (&out.message.payload[..], out.message.attempt));
            assert_eq!(seen.collect::<Vec<_>>(), [(&b"0"[..], 0), (b"1", 0)], "{kind:?}");
            other.close(Duration::from_secs(5)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn in_order_what_waits_can_still_die() {
    let options = options().ordered(true);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &["0", "1"].map(|text| Outgoing::new(text).key("k"))).await;
    let first = receive_n(&source, 1).await;
    settle(&source, &first, retry(Duration::from_millis(200))).await;
    let start = Instant::now();
    let again = receive_n(&source, 1).await;
    assert!(start.elapsed() >= Duration::from_millis(195), "it came too early");
    assert_eq!((&again[0].message.payload[..], again[0].message.attempt), (&b"0"[..], 1));
    assert_eq!(
        settle(&source, &first, Verdict::Ack).await,
        [false],
        "a receipt of an earlier turn"
    );
    settle(&source, &again, dead_letter()).await;
    assert_eq!(&receive_n(&source, 1).await[0].message.payload[..], b"1");
    let letters = queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].message.history.notes().len()), (1, 2));
}
