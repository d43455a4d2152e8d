//! A worker that is killed (SIGKILL) twenty times under load. An oracle, a file that each handled
//! message is appended to before it is settled, knows the truth: nothing that was confirmed may be
//! missing, and what came twice is bounded by what was in flight at each kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, Sink, Source, Verdict, Want};
use forebay_kafka::{KafkaOptions, KafkaQueue};
use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use support::{Process, Topic, options, retry, settle, variable};

const KILLS: usize = 20;
/// The most that a worker has out.
const WINDOW: usize = 16;

fn child_options(name: &str) -> KafkaOptions {
    let mut options = options("crash");
    options.group = format!("forebay-{name}");
    (options.own_topics, options.topic) = (name.into(), name.into());
    // So that a killed worker's partitions are free again soon.
    options.session_timeout = Duration::from_secs(1);
    options.instance_id = Some("the-worker".into());
    options
}

/// Handles messages for ever: the oracle is told first. Every tenth fails once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test, in a process of its own"]
async fn child() {
    let (Some(name), Some(file)) = (variable("CRASH_TOPIC"), variable("CRASH_ORACLE")) else {
        return;
    };
    let mut oracle = OpenOptions::new().append(true).open(file).unwrap();
    let source = KafkaQueue::open(child_options(&name)).await.unwrap().source().await.unwrap();
    println!("ready");
    loop {
        let mut out = Vec::new();
        source.receive(Want { messages: WINDOW, bytes: 1 << 20 }, &mut out).await.unwrap();
        let fails = |out: &support::Out| {
            let number: u64 = support::text(out).parse().unwrap();
            number.is_multiple_of(10) && out.message.attempt == 0
        };
        let (bad, good): (Vec<_>, Vec<_>) = out.into_iter().partition(fails);
        let lines: String = good.iter().map(|out| format!("{}\n", support::text(out))).collect();
        oracle.write_all(lines.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        settle(&source, &good, Verdict::Ack).await;
        settle(&source, &bad, retry(Duration::from_millis(20))).await;
    }
}

/// Publishes numbers until told to stop; returns how many were confirmed.
async fn produce(queue: &KafkaQueue, until: &mut tokio::sync::watch::Receiver<bool>) -> usize {
    let mut confirmed = 0;
    while !*until.borrow() {
        let batch: Vec<_> = (confirmed..confirmed + 20)
            .map(|n| Outgoing::new(n.to_string()).key(n.to_string()))
            .collect();
        for id in queue.publish(&batch).await {
            id.unwrap();
        }
        confirmed += batch.len();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    confirmed
}

/// Kills worker after worker; returns what they wrote. A worker lives for a moment after it has begun
/// to handle messages.
async fn kill_again_and_again(topic: &str, oracle: &Path) {
    let file = oracle.to_str().unwrap();
    let size = || std::fs::metadata(oracle).unwrap().len();
    for round in 0..KILLS {
        let worker = Process::start("child", &[("CRASH_TOPIC", topic), ("CRASH_ORACLE", file)]);
        let (before, start) = (size(), Instant::now());
        while size() == before {
            assert!(start.elapsed() < Duration::from_secs(30), "worker {round} handled nothing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let life = 50 + 97 * round as u64 % 350;
        tokio::time::sleep(Duration::from_millis(life)).await;
        worker.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_workers_are_killed() {
    let mut own = options("crash");
    own.session_timeout = Duration::from_secs(1);
    let topic = Topic::open(own).await.unwrap();
    let directory = std::env::temp_dir().join(format!("{}.oracle", topic.options.topic));
    File::create(&directory).unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let killing = async {
        kill_again_and_again(&topic.options.topic, &directory).await;
        stop.send_replace(true);
    };
    let (published, ()) = tokio::join!(produce(&topic.queue, &mut stopped), killing);

    // The last one works off what is left.
    let file = directory.to_str().unwrap();
    let _last =
        Process::start("child", &[("CRASH_TOPIC", &topic.options.topic), ("CRASH_ORACLE", file)]);
    let handled = || {
        let text = std::fs::read_to_string(&directory).unwrap();
        let mut counts: HashMap<usize, usize> = HashMap::new();
        text.lines().for_each(|line| *counts.entry(line.parse().unwrap()).or_default() += 1);
        counts
    };
    let end = Instant::now() + Duration::from_secs(30);
    while handled().len() < published && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let counts = handled();
    std::fs::remove_file(&directory).unwrap();
    let lost: HashSet<_> = (0..published).filter(|n| !counts.contains_key(n)).collect();
    assert!(lost.is_empty(), "confirmed and never handled: {lost:?}");
    let again: usize = counts.values().map(|times| times - 1).sum();
    println!("{published} published, {} handled, {again} of them again", counts.len());
    // What was out, and what was done within the time between two commits and one commit's way: the
    // worker handles at most a window in a millisecond.
    let handled_in_a_commit = 250;
    let most = KILLS * (WINDOW + handled_in_a_commit);
    assert!(again <= most, "{again} handled again after {KILLS} kills, {most} at most expected");
    assert!(published > 500, "only {published} were published: a poor test");
}
