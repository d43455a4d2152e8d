//! The queue in memory behind the types that hide its own: the same suite, what a batch costs, and
//! receipts that are taken to the wrong source.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_conformance::{Harness, Setup, Stop};
use forebay_contract::{
    AnyDeadLetters, AnySink, AnySource, DeadFilter, DeadLetters, Delivery, LeaseError,
    OrderSupport, Outgoing, SettleError, Settled, Settlement, Sink, Source, Verdict, Want,
};
use forebay_memory::{MemoryOptions, MemoryQueue};
use std::time::Duration;

struct Erased(OrderSupport);

impl Harness for Erased {
    type Queue = MemoryQueue;
    type Source = AnySource;
    type Sink = AnySink;
    type Dead = AnyDeadLetters;

    async fn fresh(&self, setup: &Setup) -> Result<MemoryQueue, Stop> {
        if setup.ordered && self.0 == OrderSupport::None {
            return Err(Stop::skip("this queue keeps no order"));
        }
        let options = MemoryOptions::default().order(self.0).max_payload(1 << 20);
        Ok(MemoryQueue::with(options.lease(setup.lease)))
    }

    async fn open(&self, queue: &MemoryQueue, _: &Setup) -> Result<AnySource, Stop> {
        Ok(AnySource::new(queue.source()))
    }

    async fn sink(&self, queue: &MemoryQueue) -> Result<AnySink, Stop> {
        Ok(AnySink::new(queue.clone()))
    }

    async fn dead(&self, queue: &MemoryQueue) -> Result<AnyDeadLetters, Stop> {
        Ok(AnyDeadLetters::new(queue.clone()))
    }

    async fn sever(&self, queue: &MemoryQueue) -> Result<(), Stop> {
        queue.sever();
        Ok(())
    }
}

mod unordered {
    use super::*;
    forebay_conformance::conformance_tests!(Erased(OrderSupport::None));
}

mod key_in_lanes {
    use super::*;
    forebay_conformance::conformance_tests!(Erased(OrderSupport::KeyInLanes));
}

const WANT: Want = Want { messages: 100, bytes: 1 << 20 };

fn ack<R: Clone>(delivery: &Delivery<R>) -> Settlement<R> {
    Settlement {
        receipt: delivery.receipt.clone(),
        message: delivery.message.clone(),
        verdict: Verdict::Ack,
    }
}

#[tokio::test]
async fn a_receipt_of_another_source_is_refused_by_index_and_the_rest_is_settled() {
    let (one, two) = (MemoryQueue::new(), MemoryQueue::new());
    let (ours, theirs) = (AnySource::new(one.source()), AnySource::new(two.source()));
    one.publish(&[Outgoing::new("a"), Outgoing::new("b")]).await;
    two.publish(&[Outgoing::new("x")]).await;
    let (mut out, mut foreign) = (Vec::new(), Vec::new());
    ours.receive(WANT, &mut out).await.unwrap();
    theirs.receive(WANT, &mut foreign).await.unwrap();

    let extended = ours
        .extend(&[
            (foreign[0].receipt.clone(), Duration::from_secs(1)),
            (out[0].receipt.clone(), Duration::from_secs(1)),
        ])
        .await;
    assert!(matches!(&*extended, [Err(LeaseError::Lost), Ok(_)]), "{extended:?}");
    let settled = ours.settle(&[ack(&out[0]), ack(&foreign[0]), ack(&out[1])]).await;
    let [Ok(Settled::Durable), Err(SettleError::Refused(why)), Ok(Settled::Durable)] = &*settled
    else {
        panic!("{settled:?}")
    };
    assert!(why.to_string().contains("the source that handed it out"), "{why}");
    assert_eq!((one.backlog().outstanding(), two.backlog().outstanding()), (0, 1));
}

/// A source whose `receive` takes a message and then does not return for a while, as it may.
struct Slow(forebay_memory::MemorySource);

impl Source for Slow {
    type Receipt = forebay_memory::MemoryReceipt;

    fn capabilities(&self) -> &forebay_contract::Capabilities {
        self.0.capabilities()
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Self::Receipt>>,
    ) -> Result<(), forebay_contract::SourceError> {
        self.0.receive(want, out).await?;
        std::future::pending().await
    }

    async fn settle(
        &self,
        batch: &[Settlement<Self::Receipt>],
    ) -> Vec<Result<Settled, SettleError>> {
        self.0.settle(batch).await
    }

    async fn extend(
        &self,
        batch: &[(Self::Receipt, Duration)],
    ) -> Vec<Result<forebay_contract::Lease, LeaseError>> {
        self.0.extend(batch).await
    }

    async fn backlog(&self) -> Result<forebay_contract::Backlog, forebay_contract::SourceError> {
        self.0.backlog().await
    }

    async fn close(&self, within: Duration) -> Result<(), forebay_contract::SourceError> {
        self.0.close(within).await
    }
}

#[tokio::test]
async fn what_was_appended_before_a_receive_is_dropped_is_handed_on() {
    let queue = MemoryQueue::new();
    queue.publish(&[Outgoing::new("a")]).await;
    let source = AnySource::new(Slow(queue.source()));
    let mut out = Vec::new();
    let waited =
        tokio::time::timeout(Duration::from_millis(20), source.receive(WANT, &mut out)).await;
    assert!(waited.is_err());
    assert_eq!(out.len(), 1);
    assert!(source.settle(&[ack(&out[0])]).await[0].is_ok());
}

#[tokio::test]
async fn clones_share_what_is_behind_them() {
    let queue = MemoryQueue::new();
    let (sink, dead) = (AnySink::new(queue.clone()), AnyDeadLetters::new(queue.clone()));
    sink.clone().publish(&[Outgoing::new("a")]).await.remove(0).unwrap();
    assert_eq!(queue.backlog().outstanding(), 1);
    assert!(dead.clone().list(&DeadFilter::default(), None, 1).await.unwrap().is_empty());
}
