//! A worker is killed (SIGKILL) twenty times under load. An oracle, a file that each handled message is
//! appended to and synced, counts: nothing lost, and repeated at most what was in flight at each kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, Source, Verdict};
use forebay_sqs::{SqsOptions, SqsQueue, SqsSource, Topology};
use std::{
    collections::HashMap,
    env,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use support::{Emulator, Own, publish, receive, sdk, settlement, text};

const KILLS: usize = 20;
/// The most that a worker has out.
const WINDOW: usize = 20;
const LEASE: Duration = Duration::from_secs(2);

fn oracle(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Handles messages for ever: the oracle is told and synced, then SQS.
async fn work(source: &SqsSource, oracle: &mut File) {
    let out = receive(source, WINDOW).await;
    let lines: String = out.iter().map(|out| format!("{}\n", text(out))).collect();
    oracle.write_all(lines.as_bytes()).unwrap();
    oracle.sync_data().unwrap();
    let acks: Vec<_> = out.iter().map(|out| settlement(out, Verdict::Ack)).collect();
    source.settle(&acks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test, in processes of their own"]
async fn child() {
    let Ok(queue) = env::var("CRASH_QUEUE") else { return };
    let address = env::var("CRASH_AT").unwrap().parse().unwrap();
    let mut oracle = oracle(Path::new(&env::var("CRASH_ORACLE").unwrap()));
    let options = SqsOptions::new(queue).topology(Topology::Trust).lease(LEASE);
    let queue = SqsQueue::open_with(options, &sdk(address).await).await.unwrap();
    let source = queue.source().await.unwrap();
    println!("ready");
    loop {
        work(&source, &mut oracle).await;
    }
}

async fn killed_twenty_times(emulator: Emulator, fifo: bool) -> String {
    let own = Own::new(emulator, fifo, |o| o.lease(LEASE)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("oracle");
    let (at, file) = (own.direct.to_string(), path.to_str().unwrap().to_owned());
    let variables =
        [("CRASH_QUEUE", &*own.options.queue), ("CRASH_AT", &at), ("CRASH_ORACLE", &file)];
    let mut published = 0;
    for _ in 0..KILLS {
        let batch: Vec<_> = (published..published + 60)
            .map(|n| Outgoing::new(n.to_string()).key(format!("k{}", n % 7)))
            .collect();
        publish(&own.queue, &batch).await;
        published += batch.len();
        let process = Process::start("child", &variables);
        process.wait_for_line("ready");
        tokio::time::sleep(Duration::from_millis(20 + fastrand::u64(0..150))).await;
        process.kill();
    }
    // What is left is worked off here, until SQS has nothing more.
    let source = own.source().await;
    let mut file = oracle(&path);
    let start = Instant::now();
    while own.queue.backlog().await.unwrap().outstanding() > 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come to an end");
        let working = work(&source, &mut file);
        let _ = tokio::time::timeout(Duration::from_millis(500), working).await;
    }
    source.close(Duration::from_secs(2)).await.unwrap();

    let mut counts: HashMap<usize, u32> = HashMap::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    let lost: Vec<_> = (0..published).filter(|n| !counts.contains_key(n)).collect();
    let again: u32 = counts.values().map(|times| times - 1).sum();
    assert!(lost.is_empty(), "confirmed and never handled: {lost:?}");
    assert!(again as usize <= KILLS * WINDOW, "{again} handled again after {KILLS} kills");
    format!("{published} published, {} handled, {again} of them again", counts.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_nothing() {
    println!("{}", killed_twenty_times(Emulator::Fauxqs, false).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_of_a_fifo_queue_loses_nothing() {
    println!("{}", killed_twenty_times(Emulator::ElasticMq, true).await);
}
