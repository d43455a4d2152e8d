//! What the tests share: the broker's address, names that nobody else uses, a queue that is deleted
//! at the end, and child processes.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod harness;

use forebay_conformance::{Broker, proxy::FaultProxy};
use forebay_contract::{
    Delivery, FailureKind, FailureNote, MessageId, Outgoing, Settlement, Sink, Source, SourceEvent,
    Verdict, Want,
};
use forebay_rabbitmq::{RabbitError, RabbitOptions, RabbitQueue, RabbitSource, Receipt};
use lapin::{Channel, Connection, ConnectionProperties, options::QueueDeleteOptions};
use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, SystemTime},
};

pub(crate) type Out = Delivery<Receipt>;

/// Where the broker is.
pub(crate) fn url() -> String {
    let default = "amqp://guest:guest@127.0.0.1:25672/%2f";
    env::var("FOREBAY_TEST_AMQP").unwrap_or_else(|_| default.into())
}

/// Where a broker of a test's own is.
pub(crate) fn private_url(broker: &Broker) -> String {
    format!("amqp://guest:guest@{}/%2f", broker.address(25_672))
}

/// A proxy of a test's own before the broker, and the address through it.
pub(crate) fn through() -> (FaultProxy, String) {
    let url = url();
    let (before, rest) = url.split_once('@').expect("an address with a user");
    let (address, vhost) = rest.split_once('/').expect("an address with a vhost");
    let proxy = FaultProxy::start(address.parse().expect("an IP address and a port")).unwrap();
    let url = format!("{before}@{}/{vhost}", proxy.address());
    (proxy, url)
}

/// A name that no other queue has.
pub(crate) fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    format!("forebay-test-{pid}-{n}-{nanos:x}")
}

/// Options for a queue of a test's own.
pub(crate) fn options() -> RabbitOptions {
    RabbitOptions::new(url(), name())
}

/// Opens a queue; a broker that is not there fails the test, and says how to start it.
pub(crate) async fn open(options: &RabbitOptions) -> RabbitQueue {
    match RabbitQueue::open(options.clone()).await {
        Ok(queue) => queue,
        Err(error @ RabbitError::Unreachable { .. }) => {
            panic!("{error}; start it: scripts/brokers up rabbitmq")
        }
        Err(error) => panic!("{error}"),
    }
}

/// A channel of the test's own.
pub(crate) async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Deletes the queue of these options, its delays and dead letters, when dropped.
pub(crate) struct CleanUp(pub(crate) RabbitOptions);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let RabbitOptions { queue, delays, .. } = &self.0;
        let retry = delays.iter().map(|delay| format!("{queue}.retry.{}", delay.as_millis()));
        let names: Vec<_> = retry.chain([queue.clone(), format!("{queue}.dead")]).collect();
        let work = async move {
            let Ok(connection) = Connection::connect(&url(), ConnectionProperties::default()).await
            else {
                return; // a broker that is gone has nothing to clean up
            };
            let channel = connection.create_channel().await.unwrap();
            for name in names {
                let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default());
                let _ = deleted.await;
            }
            let _ = connection.close(200, "done".into()).await;
        };
        // A runtime of its own: this one may be blocked by the drop, or on its way out.
        let cleaner = thread::spawn(|| {
            let builder =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            builder.unwrap().block_on(work);
        });
        let _ = cleaner.join();
    }
}

/// Publishes messages, all of which must be accepted.
pub(crate) async fn publish(queue: &RabbitQueue, messages: &[Outgoing]) -> Vec<MessageId> {
    queue.publish(messages).await.into_iter().map(Result::unwrap).collect()
}

/// Waits for messages: at least one, at most `most`.
pub(crate) async fn receive(source: &RabbitSource, most: usize) -> Vec<Out> {
    let mut out = Vec::new();
    let received = source.receive(Want { messages: most, bytes: 1 << 30 }, &mut out);
    tokio::time::timeout(Duration::from_secs(20), received).await.expect("a message").unwrap();
    out
}

/// Waits for just so many.
pub(crate) async fn receive_n(source: &RabbitSource, n: usize) -> Vec<Out> {
    let mut out = Vec::new();
    while out.len() < n {
        out.extend(receive(source, n - out.len()).await);
    }
    out
}

/// What comes within a while.
pub(crate) async fn receive_for(source: &RabbitSource, time: Duration) -> Vec<Out> {
    let mut out = Vec::new();
    let until = tokio::time::Instant::now() + time;
    let want = Want { messages: 100, bytes: 1 << 30 };
    while let Ok(received) = tokio::time::timeout_at(until, source.receive(want, &mut out)).await {
        received.unwrap();
    }
    out
}

/// Settles all deliveries the same way; which of them that was possible for.
pub(crate) async fn settle(source: &RabbitSource, out: &[Out], verdict: Verdict) -> Vec<bool> {
    let batch: Vec<_> = out.iter().map(|out| settlement(out, verdict.clone())).collect();
    source.settle(&batch).await.iter().map(Result::is_ok).collect()
}

pub(crate) fn settlement(out: &Out, verdict: Verdict) -> Settlement<Receipt> {
    Settlement { receipt: out.receipt, message: out.message.clone(), verdict }
}

pub(crate) fn note(error: &str) -> FailureNote {
    FailureNote::new(FailureKind::Transient, error, SystemTime::now())
}

pub(crate) fn retry(after: Duration) -> Verdict {
    Verdict::Retry { after, note: note("again") }
}

pub(crate) fn dead_letter() -> Verdict {
    Verdict::DeadLetter { reason: forebay_contract::DeadReason::Permanent, note: note("never") }
}

/// The next event, which must come soon.
pub(crate) async fn event(source: &RabbitSource) -> SourceEvent {
    tokio::time::timeout(Duration::from_secs(20), source.event()).await.expect("an event")
}
