//! A worker under load is killed (SIGKILL) twenty times. A file, written and synced before each ack,
//! holds what was handled: nothing that was confirmed to its producer may be missing, and what came
//! twice is bounded by what was out at a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{DeadFilter, DeadLetters, Outgoing, Source, Verdict};
use forebay_rabbitmq::{RabbitOptions, RabbitSource};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use support::{CleanUp, Out, dead_letter, open, publish, receive, retry, settlement, url};

/// The most that a worker has out.
const WINDOW: usize = 16;
const KILLS: usize = 20;

/// What the handler decides: by the number, so that each life decides the same.
fn verdict(out: &Out) -> Verdict {
    let number: u64 = out.message.payload.iter().fold(0, |sum, byte| sum * 7 + u64::from(*byte));
    match (number % 10, out.message.attempt) {
        (0, 0) => retry(Duration::from_millis(20)),
        (1, 0) => retry(Duration::ZERO),
        (2, _) => dead_letter(),
        _ => Verdict::Ack,
    }
}

/// Handles messages: the oracle is told and synced, then the broker.
async fn work(source: &RabbitSource, oracle: &mut File) {
    let out = receive(source, WINDOW).await;
    let verdicts: Vec<_> = out.iter().map(|out| settlement(out, verdict(out))).collect();
    for settlement in verdicts.iter().filter(|settlement| settlement.verdict == Verdict::Ack) {
        // In one call: a kill between a line and its end would make one line of it and the next.
        oracle.write_all(format!("{}\n", settlement.message.id).as_bytes()).unwrap();
    }
    oracle.sync_data().unwrap();
    source.settle(&verdicts).await;
}

fn oracle(file: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(file).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test, in processes of their own"]
async fn child() {
    let (Ok(name), Some(file)) = (env::var("CRASH_QUEUE"), env::var_os("CRASH_ORACLE")) else {
        return;
    };
    let queue = open(&RabbitOptions::new(url(), name)).await;
    let source = queue.source().await.unwrap();
    let mut oracle = oracle(file.as_ref());
    println!("working");
    loop {
        work(&source, &mut oracle).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_its_worker_is_killed_twenty_times() {
    let options = support::options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.oracle", options.queue));
    let variables =
        [("CRASH_QUEUE", options.queue.as_str()), ("CRASH_ORACLE", file.to_str().unwrap())];
    let mut published = BTreeSet::new();
    for round in 0..KILLS {
        let process = Process::start("child", &variables);
        process.wait_for_line("working");
        let life = Duration::from_millis(60 + 53 * round as u64 % 240);
        let start = Instant::now();
        while start.elapsed() < life {
            let n = published.len();
            let batch: Vec<_> = (n..n + 10).map(|n| Outgoing::new(n.to_string())).collect();
            published.extend(publish(&queue, &batch).await.into_iter().map(|id| id.to_string()));
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        process.kill();
    }
    // What is left is worked off here.
    let source = queue.source().await.unwrap();
    let mut last = oracle(&file);
    while queue.backlog().await.unwrap().outstanding() > 0
        || source.backlog().await.unwrap().outstanding() > 0
    {
        let worked = work(&source, &mut last);
        if tokio::time::timeout(Duration::from_secs(2), worked).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    source.close(Duration::from_secs(5)).await.unwrap();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        *times.entry(line.to_owned()).or_default() += 1;
    }
    let letters = queue.list(&DeadFilter::default(), None, usize::MAX).await.unwrap();
    for letter in &letters {
        *times.entry(letter.message.id.to_string()).or_default() += 1;
    }
    let lost: Vec<_> = published.iter().filter(|id| !times.contains_key(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} confirmed and never handled ({}): {lost:?}",
        lost.len(),
        file.display()
    );
    std::fs::remove_file(&file).unwrap();
    let again: usize = times.values().map(|times| times - 1).sum();
    assert!(again <= KILLS * WINDOW, "{again} handled again after {KILLS} kills");
    assert!(published.len() > 500, "only {} were published: a poor test", published.len());
    println!(
        "{} published, {} dead, {again} handled again, 0 lost, {KILLS} kills",
        published.len(),
        letters.len()
    );
}
