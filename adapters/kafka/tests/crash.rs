//! A worker that is killed (SIGKILL) twenty times under load. An oracle, a file that each handled
//! message is appended to before it is settled, knows the truth: nothing that was confirmed may be
//! missing, and what came twice is bounded by what was in flight at each kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, Sink, Source, Verdict, Want};
use forebay_kafka::{KafkaOptions, KafkaQueue};
use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use support::{Topic, options, retry, settle, variable};

const KILLS: usize = 20;
/// The most that a worker has out.
const WINDOW: usize = 16;
/// How long what is done may not be committed, in milliseconds.
const COMMIT: u64 = 250;

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
        let at = millis();
        let line = |out: &support::Out| format!("{} {at}\n", support::text(out));
        let lines: String = good.iter().map(line).collect();
        oracle.write_all(lines.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        settle(&source, &good, Verdict::Ack).await;
        settle(&source, &bad, retry(Duration::from_millis(20))).await;
    }
}

/// Milliseconds since 1970, which all processes share.
fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
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

/// Kills worker after worker; returns when. A worker lives for a moment after it has begun
/// to handle messages.
async fn kill_again_and_again(topic: &str, oracle: &Path) -> Vec<u64> {
    let mut kills = Vec::new();
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
        kills.push(millis());
    }
    kills
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
        let kills = kill_again_and_again(&topic.options.topic, &directory).await;
        stop.send_replace(true);
        kills
    };
    let (published, kills) = tokio::join!(produce(&topic.queue, &mut stopped), killing);

    // The last one works off what is left.
    let file = directory.to_str().unwrap();
    let _last = Process::start(
        "child",
        &[("CRASH_TOPIC", topic.options.topic.as_str()), ("CRASH_ORACLE", file)],
    );
    let lines = || -> Vec<(usize, u64)> {
        let text = std::fs::read_to_string(&directory).unwrap();
        let number_and_time = |line: &str| {
            let (number, at) = line.split_once(' ')?;
            Some((number.parse().ok()?, at.parse().ok()?))
        };
        text.lines().filter_map(number_and_time).collect()
    };
    let count = |lines: &[(usize, u64)]| {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        lines.iter().for_each(|(number, _)| *counts.entry(*number).or_default() += 1);
        counts
    };
    let end = Instant::now() + Duration::from_secs(30);
    while count(&lines()).len() < published && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lines = lines();
    let counts = count(&lines);
    std::fs::remove_file(&directory).unwrap();
    let lost: HashSet<_> = (0..published).filter(|n| !counts.contains_key(n)).collect();
    assert!(lost.is_empty(), "confirmed and never handled: {lost:?}");
    let again: usize = counts.values().map(|times| times - 1).sum();
    // In flight at a kill: what was out, and what was done and not committed yet. Between two commits
    // lie 100 ms; a commit takes a while, on a busy machine a long one.
    let uncommitted =
        |kill: u64| lines.iter().filter(|(_, at)| (kill - COMMIT..=kill).contains(at)).count();
    let most: usize = kills.iter().map(|kill| WINDOW + uncommitted(*kill)).sum();
    println!(
        "{published} published, {} handled, {again} of them again ({most} allowed)",
        counts.len()
    );
    assert!(again <= most, "{again} handled again after {KILLS} kills, {most} were in flight");
    assert!(published > 500, "only {published} were published: a poor test");
}
