//! The contract, case by case, on a real file; each source and sink is a store of its own, as if in
//! a process of its own.

use forebay_conformance::{Harness, Setup, Stop};
use forebay_embedded::{EmbeddedSource, Queue, SourceOptions, Store};
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
}

forebay_conformance::conformance_tests!(Embedded);
