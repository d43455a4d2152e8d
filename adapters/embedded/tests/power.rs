//! Power cuts: a process is killed, and of each file only what it had synced is kept.
//!
//! A library between the process and the disk copies a file when it is synced (`shim/shim.c`); after
//! the kill, these copies are all there is. The process says what was confirmed to it. Every message
//! confirmed must be there, unless its settlement was at least asked for; every settlement confirmed
//! must hold. A disk may also have written more than was asked of it, so in every other round each
//! file is by chance either the copy or as it was last.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, Verdict};
use forebay_embedded::SourceOptions;
use rusqlite::Connection;
use std::{
    collections::{BTreeSet, hash_map::RandomState},
    fs,
    hash::BuildHasher,
    io::Write,
    path::Path,
    time::Duration,
};
use support::{marked, publish, queue, receive, retry, settle, shim, variable};

fn say(mark: &str, ids: &[String]) {
    let text: String = ids.iter().map(|id| format!("{mark} {id}\n")).collect();
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

async fn produce(file: &Path) {
    let queue = queue(file).await;
    for n in 0_u64.. {
        let keyed = Outgoing::new(vec![1; 300]).key(format!("k{}", n % 3));
        let ids = publish(&queue, &[Outgoing::new(vec![0; 2000]), keyed]).await;
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        say("published", &ids);
    }
}

/// Acknowledges most, and retries some.
async fn work(file: &Path) {
    let queue = queue(file).await;
    let source = queue.source(&SourceOptions::default());
    for n in 0_u64.. {
        let out = receive(&source, 5).await;
        let ids: Vec<_> = out.iter().map(|out| out.message.id.to_string()).collect();
        if n % 4 == 3 {
            settle(&source, &out, retry(Duration::from_millis(20))).await;
            continue;
        }
        say("settling", &ids);
        assert!(settle(&source, &out, Verdict::Ack).await.into_iter().all(|ok| ok));
        say("settled", &ids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests, in processes of their own"]
async fn child() {
    let Some(file) = variable("POWER_TEST") else { return };
    tokio::join!(work(&file), produce(&file));
}

/// What one power cut showed.
#[derive(Debug, Default)]
struct Seen {
    published: usize,
    settled: usize,
    lost: Vec<String>,
    undone: Vec<String>,
}

/// Runs a process, cuts the power after `life`, and compares. `honest`: how many syncs count.
fn cut(life: Duration, honest: Option<&str>, mixed: bool) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let [live, image, after] = ["live", "image", "after"].map(|name| {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let file = live.join("q.db");
    let mut variables = vec![
        ("POWER_TEST", file.as_path()),
        ("LD_PRELOAD", shim()),
        ("FOREBAY_SHIM_DIR", live.as_path()),
        ("FOREBAY_SHIM_IMAGE", image.as_path()),
    ];
    variables.extend(honest.map(|syncs| ("FOREBAY_SHIM_LIE", Path::new(syncs))));
    let process = Process::start("child", &variables);
    std::thread::sleep(life);
    let lines = process.kill();

    for name in ["q.db", "q.db-wal"] {
        let synced = image.join(name);
        let last = live.join(name);
        let from = if mixed && RandomState::new().hash_one(name) % 2 == 0 { last } else { synced };
        if from.exists() {
            fs::copy(from, after.join(name)).unwrap();
        }
    }
    compare(&after.join("q.db"), &lines)
}

fn compare(file: &Path, lines: &[String]) -> Seen {
    let conn = Connection::open(file).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement =
        conn.prepare("SELECT coalesce(id, CAST(seq AS TEXT)) FROM message").unwrap();
    let there: BTreeSet<String> =
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mark = |mark| marked(lines, mark).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let (published, settling, settled) = (mark("published"), mark("settling"), mark("settled"));
    Seen {
        published: published.len(),
        settled: settled.len(),
        lost: published
            .iter()
            .filter(|id| !settling.contains(*id) && !there.contains(*id))
            .cloned()
            .collect(),
        undone: settled.intersection(&there).cloned().collect(),
    }
}

#[test]
fn what_was_confirmed_survives_a_power_cut() {
    let (mut published, mut settled) = (0, 0);
    for round in 0..8 {
        let life = Duration::from_millis(400 + 130 * round);
        let seen = cut(life, None, round % 2 == 1);
        assert!(seen.lost.is_empty(), "round {round}: confirmed and gone: {:?}", seen.lost);
        assert!(seen.undone.is_empty(), "round {round}: settled and back: {:?}", seen.undone);
        published += seen.published;
        settled += seen.settled;
    }
    println!("{published} published, {settled} settled");
    assert!(published > 100 && settled > 20, "{published} published, {settled} settled: too few");
}

/// The control: the same test with a disk that forgets everything after its 60th sync.
#[test]
fn a_disk_that_lies_is_noticed() {
    // Time enough for 60 syncs on a machine that has other things to do.
    let seen = cut(Duration::from_secs(4), Some("60"), false);
    assert!(
        !seen.lost.is_empty() && !seen.undone.is_empty(),
        "the test would not notice: {seen:?}"
    );
}
