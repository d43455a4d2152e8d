//! What the examples share: a place for the queue's file, any broker instead of it, and an end.
//!
//! A worker runs until it is told to stop; an example should end by itself. So each of them runs its
//! worker by [`run_until_empty`] or [`run_until_done`], where a service would just say
//! `worker.run().await`. Everything else that an example needs is in its own file, in `examples/`.
//!
//! The Rust in the documentation's pages is compiled and run as doctests of this crate.

mod source;

pub use source::{Connection, connect};

use forebay::{DrainReport, Invoke, Source, Worker};
use forebay_embedded::{Queue, Store};
use std::{error::Error, future, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// How often the queue is asked whether it is empty.
const GLANCE: Duration = Duration::from_millis(20);

/// A folder for an example's files: the first argument of the command line, or a temporary one that
/// goes with this value.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Folder {
    /// The folder that this run was told to use.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn from_args() -> std::io::Result<Self> {
        if let Some(path) = source::folder().map(PathBuf::from) {
            std::fs::create_dir_all(&path)?;
            return Ok(Self { path, _temporary: None });
        }
        let temporary = tempfile::tempdir()?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A queue in the folder's queue file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn queue(&self, name: &str) -> Result<Queue, Box<dyn Error>> {
        Ok(Store::open(self.file("queue.db"))?.queue(name).await?)
    }
}

/// Runs a worker until its queue is empty, or Ctrl-C, and drains it.
///
/// # Errors
/// Whatever ends the worker, or keeps the queue from being read.
pub async fn run_until_empty<S: Source, I: Invoke>(
    worker: Worker<S, I>,
    queue: &Queue,
) -> Result<DrainReport, Box<dyn Error>> {
    let control = worker.control();
    let emptied = async {
        while queue.backlog().await?.outstanding() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
        control.drain();
        future::pending().await
    };
    tokio::select! {
        report = worker.run() => Ok(report?),
        failed = emptied => failed,
    }
}

/// Runs a worker until it is done with so many messages, for good or for ill, or Ctrl-C, and drains it.
/// Any broker will do: the worker counts, and nobody needs to be asked what is left.
///
/// # Errors
/// Whatever ends the worker.
pub async fn run_until_done<S: Source, I: Invoke>(
    worker: Worker<S, I>,
    messages: u64,
) -> Result<DrainReport, Box<dyn Error>> {
    let control = worker.control();
    let done = async {
        loop {
            let counts = control.status().counts;
            if counts.acked + counts.dead + counts.dropped >= messages {
                break;
            }
            tokio::time::sleep(GLANCE).await;
        }
        control.drain();
        future::pending().await
    };
    tokio::select! {
        report = worker.run() => Ok(report?),
        never = done => never,
    }
}

/// The pages whose Rust is to compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/embedded.md")]
    struct Embedded;
    #[doc = include_str!("../../docs/handlers.md")]
    struct Handlers;
    #[doc = include_str!("../../docs/knee.md")]
    struct Knee;
    #[doc = include_str!("../../docs/telemetry.md")]
    struct Telemetry;
}
