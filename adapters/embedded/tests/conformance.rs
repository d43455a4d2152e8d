//! The contract, case by case, on a real file; each source and sink is a store of its own, as if in
//! a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{
    Harness, Setup, Stop, kill_redrive_halfway, queue_to_redrive, redrive_slowly,
};
use forebay_embedded::{EmbeddedSource, Queue, SourceOptions, Store};
use std::path::Path;
use support::queue;
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
        kill_redrive_halfway("child_that_redrives", directory.path())
    }
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Some(directory) = queue_to_redrive() else { return };
    let queue = queue(&Path::new(&directory).join("queues.db")).await;
    redrive_slowly(&queue).await;
}

forebay_conformance::conformance_tests!(Embedded);
