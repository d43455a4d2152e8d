//! What the conformance suite does not ask for: paused time, scripted faults, replay.

use forebay_contract::{
    Delivery, FailureKind, FailureNote, Message, OrderSupport, Outgoing, SettleError, Settlement,
    Sink, Source, SourceError, SourceEvent, Verdict, Want,
};
use forebay_memory::{MemoryOptions, MemoryQueue, MemoryReceipt, MemorySource};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

const WANT: Want = Want { messages: 64, bytes: 1 << 20 };

async fn receive(source: &MemorySource) -> Vec<Delivery<MemoryReceipt>> {
    let mut out = Vec::new();
    source.receive(WANT, &mut out).await.expect("the queue is there");
    out
}

async fn settle(
    source: &MemorySource,
    delivery: &Delivery<MemoryReceipt>,
    verdict: Verdict,
) -> Result<(), SettleError> {
    let (receipt, message) = (delivery.receipt, delivery.message.clone());
    source.settle(&[Settlement { receipt, message, verdict }]).await.remove(0).map(|_| ())
}

fn retry(after: Duration) -> Verdict {
    let note = FailureNote::new(FailureKind::Transient, "x", SystemTime::UNIX_EPOCH);
    Verdict::Retry { after, note }
}

#[tokio::test(start_paused = true)]
async fn an_hour_passes_in_no_time_and_no_earlier() {
    let queue = MemoryQueue::new();
    let source = queue.source();
    queue.publish(&[Outgoing::new("x").delay(Duration::from_secs(1800))]).await;
    let start = Instant::now();
    let out = receive(&source).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1800));
    settle(&source, &out[0], retry(Duration::from_secs(1800))).await.unwrap();
    let again = receive(&source).await;
    assert_eq!(start.elapsed(), Duration::from_secs(3600));
    assert_eq!((again[0].message.attempt, again[0].message.deliveries), (1, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_under_paused_time_and_is_told_by_the_same_clock() {
    let queue = MemoryQueue::with(MemoryOptions::default().lease(Duration::from_secs(30)));
    let source = queue.source();
    queue.publish(&[Outgoing::new("x")]).await;
    let first = receive(&source).await;
    let told = first[0].lease.unwrap().expires_at;
    let second = receive(&source).await;
    assert_eq!(Instant::now().into_std(), told);
    assert_eq!(second[0].message.interrupted, 1);
    let late = settle(&source, &first[0], Verdict::Ack).await;
    assert!(matches!(late, Err(SettleError::Stale)), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_scope_is_announced_and_what_is_settled_in_time_counts() {
    let queue = MemoryQueue::new();
    let source = queue.source();
    queue.publish(&[Outgoing::new("a"), Outgoing::new("b")]).await;
    let out = receive(&source).await;
    let (scope, within) = (out[0].scope, Duration::from_secs(5));
    queue.revoke(within);
    assert_eq!(source.event().await, SourceEvent::Revoking { scope, within });
    settle(&source, &out[0], Verdict::Ack).await.unwrap();
    let start = Instant::now();
    assert_eq!(source.event().await, SourceEvent::Lost(scope));
    assert_eq!(start.elapsed(), within);
    settle(&source, &out[1], Verdict::Ack).await.unwrap_err();
    let again = receive(&source).await;
    assert_eq!(again[0].message.payload, "b");
    assert_ne!(again[0].scope, scope);
}

#[tokio::test]
async fn a_cut_is_told_as_down_lost_and_up() {
    let queue = MemoryQueue::new();
    let source = queue.source();
    queue.publish(&[Outgoing::new("x")]).await;
    let out = receive(&source).await;
    queue.sever();
    assert!(matches!(source.event().await, SourceEvent::Down(_)));
    assert_eq!(source.event().await, SourceEvent::Lost(out[0].scope));
    assert_eq!(source.event().await, SourceEvent::Up);
    let late = settle(&source, &out[0], Verdict::Ack).await;
    assert!(matches!(late, Err(SettleError::Stale)), "{late:?}");
    assert_eq!(receive(&source).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn scripted_faults_happen_as_often_as_asked_and_in_order() {
    let queue = MemoryQueue::new();
    let source = queue.source();
    queue.publish(&[Outgoing::new("x")]).await;
    queue.fail_receives(2, || SourceError::Unavailable("first".into()));
    queue.fail_receives(1, || SourceError::Fatal("then".into()));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let error = source.receive(WANT, &mut Vec::new()).await.unwrap_err();
        seen.push(error.to_string());
    }
    let away = "the broker is unavailable: first";
    assert_eq!(seen, [away, away, "the source failed: then"]);

    let out = receive(&source).await;
    queue.fail_settles(1, || SettleError::Unavailable("not now".into()));
    settle(&source, &out[0], Verdict::Ack).await.unwrap_err();
    assert!(queue.verdicts().is_empty(), "nothing was carried out");
    queue.lose_answers(1);
    queue.settle_latency(Duration::from_secs(3));
    let start = Instant::now();
    settle(&source, &out[0], Verdict::Ack).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    settle(&source, &out[0], Verdict::Ack).await.unwrap();
    let verdicts = queue.verdicts();
    assert_eq!(verdicts, [(out[0].message.id.clone(), Verdict::Ack)], "carried out once");
}

#[tokio::test]
async fn while_the_broker_is_down_every_call_says_so() {
    let queue = MemoryQueue::new();
    let source = queue.source();
    queue.publish(&[Outgoing::new("x")]).await;
    queue.down("maintenance");
    assert!(queue.publish(&[Outgoing::new("y")]).await[0].is_err());
    let error = source.receive(WANT, &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("maintenance"), "{error}");
    queue.up();
    assert!(matches!(source.event().await, SourceEvent::Down(_)));
    assert_eq!(source.event().await, SourceEvent::Up);
    assert_eq!(receive(&source).await.len(), 1);
}

#[tokio::test]
async fn a_replay_gives_each_message_once_beside_the_published_ones() {
    for order in [OrderSupport::None, OrderSupport::KeyAtSource, OrderSupport::KeyInLanes] {
        let queue = MemoryQueue::with(MemoryOptions::default().order(order));
        let template = |key: &'static str, payload: &'static str| {
            let mut message = Message::new(0, payload);
            message.key = Some(key.into());
            message
        };
        queue.publish(&[Outgoing::new("published").id("mine")]).await;
        queue.replay(vec![template("a", "one"), template("b", "two")], 3000);
        assert_eq!(queue.backlog().ready.unwrap().value, 3001);
        let source = queue.source();
        let mut seen = BTreeSet::new();
        while seen.len() < 3001 {
            for delivery in receive(&source).await {
                let message = &delivery.message;
                assert_eq!(message.attempt, 0);
                if let Some(number) = message.id.as_number() {
                    let payload = if number % 2 == 0 { "one" } else { "two" };
                    assert_eq!(message.payload, payload);
                }
                assert!(seen.insert(message.id.clone()), "{} came twice", message.id);
                settle(&source, &delivery, Verdict::Ack).await.unwrap();
            }
        }
        assert_eq!(queue.backlog().outstanding(), 0);
    }
}
