//! The broker is restarted three times under a worker and a producer, on an ElasticMQ of the test's own,
//! which keeps its messages: nothing that was confirmed is lost, and the worker goes on by itself.
//!
//! ElasticMQ stores a moment after it has confirmed: restarted in the midst of a publish, it lost the last
//! four of a batch of ten that it had confirmed; on a busy machine it stores seconds later. So the producer
//! pauses before each restart.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Broker;
use forebay_contract::{Outgoing, Sink, Source, SourceError, Verdict, Want};
use forebay_sqs::{SqsOptions, SqsQueue, SqsSource, Topology};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use support::{fresh_name, sdk, settlement, text};

const RESTARTS: usize = 3;
/// The most that the worker has out.
const WINDOW: usize = 20;

/// Publishes until told to stop; which numbers were confirmed.
async fn produce(queue: SqsQueue, pause: Arc<AtomicBool>, stop: Arc<AtomicBool>) -> Vec<usize> {
    let (mut confirmed, mut next) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        if pause.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let batch: Vec<_> = (next..next + 10).map(|n| Outgoing::new(n.to_string())).collect();
        for (n, result) in (next..).zip(queue.publish(&batch).await) {
            if result.is_ok() {
                confirmed.push(n);
            }
        }
        next += 10;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    confirmed
}

/// Handles one receive's worth; settles again what could not be settled, as the runtime does.
async fn work(source: &SqsSource, handled: &mut HashMap<usize, u32>) -> Result<(), SourceError> {
    let mut out = Vec::new();
    source.receive(Want { messages: WINDOW, bytes: 1 << 20 }, &mut out).await?;
    for out in &out {
        *handled.entry(text(out).parse().unwrap()).or_default() += 1;
    }
    let mut acks: Vec<_> = out.iter().map(|out| settlement(out, Verdict::Ack)).collect();
    while !acks.is_empty() {
        let mut results = source.settle(&acks).await.into_iter();
        acks.retain(|_| {
            matches!(results.next(), Some(Err(forebay_contract::SettleError::Unavailable(_))))
        });
        if !acks.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_broker_lose_nothing() {
    let starting = tokio::task::spawn_blocking(|| Broker::start("elasticmq", &[]));
    let broker = Arc::new(starting.await.unwrap());
    let address = broker.address(29_325).parse().unwrap();
    let options = SqsOptions::new(fresh_name(false)).topology(Topology::Create);
    let options = options.lease(Duration::from_secs(5)).wait(Duration::from_secs(1));
    let queue = SqsQueue::open_with(options, &sdk(address).await).await.unwrap();
    let source = queue.source().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let pause = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(queue.clone(), Arc::clone(&pause), Arc::clone(&stop)));

    let restarting = {
        let (broker, stop) = (Arc::clone(&broker), Arc::clone(&stop));
        tokio::spawn(async move {
            for _ in 0..RESTARTS {
                tokio::time::sleep(Duration::from_secs(3)).await;
                pause.store(true, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(4)).await;
                let broker = Arc::clone(&broker);
                let restarted = tokio::task::spawn_blocking(move || broker.restart());
                restarted.await.unwrap();
                pause.store(false, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.store(true, Ordering::Relaxed);
        })
    };
    let (mut handled, mut failures) = (HashMap::new(), 0);
    let mut quiet_since = Instant::now();
    while !producer.is_finished() || quiet_since.elapsed() < Duration::from_secs(12) {
        let before = handled.len();
        let working = work(&source, &mut handled);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), working).await {
            assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
            failures += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if handled.len() > before {
            quiet_since = Instant::now();
        }
    }
    restarting.await.unwrap();
    let confirmed = producer.await.unwrap();
    let lost: Vec<_> = confirmed.iter().filter(|n| !handled.contains_key(n)).collect();
    let again: u32 = handled.values().map(|times| times - 1).sum();
    println!(
        "{} confirmed, {} handled, {again} of them again; the broker was away in {failures} receives",
        confirmed.len(),
        handled.len()
    );
    assert!(lost.is_empty(), "confirmed and never handled: {lost:?}");
    assert!(failures > 0 && confirmed.len() > 100, "the broker was never away: a poor test");
    assert!(again as usize <= RESTARTS * WINDOW * 2, "{again} handled again");
}
