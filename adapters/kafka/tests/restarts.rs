//! A broker that is killed (SIGKILL) three times, and started again, while a worker is under load. The
//! oracle is what the handler has seen: nothing that was confirmed may be missing, neither at the
//! worker nor among the dead letters.
//!
//! Its broker is its own, since all others would be killed with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, Outgoing, SettleError, Settlement, Sink, Source, Verdict,
    Want,
};
use forebay_kafka::{KafkaQueue, KafkaSource};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{Out, note, options, retry, text, until};

const SECOND: Duration = Duration::from_secs(1);
const KILLS: usize = 3;

/// A Kafka of a test's own, ended with it.
struct Broker {
    directory: PathBuf,
    offset: u32,
}

impl Broker {
    fn start() -> Self {
        // Ports that other runs of this test do not use, below those that the system gives out.
        let offset = 2_700 + std::process::id() % 90 * 10;
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kafka-{offset}"));
        let broker = Self { directory, offset };
        broker.script("up");
        broker
    }

    fn script(&self, command: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/brokers");
        let output = Command::new(script)
            .args([command, "kafka"])
            .env("FOREBAY_BROKERS_DIR", &self.directory)
            .env("FOREBAY_BROKERS_OFFSET", self.offset.to_string())
            .env("FOREBAY_KAFKA_SESSION_MS", "2000")
            // It lives for seconds: starting soon is worth more than running fast.
            .env("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/brokers {command} kafka: {said}");
    }

    /// As if its machine had been reset; then it comes back.
    fn crash(&self) {
        self.script("kill");
        self.script("up");
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", 29_092 + self.offset)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.script("kill");
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What the worker has seen through to its end, and how often.
#[derive(Default)]
struct Oracle(Mutex<HashMap<usize, usize>>);

impl Oracle {
    fn note(&self, number: usize) {
        *self.0.lock().unwrap().entry(number).or_default() += 1;
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Every tenth fails once, every hundredth for good.
fn verdict(out: &Out) -> Verdict {
    let number: usize = text(out).parse().unwrap();
    match number % 100 {
        0 => Verdict::DeadLetter { reason: DeadReason::Permanent, note: note("never") },
        at if at % 10 == 0 && out.message.attempt == 0 => retry(SECOND / 20),
        _ => Verdict::Ack,
    }
}

/// Handles messages until told to stop, and settles until it is told that it is settled.
async fn work(source: &KafkaSource, oracle: &Oracle, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut out = Vec::new();
        let want = Want { messages: 50, bytes: 1 << 20 };
        match tokio::time::timeout(SECOND / 5, source.receive(want, &mut out)).await {
            Ok(received) => received.unwrap(),
            Err(_) => continue,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let settlement = |out: &Out| Settlement {
            receipt: out.receipt,
            message: out.message.clone(),
            verdict: verdict(out),
        };
        let mut left: Vec<_> = out.iter().map(settlement).collect();
        for acked in left.iter().filter(|settlement| settlement.verdict == Verdict::Ack) {
            oracle.note(String::from_utf8_lossy(&acked.message.payload).parse().unwrap());
        }
        while !left.is_empty() {
            let answers = source.settle(&left).await;
            let again = left.into_iter().zip(answers).filter_map(|(settlement, answer)| {
                match answer {
                    // Stale: the partition has gone and come, and so will the message.
                    Ok(_) | Err(SettleError::Stale) => None,
                    Err(SettleError::Unavailable(_)) => Some(settlement),
                    Err(error) => panic!("{error}"),
                }
            });
            left = again.collect();
        }
    }
}

/// Publishes numbers until told to stop; returns those that were confirmed.
async fn produce(queue: &KafkaQueue, stop: &AtomicBool) -> BTreeSet<usize> {
    let (mut confirmed, mut next) = (BTreeSet::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let numbers = next..next + 20;
        next = numbers.end;
        let batch: Vec<_> =
            numbers.clone().map(|n| Outgoing::new(n.to_string()).key(n.to_string())).collect();
        // What is not confirmed may be there or not: nobody was promised anything.
        let answers = queue.publish(&batch).await;
        confirmed.extend(numbers.zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let broker = Arc::new(Broker::start());
    let mut own = options("restarts");
    own.brokers = broker.address();
    own.publish_timeout = 2 * SECOND;
    let queue = KafkaQueue::open(own).await.unwrap();
    let source = queue.source().await.unwrap();
    let (oracle, enough, done) =
        (Oracle::default(), AtomicBool::new(false), AtomicBool::new(false));

    let crashing = async {
        for kill in 0..KILLS {
            let handled = oracle.count();
            until("the worker handles messages", async || oracle.count() > handled + 200).await;
            let broker = broker.clone();
            tokio::task::spawn_blocking(move || broker.crash()).await.unwrap();
            println!("after kill {kill}: {} handled", oracle.count());
        }
        enough.store(true, Ordering::Relaxed);
    };
    let published = async {
        let (confirmed, ()) = tokio::join!(produce(&queue, &enough), crashing);
        // What is left is worked off.
        until("all is handled or dead", async || {
            let seen = oracle.0.lock().unwrap();
            confirmed.iter().all(|n| n % 100 == 0 || seen.contains_key(n))
        })
        .await;
        tokio::time::sleep(SECOND).await;
        done.store(true, Ordering::Relaxed);
        confirmed
    };
    let (confirmed, ()) = tokio::join!(published, work(&source, &oracle, &done));

    let letters = queue.list(&DeadFilter::default(), None, usize::MAX).await.unwrap();
    let number = |payload: &[u8]| String::from_utf8_lossy(payload).parse::<usize>().unwrap();
    let dead: BTreeSet<_> = letters.iter().map(|letter| number(&letter.message.payload)).collect();
    let seen = oracle.0.lock().unwrap().clone();
    let lost: Vec<_> =
        confirmed.iter().filter(|n| !seen.contains_key(n) && !dead.contains(n)).collect();
    assert!(lost.is_empty(), "confirmed and neither handled nor dead: {lost:?}");
    let again: usize = seen.values().map(|times| times - 1).sum();
    println!(
        "{} confirmed, {} handled, {} dead, {again} handled again; lost 0",
        confirmed.len(),
        seen.len(),
        dead.len()
    );
    assert!(confirmed.len() > 500, "only {} were published: a poor test", confirmed.len());
    source.close(5 * SECOND).await.unwrap();
}
