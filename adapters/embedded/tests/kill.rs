//! Two processes publish and work at one file while they are killed again and again. An oracle in
//! a database of its own holds what was handled: nothing that was confirmed may be missing, and what
//! came twice is bounded by what was out at a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, Verdict};
use forebay_embedded::SourceOptions;
use rusqlite::Connection;
use std::{collections::HashSet, io::Write, path::Path, time::Duration};
use support::{marked, publish, queue, receive, settle, variable};

/// The most that a worker has out.
const WINDOW: usize = 8;
const ROUNDS: usize = 14;

fn oracle(directory: &Path) -> Connection {
    let conn = Connection::open(directory.join("oracle.db")).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn.pragma_update(None, "synchronous", "off").unwrap(); // it need not survive a power cut
    conn.execute("CREATE TABLE IF NOT EXISTS handled (id TEXT NOT NULL)", ()).unwrap();
    conn
}

/// Handles messages for ever: the oracle is told, then the queue.
async fn work(directory: &Path) {
    let oracle = oracle(directory);
    let queue = queue(&directory.join("q.db")).await;
    let source = queue.source(&SourceOptions::default().lease(Duration::from_secs(2)));
    loop {
        let out = receive(&source, WINDOW).await;
        for delivery in &out {
            let id = delivery.message.id.to_string();
            oracle.execute("INSERT INTO handled VALUES (?1)", [id]).unwrap();
        }
        let stale = settle(&source, &out, Verdict::Ack).await.iter().filter(|ok| !**ok).count();
        if stale > 0 {
            say(&format!("stale {stale}\n"));
        }
    }
}

async fn produce(directory: &Path) {
    let queue = queue(&directory.join("q.db")).await;
    for round in 0.. {
        let batch = [Outgoing::new("a"), Outgoing::new("b").key(format!("k{}", round % 5))];
        let ids = publish(&queue, &batch).await;
        say(&ids.iter().map(|id| format!("published {id}\n")).collect::<String>());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test, in processes of their own"]
async fn child() {
    let Some(directory) = variable("KILL_TEST") else { return };
    tokio::join!(work(&directory), produce(&directory));
}

#[tokio::test]
async fn nothing_confirmed_is_lost_when_processes_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let handled = oracle(directory.path());
    let start = || Process::start("child", &[("KILL_TEST", directory.path())]);
    let mut processes = [Some(start()), Some(start())];
    let mut lines = Vec::new();
    for round in 0..ROUNDS {
        let life = 150 + 37 * u64::try_from(round).unwrap() % 200;
        tokio::time::sleep(Duration::from_millis(life)).await;
        let victim = &mut processes[round % 2];
        lines.extend(victim.take().unwrap().kill());
        if round < ROUNDS - 2 {
            *victim = Some(start());
        }
    }
    let published: HashSet<_> = marked(&lines, "published").into_iter().collect();
    let stale: usize = marked(&lines, "stale").iter().map(|n| n.parse::<usize>().unwrap()).sum();

    // What is left is worked off here.
    let queue = queue(&directory.path().join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    while queue.backlog().await.unwrap().outstanding() > 0 {
        let out = receive(&source, 100).await;
        for delivery in &out {
            let id = delivery.message.id.to_string();
            handled.execute("INSERT INTO handled VALUES (?1)", [id]).unwrap();
        }
        settle(&source, &out, Verdict::Ack).await;
    }
    let mut statement = handled.prepare("SELECT id, count(*) FROM handled GROUP BY id").unwrap();
    let counts: Vec<(String, u32)> =
        statement.query_map((), |row| row.try_into()).unwrap().map(Result::unwrap).collect();
    let seen: HashSet<_> = counts.iter().map(|(id, _)| id.as_str()).collect();
    let lost: Vec<_> = published.difference(&seen).collect();
    assert!(lost.is_empty(), "confirmed and never handled: {lost:?}");
    let again: u32 = counts.iter().map(|(_, times)| times - 1).sum();
    assert!(
        again as usize <= ROUNDS * WINDOW + stale,
        "{again} handled again after {ROUNDS} kills"
    );
    assert!(published.len() > 100, "only {} were published: a poor test", published.len());
    println!("{} published, {} handled, {again} of them again", published.len(), seen.len());
}
