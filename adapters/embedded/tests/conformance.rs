//! The contract, case by case, on a real file; each source and sink is a store of its own, as if in
//! a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Harness, Process, Setup, Stop};
use forebay_contract::{DeadFilter, DeadLetters};
use forebay_embedded::{EmbeddedSource, Queue, SourceOptions, Store};
use std::time::Duration;
use support::{queue, variable};
use tempfile::TempDir;

struct Embedded;

impl Embedded {
    async fn queue(directory: &TempDir) -> Result<Queue, Stop> {
        Ok(Store::open(directory.path().join("queues.db"))?.queue("orders").await?)
    }
}

impl Harness for Embedded {
    type Queue = TempDir;
    type Source = EmbeddedSource;
    type Sink = Queue;
    type Dead = Queue;

    async fn fresh(&self, _: &Setup) -> Result<TempDir, Stop> {
        Ok(tempfile::tempdir()?)
    }

    async fn open(&self, directory: &TempDir, setup: &Setup) -> Result<EmbeddedSource, Stop> {
        let options = SourceOptions::default().lease(setup.lease);
        Ok(Self::queue(directory).await?.source(&options))
    }

    async fn sink(&self, directory: &TempDir) -> Result<Queue, Stop> {
        Self::queue(directory).await
    }

    async fn dead(&self, directory: &TempDir) -> Result<Queue, Stop> {
        Self::queue(directory).await
    }

    async fn redrive_killed_halfway(&self, directory: &TempDir) -> Result<(), Stop> {
        let process = Process::start("child_that_redrives", &[("REDRIVE_TEST", directory.path())]);
        process.wait_for_line("halfway");
        let done = process.kill().iter().any(|line| line == "done");
        if done { Err(Stop::fail("it was done before it was killed")) } else { Ok(()) }
    }
}

/// Redrives one dead letter after the other, the second half slowly.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Some(directory) = variable("REDRIVE_TEST") else { return };
    let queue = queue(&directory.join("queues.db")).await;
    for n in 0.. {
        if n == 50 {
            println!("halfway");
        }
        if queue.redrive(&DeadFilter::default(), 1).await.unwrap().moved.is_empty() {
            println!("done");
        }
        if n >= 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

forebay_conformance::conformance_tests!(Embedded);
