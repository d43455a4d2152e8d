//! A group whose members come and go: eight workers, 32 partitions, one joining or leaving every
//! 5 seconds. Nothing is lost, nothing that is done is done again, partitions that stay with their
//! worker stall at most 2 seconds, those that move at most 10.
//!
//! For 30 seconds; with `FOREBAY_TEST_LONG=1` for two minutes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, Sink, Source, Verdict, Want};
use forebay_kafka::{Create, GroupProtocol, KafkaOptions, KafkaSource};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{Topic, options, settle, variable};
use tokio::{sync::watch, task::JoinHandle};

const PARTITIONS: i32 = 32;
const WORKERS: usize = 8;
/// Messages a second, over all partitions.
const RATE: u64 = 640;

/// A message was handled: when, by whom.
struct Handled {
    at: Instant,
    worker: usize,
    id: String,
    settled: bool,
}

type Book = Arc<Mutex<Vec<Handled>>>;

/// A worker that handles a message in a moment, until it is told to leave.
struct Member {
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Member {
    async fn join(topic: &Topic, worker: usize, book: Book) -> Self {
        let source = topic.queue.source().await.unwrap();
        let (leave, left) = watch::channel(false);
        let task = tokio::spawn(work(source, worker, book, left));
        Self { leave, task }
    }

    async fn leave(self) {
        self.leave.send_replace(true);
        self.task.await.unwrap();
    }
}

async fn work(source: KafkaSource, worker: usize, book: Book, mut left: watch::Receiver<bool>) {
    let mut out = Vec::new();
    loop {
        let want = Want { messages: 8, bytes: 1 << 20 };
        tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => break,
            _ = source.event() => continue,
            received = source.receive(want, &mut out) => received.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let answers = settle(&source, &out, Verdict::Ack).await;
        let at = Instant::now();
        let mut book = book.lock().unwrap();
        for (out, answer) in out.drain(..).zip(answers) {
            let (id, settled) = (out.message.id.to_string(), answer.is_ok());
            book.push(Handled { at, worker, id, settled });
        }
    }
    source.close(Duration::from_secs(5)).await.unwrap();
}

/// Publishes at a steady rate until it is told to stop; returns what was confirmed.
async fn produce(topic: &Topic, until: Instant) -> HashSet<String> {
    let mut ids = HashSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(25));
    for n in 0.. {
        tick.tick().await;
        if Instant::now() > until {
            break;
        }
        let batch: Vec<_> = (0..RATE / 40)
            .map(|i| Outgoing::new("x").key(format!("{}", n * RATE / 40 + i)))
            .collect();
        for id in topic.queue.publish(&batch).await {
            ids.insert(id.unwrap().to_string());
        }
    }
    ids
}

/// The longest that a partition stood still: with the same worker before and after, and with another.
fn stalls(book: &[Handled]) -> (Duration, Duration) {
    let mut last: HashMap<&str, (Instant, usize)> = HashMap::new();
    let (mut stay, mut moved) = (Duration::ZERO, Duration::ZERO);
    for Handled { at, worker, id, .. } in book {
        let partition = id.rsplit(':').nth(1).unwrap();
        if let Some((before, who)) = last.insert(partition, (*at, *worker)) {
            let gap = at.saturating_duration_since(before);
            let stall = if who == *worker { &mut stay } else { &mut moved };
            *stall = (*stall).max(gap);
        }
    }
    (stay, moved)
}

#[expect(clippy::print_stdout, reason = "a test's figures")]
async fn come_and_go(options: KafkaOptions, time: Duration) {
    let topic = Topic::open(options).await.unwrap();
    let book = Book::default();
    let mut members = Vec::new();
    for worker in 0..WORKERS {
        members.push(Member::join(&topic, worker, book.clone()).await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // the group settles down
    book.lock().unwrap().clear();
    let end = Instant::now() + time;
    let changes = async {
        let mut next = WORKERS;
        for round in 0.. {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if Instant::now() + Duration::from_secs(2) > end {
                break;
            }
            if round % 2 == 0 {
                members.remove(round % members.len()).leave().await;
            } else {
                members.push(Member::join(&topic, next, book.clone()).await);
                next += 1;
            }
        }
    };
    let (published, ()) = tokio::join!(produce(&topic, end), changes);
    let handled = || -> HashSet<String> {
        book.lock().unwrap().iter().map(|handled| handled.id.clone()).collect()
    };
    let patience = Instant::now() + Duration::from_secs(20);
    while !published.is_subset(&handled()) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lost = published.difference(&handled()).count();
    for member in members {
        member.leave().await;
    }
    let book = book.lock().unwrap();
    let (stay, moved) = stalls(&book);
    let (mut done, mut again, mut late) = (HashSet::new(), 0, 0);
    for handled in book.iter() {
        again += usize::from(done.contains(&handled.id));
        late += usize::from(!handled.settled);
        if handled.settled {
            done.insert(&handled.id);
        }
    }
    println!(
        "{} published, {lost} lost, {again} done again after they were done, {late} settled too late; \
         stalls: {stay:.1?} of what stayed, {moved:.1?} of what moved",
        published.len()
    );
    assert_eq!((lost, again), (0, 0), "lost, and done again");
    assert!(published.len() as u64 > RATE * time.as_secs() / 3, "too slow to tell anything");
    // A crowded machine is slow in itself; `FOREBAY_TEST_SLACK=1` on a quiet one.
    let slack = variable("FOREBAY_TEST_SLACK").map_or(3.0, |slack| slack.parse().unwrap());
    assert!(stay <= Duration::from_secs(2).mul_f64(slack), "partitions that stayed stood {stay:?}");
    assert!(moved <= Duration::from_secs(10).mul_f64(slack), "partitions that moved: {moved:?}");
}

fn set_up(what: &str) -> (KafkaOptions, Duration) {
    let mut options = options(what);
    options.create = Some(Create { partitions: PARTITIONS, replication: 1 });
    options.retry_steps = vec![Duration::from_millis(100)];
    let long = variable("FOREBAY_TEST_LONG").is_some_and(|value| value == "1");
    (options, Duration::from_secs(if long { 120 } else { 30 }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_nothing_is_lost_or_stands_still() {
    let (options, time) = set_up("members");
    come_and_go(options, time).await;
}

/// KIP-848: the broker assigns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a second long run: by hand, `--ignored`; the protocol's smoke test is in `group.rs`"]
async fn the_same_with_the_new_protocol() {
    let (mut options, time) = set_up("members848");
    options.protocol = GroupProtocol::Consumer;
    come_and_go(options, time).await;
}
