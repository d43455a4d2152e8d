//! What the tests share: topics of their own, short words for the contract, child processes.

#![allow(dead_code, reason = "each test file uses some of it")]

use forebay_contract::{
    Delivery, FailureKind, FailureNote, MessageId, Outgoing, SettleError, Settled, Settlement,
    Sink, Source, Verdict, Want,
};
use forebay_kafka::{Create, KafkaError, KafkaOptions, KafkaQueue, KafkaSource, Order, Receipt};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use std::{
    collections::hash_map::RandomState,
    env,
    hash::BuildHasher,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

pub(crate) type Out = Delivery<Receipt>;

/// The broker's address.
pub(crate) fn brokers() -> String {
    variable("FOREBAY_TEST_KAFKA").unwrap_or_else(|| "127.0.0.1:29092".into())
}

/// An environment variable.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A name that nobody else has.
pub(crate) fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(count) as u32;
    format!("test-{what}-{}-{count}-{random:08x}", std::process::id())
}

/// Options for a topic of a test's own: two partitions, and delays that a test can wait for.
pub(crate) fn options(what: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(brokers(), fresh(what));
    options.create = Some(Create { partitions: 2, replication: 1 });
    options.retry_steps = [100, 1000, 10_000, 60_000].map(Duration::from_millis).to_vec();
    options.session_timeout = Duration::from_secs(6);
    options
}

/// A topic of a test's own, with all that belongs to it. Deleted when dropped.
pub(crate) struct Topic {
    pub(crate) queue: KafkaQueue,
    pub(crate) options: KafkaOptions,
    owned: bool,
}

impl Topic {
    pub(crate) async fn open(options: KafkaOptions) -> Result<Self, KafkaError> {
        let queue = match KafkaQueue::open(options.clone()).await {
            Err(error @ KafkaError::Unreachable { .. }) => {
                panic!("{error}\nTo start a broker for the tests: scripts/brokers up kafka")
            }
            queue => queue?,
        };
        Ok(Self { queue, options, owned: true })
    }

    /// As a new process would open it.
    pub(crate) async fn reopen(mut self) -> Result<Self, KafkaError> {
        self.owned = false;
        Self::open(self.options.clone()).await
    }

    /// The names of its topics.
    pub(crate) fn names(&self) -> Vec<String> {
        let own = &self.options.own_topics;
        let steps = self.options.retry_steps.iter().map(Duration::as_millis);
        let name = |millis: u128| match millis {
            60_000 => format!("{own}.retry.1m"),
            whole if whole % 1000 == 0 => format!("{own}.retry.{}s", whole / 1000),
            part => format!("{own}.retry.{part}ms"),
        };
        let mut all = vec![self.options.topic.clone(), format!("{own}.dead")];
        match self.options.order {
            Order::None => all.extend(steps.map(name)),
            _ => all.push(format!("{own}.attempts")),
        }
        all
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        let names = self.names();
        let delete = move || {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let admin = admin();
            let _ = runtime.block_on(admin.delete_topics(&names, &AdminOptions::new()));
        };
        let _ = thread::spawn(delete).join();
    }
}

/// A client for the tests' own doings.
pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    client().create().unwrap()
}

/// Settings of a client that only knows the brokers.
pub(crate) fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    config
}

/// Publishes messages, all of which must be accepted.
pub(crate) async fn publish(queue: &KafkaQueue, messages: &[Outgoing]) -> Vec<MessageId> {
    queue.publish(messages).await.into_iter().map(Result::unwrap).collect()
}

/// Messages of text: `0`, `1`, …
pub(crate) fn numbered(n: usize) -> Vec<Outgoing> {
    (0..n).map(|i| Outgoing::new(i.to_string())).collect()
}

/// Receives until `n` messages are there.
pub(crate) async fn receive_n(source: &KafkaSource, n: usize) -> Vec<Out> {
    let mut out = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while out.len() < n {
        let want = Want { messages: n - out.len(), bytes: 1 << 30 };
        let have = out.len();
        let received = tokio::time::timeout_at(end, source.receive(want, &mut out)).await;
        received.unwrap_or_else(|_| panic!("{have} of {n} messages came")).unwrap();
    }
    out
}

/// Whatever comes within a time, up to `most`.
pub(crate) async fn receive_for(source: &KafkaSource, time: Duration, most: usize) -> Vec<Out> {
    let mut out = Vec::new();
    let end = tokio::time::Instant::now() + time;
    while out.len() < most {
        let want = Want { messages: most - out.len(), bytes: 1 << 30 };
        match tokio::time::timeout_at(end, source.receive(want, &mut out)).await {
            Ok(received) => received.unwrap(),
            Err(_) => break,
        }
    }
    out
}

/// Settles all deliveries the same way.
pub(crate) async fn settle(
    source: &KafkaSource,
    out: &[Out],
    verdict: Verdict,
) -> Vec<Result<Settled, SettleError>> {
    let settlement = |out: &Out| Settlement {
        receipt: out.receipt,
        message: out.message.clone(),
        verdict: verdict.clone(),
    };
    let batch: Vec<_> = out.iter().map(settlement).collect();
    source.settle(&batch).await
}

/// Acknowledges all of them, which must work.
pub(crate) async fn ack(source: &KafkaSource, out: &[Out]) {
    for answer in settle(source, out, Verdict::Ack).await {
        answer.unwrap();
    }
}

pub(crate) fn text(out: &Out) -> String {
    String::from_utf8_lossy(&out.message.payload).into_owned()
}

pub(crate) fn note(error: &str) -> FailureNote {
    FailureNote::new(FailureKind::Transient, error, SystemTime::now())
}

pub(crate) fn retry(after: Duration) -> Verdict {
    Verdict::Retry { after, note: note("again") }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < end, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
