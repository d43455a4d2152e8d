//! `Worker::run` and signals: this program starts itself as a worker's process, and signals that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the child speaks to its parent")]

mod common;

use common::{at_once, publish};
use forebay::{Failure, Job, Worker, testing::MemoryQueue};
use std::{
    env,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// Handles one message at a time, and takes as long as its payload says, in milliseconds.
async fn slow(job: Job<u64>) -> Result<(), Failure> {
    println!("handling {}", job.payload);
    tokio::time::sleep(Duration::from_millis(job.payload)).await;
    Ok(())
}

/// The worker's process: its queue is in its own memory, with two messages of `millis` in it.
async fn child(millis: u64) {
    let queue = MemoryQueue::new();
    publish(&queue, [millis, millis].map(|n| n.to_string())).await;
    let worker = Worker::builder(queue.source()).concurrency(at_once(1)).handler(slow);
    println!("drained: {}", worker.run().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it as a process of its own"]
async fn child_of_500_ms() {
    child(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it as a process of its own"]
async fn child_of_a_minute() {
    child(60_000).await;
}

/// Starts a child, and waits until its handler runs.
fn start(test: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("handling")), "the child handles a message");
    (child, lines)
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

/// Waits for the child's end, which is to be a good one, and returns how it says that it drained.
fn end(mut child: Child, lines: Lines<BufReader<ChildStdout>>) -> String {
    // All of it is read: a child that cannot write fails.
    let said: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "the child drains and ends by itself");
    said.into_iter().find(|line| line.contains("drained")).unwrap()
}

#[test]
fn sigterm_lets_finish_what_runs_and_gives_back_the_rest() {
    let (child, lines) = start("child_of_500_ms");
    signal(&child, "TERM");
    let drained = end(child, lines);
    assert!(drained.contains("finished 1, released 1, abandoned 0"), "{drained}");
}

#[test]
fn sigint_drains_and_a_second_signal_calls_off_what_runs() {
    let begun = Instant::now();
    let (child, lines) = start("child_of_a_minute");
    signal(&child, "INT");
    // Two signals of one kind at once are one: the second is of the other kind.
    signal(&child, "TERM");
    let drained = end(child, lines);
    assert!(drained.contains("finished 0, released 2, abandoned 0"), "{drained}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
