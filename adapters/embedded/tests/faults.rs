//! What the queue says and keeps when the disk, the file or another process fails it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, PublishError, Sink, Source, SourceError, Verdict, Want};
use forebay_embedded::{OpenError, SourceOptions, Store};
use rusqlite::Connection;
use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};
use support::{publish, queue, receive, settle, shim, variable};

const WANT: Want = Want { messages: 10, bytes: 1 << 30 };

/// The text of what must be an error that may pass.
fn unavailable(result: &Result<forebay_contract::MessageId, PublishError>) -> String {
    let Err(PublishError::Unavailable(error)) = result else { panic!("got {result:?}") };
    error.to_string()
}

#[tokio::test]
async fn a_full_queue_can_be_drained_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let store = Store::options().max_size(500_000).open(&file).unwrap();
    let queue = store.queue("orders").await.unwrap();
    let mut confirmed = 0;
    let refused = loop {
        match queue.publish(&[Outgoing::new(vec![0; 20_000])]).await.remove(0) {
            Ok(_) => confirmed += 1,
            refused => break unavailable(&refused),
        }
    };
    assert!(refused.contains("no room left for") && refused.contains("q.db"), "{refused}");
    assert!(confirmed > 10, "{confirmed}");
    assert_eq!(queue.backlog().await.unwrap().ready.unwrap().value, confirmed);
    let source = queue.source(&SourceOptions::default());
    let out = receive(&source, 5).await;
    assert_eq!(settle(&source, &out, Verdict::Ack).await, [true; 5]);
    publish(&queue, &[Outgoing::new(vec![0; 20_000])]).await;
}

#[tokio::test]
#[ignore = "run by `a_full_disk_loses_nothing`, in a process of its own"]
async fn child_on_a_full_disk() {
    let Some(directory) = variable("FULL_TEST") else { return };
    let flag = variable("FOREBAY_SHIM_FULL").unwrap();
    let queue = queue(&directory.join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    publish(&queue, &[Outgoing::new("a"), Outgoing::new("b"), Outgoing::new("c")]).await;
    let first = receive(&source, 1).await;

    fs::write(&flag, "").unwrap();
    let text = unavailable(&queue.publish(&[Outgoing::new("d")]).await[0]);
    assert!(text.contains("no room left for"), "{text}");
    assert_eq!(settle(&source, &first, Verdict::Ack).await, [false]);
    let received = source.receive(WANT, &mut Vec::new()).await;
    assert!(matches!(received, Err(SourceError::Unavailable(_))), "{received:?}");

    fs::remove_file(&flag).unwrap();
    publish(&queue, &[Outgoing::new("e")]).await;
    assert_eq!(settle(&source, &first, Verdict::Ack).await, [true]);
    let rest = receive(&source, 10).await;
    let payloads: Vec<_> = rest.iter().map(|out| &out.message.payload[..]).collect();
    assert_eq!(payloads, [b"b", b"c", b"e"]);
    assert!(rest.iter().all(|out| out.message.interrupted == 0));
    println!("done all");
}

#[test]
fn a_full_disk_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let flags = tempfile::tempdir().unwrap();
    let process = Process::start(
        "child_on_a_full_disk",
        &[
            ("FULL_TEST", directory.path()),
            ("LD_PRELOAD", shim()),
            ("FOREBAY_SHIM_DIR", directory.path()),
            ("FOREBAY_SHIM_FULL", &flags.path().join("full")),
        ],
    );
    assert!(process.finish().iter().any(|line| line == "done all"));
}

#[tokio::test]
async fn a_locked_file_is_named_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let store = Store::options().busy_timeout(Duration::from_millis(100)).open(&file).unwrap();
    let queue = store.queue("orders").await.unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = unavailable(&queue.publish(&[Outgoing::new("a")]).await[0]);
    assert!(text.contains("q.db") && text.contains("locked by another process"), "{text}");
    other.execute_batch("ROLLBACK").unwrap();
    publish(&queue, &[Outgoing::new("a")]).await;
}

#[tokio::test]
async fn a_damaged_file_is_fatal_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let ids = publish(&queue(&file).await, &vec![Outgoing::new(vec![1; 500]); 200]).await;
    assert_eq!(ids.len(), 200);
    let checkpoint = Connection::open(&file).unwrap();
    checkpoint.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
    drop(checkpoint);
    // Everything after the first page, which holds the header and the schema.
    let mut damaged = fs::OpenOptions::new().write(true).open(&file).unwrap();
    damaged.seek(SeekFrom::Start(4096)).unwrap();
    let rest = usize::try_from(damaged.metadata().unwrap().len()).unwrap() - 4096;
    damaged.write_all(&vec![0xAA; rest]).unwrap();

    let store = Store::open(&file).unwrap();
    let error = store.queue("orders").await.unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains(".recover"), "{error}");
    assert!(error.contains("q.db"), "{error}");
}

/// Opens what must be refused, and left as it is.
fn refused(file: &Path) -> OpenError {
    let before = fs::read(file).unwrap();
    let error = Store::open(file).unwrap_err();
    assert!(fs::read(file).unwrap() == before, "it was changed: {error}");
    let beside = fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "something was left beside it: {error}");
    error
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.db");
    fs::write(&file, "some notes, and more than a hundred bytes of them".repeat(9)).unwrap();
    assert!(matches!(refused(&file), OpenError::NotADatabase(_)));
    fs::write(&file, "short").unwrap();
    assert!(matches!(refused(&file), OpenError::NotADatabase(_)));

    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::Foreign { found: 0, .. }), "{error}");
}

#[test]
fn a_newer_schema_is_refused_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    drop(Store::open(&file).unwrap());
    // The threads of the store close the file a moment later.
    let closed = || fs::read_dir(directory.path()).unwrap().count() == 1;
    while !closed() {
        std::thread::yield_now();
    }
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    let error = refused(&file);
    assert!(matches!(error, OpenError::Newer { found: 99, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("99") && error.to_string().contains("version 2"));
}

#[test]
fn a_path_that_cannot_hold_a_file_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let error = Store::open(directory.path().join("missing/q.db")).unwrap_err();
    assert!(matches!(error, OpenError::NoDirectory(_)), "{error}");
    let absent = directory.path().join("q.db");
    let error = Store::options().create(false).open(&absent).unwrap_err();
    assert!(matches!(error, OpenError::Missing(_)), "{error}");
    assert!(!absent.exists());
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_file_that_may_not_be_written_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (original, file) = (directory.path().join("original.db"), directory.path().join("q.db"));
    drop(Store::open(&original).unwrap());
    // A copy, since SQLite may still have the original open, and then takes what this process has.
    fs::copy(&original, &file).unwrap();
    let mut permissions = fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = as_an_ordinary_user(|| {
        fs::OpenOptions::new().write(true).open(&file).expect_err("this user may write it");
        Store::open(&file)
    });
    assert!(matches!(refused, Err(OpenError::ReadOnly(_))), "{refused:?}");
}

/// Root may write anything. So if we are root, this is done by a thread that no longer is: to Linux,
/// users are a matter of the thread.
fn as_an_ordinary_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65_534;
    let no_longer_root = || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).unwrap();
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(no_longer_root).join().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_confirms_nothing_and_ends_who_waits_for_messages() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let queue = queue(&file).await;
    let source = queue.source(&SourceOptions::default());
    publish(&queue, &[Outgoing::new("x")]).await;
    let out = receive(&source, 1).await;
    let idle = async {
        let mut more = Vec::new();
        let waited = tokio::time::timeout(Duration::from_secs(5), source.receive(WANT, &mut more));
        waited.await.expect("it waits at a file that is gone").unwrap_err()
    };
    let replaced = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // As a backup is put back.
        let copy = directory.path().join("copy.db");
        fs::copy(&file, &copy).unwrap();
        fs::rename(&copy, &file).unwrap();
    };
    let (error, ()) = tokio::join!(idle, replaced);
    assert!(matches!(error, SourceError::Fatal(_)), "{error}");
    assert!(error.to_string().contains("it was moved, deleted"), "{error}");
    let refused = unavailable(&queue.publish(&[Outgoing::new("y")]).await.remove(0));
    assert!(refused.contains("can no longer be written: it was moved, deleted"), "{refused}");
    assert_eq!(settle(&source, &out, Verdict::Ack).await, [false]);
}

#[test]
fn many_openers_at_once_find_one_set_of_tables() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Store::open(&file).unwrap());
        }
    });
    Store::open(&file).unwrap();
}

/// A process that closes a file drops what locks it has there; without SQLite's, another program that
/// looks in could take the log away.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_is_opened_twice_stays_locked() {
    let directory = tempfile::tempdir().unwrap();
    // What a URI would take for something else.
    let file = directory.path().join("q 100%?#.db");
    let first = queue(&file).await;
    publish(&first, &[Outgoing::new("a")]).await;
    let (process, inode) = (std::process::id(), fs::metadata(&file).unwrap().ino());
    let is_locked = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let of = |line: &str| {
            line.contains(&format!(" {process} ")) && line.contains(&format!(":{inode} "))
        };
        locks.lines().any(of)
    };
    assert!(is_locked());
    let second = queue(&file).await;
    assert!(is_locked(), "opening it again has dropped the locks");
    publish(&second, &[Outgoing::new("b")]).await;
    assert_eq!(receive(&first.source(&SourceOptions::default()), 2).await.len(), 2);
}
