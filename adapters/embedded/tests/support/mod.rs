//! What the tests share: short words for the contract, and the shim.

#![allow(dead_code, reason = "each test file uses some of it")]

use forebay_contract::{
    Delivery, FailureKind, FailureNote, MessageId, Outgoing, Settlement, Sink, Source, Verdict,
    Want,
};
use forebay_embedded::{EmbeddedSource, Queue, Receipt, Store};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

pub(crate) type Out = Delivery<Receipt>;

/// The queue of a test, through a store of its own.
pub(crate) async fn queue(file: &Path) -> Queue {
    Store::open(file).unwrap().queue("orders").await.unwrap()
}

/// Publishes messages, all of which must be accepted.
pub(crate) async fn publish(queue: &Queue, messages: &[Outgoing]) -> Vec<MessageId> {
    queue.publish(messages).await.into_iter().map(Result::unwrap).collect()
}

/// Waits for messages: at least one, at most `most`.
pub(crate) async fn receive(source: &EmbeddedSource, most: usize) -> Vec<Out> {
    let mut out = Vec::new();
    let want = Want { messages: most, bytes: 1 << 30 };
    let received = source.receive(want, &mut out);
    tokio::time::timeout(Duration::from_secs(20), received).await.expect("a message").unwrap();
    out
}

/// Whether nothing comes for a while.
pub(crate) async fn nothing_comes(source: &EmbeddedSource) -> bool {
    let mut out = Vec::new();
    let received = source.receive(Want { messages: 1, bytes: 1 << 30 }, &mut out);
    tokio::time::timeout(Duration::from_millis(100), received).await.is_err()
}

/// Has `messages` claimed into the source's buffer, by a receive that is given up at once.
pub(crate) async fn receive_and_give_up(source: &EmbeddedSource, messages: usize) {
    let want = Want { messages, bytes: 1 << 30 };
    loop {
        let mut out = Vec::new();
        let given_up = tokio::select! {
            biased;
            received = source.receive(want, &mut out) => received.is_err(),
            () = std::future::ready(()) => true,
        };
        if given_up {
            return;
        }
        // The writer was quicker than the giving up: once more.
        settle(source, &out, Verdict::Release { after: Duration::ZERO }).await;
    }
}

/// Settles all deliveries the same way; which of them were still ours.
pub(crate) async fn settle(source: &EmbeddedSource, out: &[Out], verdict: Verdict) -> Vec<bool> {
    let batch: Vec<_> = out
        .iter()
        .map(|out| Settlement {
            receipt: out.receipt.clone(),
            message: out.message.clone(),
            verdict: verdict.clone(),
        })
        .collect();
    source.settle(&batch).await.iter().map(Result::is_ok).collect()
}

pub(crate) fn note(error: &str) -> FailureNote {
    FailureNote::new(FailureKind::Transient, error, SystemTime::now())
}

pub(crate) fn retry(after: Duration) -> Verdict {
    Verdict::Retry { after, note: note("again") }
}

/// A variable that a child process of a test has.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from)
}

/// What follows `mark` in lines that begin with it.
pub(crate) fn marked<'a>(lines: &'a [String], mark: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(mark)?.strip_prefix(' ')).collect()
}

/// The shim as a library to preload; compiled once.
pub(crate) fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new("tests/shim/shim.c");
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&library, source])
            .arg("-ldl")
            .status();
        assert!(compiled.unwrap().success(), "`cc` could not compile the shim");
        library
    })
}
