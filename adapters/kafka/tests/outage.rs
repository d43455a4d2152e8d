//! A broker that is away for a while, or that no longer answers: work goes on when it is back, and
//! what was on its way is there once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::proxy::FaultProxy;
use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, PublishError, Sink, Source, SourceEvent, Verdict,
};
use forebay_kafka::{KafkaOptions, KafkaSource};
use std::{
    collections::BTreeSet,
    mem::{Discriminant, discriminant},
    time::{Duration, Instant},
};
use support::{
    Topic, ack, note, numbered, options, publish, receive_for, receive_n, retry, settle, text,
    variable,
};

const SECOND: Duration = Duration::from_secs(1);

fn proxied() -> (FaultProxy, KafkaOptions) {
    let address =
        |name, default: &str| variable(name).unwrap_or_else(|| default.into()).parse().unwrap();
    let listen = address("FOREBAY_TEST_KAFKA_PROXY", "127.0.0.1:29096");
    let behind = address("FOREBAY_TEST_KAFKA_BEHIND", "127.0.0.1:29095");
    let proxy = FaultProxy::start_on(listen, behind).expect("the proxy's port is free");
    let mut options = options("outage");
    options.brokers = proxy.address().to_string();
    // On a busy machine an outage may last longer than it should, and is not to end the assignment.
    options.session_timeout = 30 * SECOND;
    (proxy, options)
}

/// Waits until such an event is told.
async fn until(source: &KafkaSource, event: Discriminant<SourceEvent>) {
    let told = async { while discriminant(&source.event().await) != event {} };
    tokio::time::timeout(20 * SECOND, told).await.expect("it is told within 20 s");
}

/// One test, since there is one port that the broker tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_on_its_way_in_an_outage_is_there_once() {
    let (proxy, own) = proxied();
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    let down = discriminant(&SourceEvent::Down(String::new()));
    let up = discriminant(&SourceEvent::Up);
    // Where nothing is left to be read or committed, that it is back is told all the same.
    publish(&topic.queue, &numbered(1)).await;
    ack(&source, &receive_n(&source, 1).await).await;
    tokio::time::sleep(SECOND).await;
    proxy.refuse(true);
    until(&source, down).await;
    proxy.refuse(false);
    let began = Instant::now();
    until(&source, up).await;
    println!("back, and told so to who idles, after {:?}", began.elapsed());

    for outage in ["refused", "half open"] {
        publish(&topic.queue, &numbered(60)).await;
        let out = receive_n(&source, 60).await;
        let switch = |on: bool| match outage {
            "refused" => proxy.refuse(on),
            _ => proxy.half_open(on),
        };
        switch(true);
        let settling = async {
            ack(&source, &out[..20]).await;
            let dead = Verdict::DeadLetter { reason: DeadReason::Permanent, note: note("never") };
            let (retries, deaths) = tokio::join!(
                settle(&source, &out[20..40], retry(SECOND / 20)),
                settle(&source, &out[40..], dead.clone())
            );
            // Whoever is told to settle again does so, and copies nothing twice.
            for (out, answer) in out[20..].iter().zip(retries.into_iter().chain(deaths)) {
                let verdict = match text(out).parse::<u32>() {
                    Ok(20..40) => retry(SECOND / 20),
                    _ => dead.clone(),
                };
                if answer.is_err() {
                    settle(&source, std::slice::from_ref(out), verdict).await.remove(0).unwrap();
                }
            }
        };
        let back = async {
            tokio::time::sleep(4 * SECOND).await;
            switch(false);
        };
        tokio::join!(settling, back);
        let again = receive_for(&source, 3 * SECOND, 100).await;
        let seen: BTreeSet<_> = again.iter().map(text).collect();
        assert_eq!((again.len(), seen.len()), (20, 20), "{outage}: retried");
        ack(&source, &again).await;
        let letters = topic.queue.list(&DeadFilter::default(), None, 100).await.unwrap();
        assert_eq!(letters.len(), 20, "{outage}: dead letters");
        assert_eq!(topic.queue.purge(&DeadFilter::default()).await.unwrap(), 20);
    }
    let mut told = Vec::new();
    while let Ok(event) = tokio::time::timeout(SECOND / 10, source.event()).await {
        told.push(discriminant(&event));
    }
    assert!(told.contains(&down) && told.contains(&up), "{told:?}");

    // All that was done stays done.
    source.close(5 * SECOND).await.unwrap();
    let next = topic.queue.source().await.unwrap();
    assert!(receive_for(&next, 2 * SECOND, 1).await.is_empty());
    next.close(5 * SECOND).await.unwrap();

    // Publishing into an outage ends with an error, in time.
    let mut own = topic.options.clone();
    own.publish_timeout = SECOND;
    let topic_in_outage = forebay_kafka::KafkaQueue::open(own).await.unwrap();
    proxy.refuse(true);
    let answer = topic_in_outage.publish(&numbered(1)).await.remove(0);
    assert!(matches!(answer, Err(PublishError::Unavailable(_))), "{answer:?}");
    proxy.refuse(false);
}
