//! Sources, sinks and dead letters of any broker, behind one type each: for programs that choose the
//! broker at run time.
//!
//! ```
//! use forebay_contract::{AnySource, Source};
//!
//! /// One worker, whatever the broker: what is generic over `S: Source` takes an `AnySource` as well.
//! fn choose(first: bool, one: impl Source, other: impl Source) -> AnySource {
//!     if first { AnySource::new(one) } else { AnySource::new(other) }
//! }
//! ```
//!
//! The traits of the contract return futures of their own type and a receipt of their own type, which
//! is what makes them free of cost, and keeps them from being trait objects. Here the future is boxed,
//! one for each call, so one for a batch; and each receipt is behind an [`Arc`], one for each
//! hand-out. Nothing else is added: the message is shared, and batches are passed on as they are.
//!
//! What the contract promises holds unchanged, cancelling included: a future that is dropped hands on
//! what its inner future had already taken out of its queue.

use crate::{
    Backlog, Capabilities, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, Delivery,
    Lease, LeaseError, MessageId, Outgoing, PublishError, Redriven, SettleError, Settled,
    Settlement, Sink, Source, SourceError, SourceEvent, Want,
};
use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of any broker.
pub struct AnySource(Box<dyn ErasedSource>);

/// What settles one hand-out of an [`AnySource`].
#[derive(Clone)]
pub struct AnyReceipt {
    /// Which source it is of: its type alone would not tell two queues of one broker apart.
    source: u64,
    receipt: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for AnyReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyReceipt").field("source", &self.source).finish_non_exhaustive()
    }
}

impl AnySource {
    /// Takes over a source.
    #[must_use]
    pub fn new(source: impl Source) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Box::new(Numbered { number, source }))
    }
}

impl fmt::Debug for AnySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnySource").field(&self.capabilities().broker).finish()
    }
}

impl Source for AnySource {
    type Receipt = AnyReceipt;

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<AnyReceipt>>,
    ) -> Result<(), SourceError> {
        self.0.receive(want, out).await
    }

    async fn settle(&self, batch: &[Settlement<AnyReceipt>]) -> Vec<Result<Settled, SettleError>> {
        self.0.settle(batch).await
    }

    async fn extend(&self, batch: &[(AnyReceipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        self.0.extend(batch).await
    }

    async fn event(&self) -> SourceEvent {
        self.0.event().await
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        self.0.backlog().await
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        self.0.close(within).await
    }
}

/// [`Source`] with every future boxed and the receipt behind one type.
trait ErasedSource: Send + Sync {
    fn capabilities(&self) -> &Capabilities;
    fn receive<'a>(
        &'a self,
        want: Want,
        out: &'a mut Vec<Delivery<AnyReceipt>>,
    ) -> Boxed<'a, Result<(), SourceError>>;
    fn settle<'a>(
        &'a self,
        batch: &'a [Settlement<AnyReceipt>],
    ) -> Boxed<'a, Vec<Result<Settled, SettleError>>>;
    fn extend<'a>(
        &'a self,
        batch: &'a [(AnyReceipt, Duration)],
    ) -> Boxed<'a, Vec<Result<Lease, LeaseError>>>;
    fn event(&self) -> Boxed<'_, SourceEvent>;
    fn backlog(&self) -> Boxed<'_, Result<Backlog, SourceError>>;
    fn close(&self, within: Duration) -> Boxed<'_, Result<(), SourceError>>;
}

struct Numbered<S> {
    number: u64,
    source: S,
}

impl<S: Source> Numbered<S> {
    /// The receipt that is inside, if it is one of ours.
    fn open<'r>(&self, receipt: &'r AnyReceipt) -> Option<&'r S::Receipt> {
        if receipt.source == self.number { receipt.receipt.downcast_ref() } else { None }
    }
}

impl<S: Source> ErasedSource for Numbered<S> {
    fn capabilities(&self) -> &Capabilities {
        self.source.capabilities()
    }

    fn receive<'a>(
        &'a self,
        want: Want,
        out: &'a mut Vec<Delivery<AnyReceipt>>,
    ) -> Boxed<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut taken = Taken { number: self.number, inner: Vec::new(), out };
            self.source.receive(want, &mut taken.inner).await
        })
    }

    fn settle<'a>(
        &'a self,
        batch: &'a [Settlement<AnyReceipt>],
    ) -> Boxed<'a, Vec<Result<Settled, SettleError>>> {
        Box::pin(async move {
            let ours = batch.iter().filter_map(|settlement| {
                Some(Settlement {
                    receipt: self.open(&settlement.receipt)?.clone(),
                    message: settlement.message.clone(),
                    verdict: settlement.verdict.clone(),
                })
            });
            let ours: Vec<_> = ours.collect();
            let results = self.source.settle(&ours).await;
            if ours.len() == batch.len() {
                return results;
            }
            let is_ours = batch.iter().map(|settlement| self.open(&settlement.receipt).is_some());
            let foreign = || SettleError::Refused(FOREIGN.into());
            merge(is_ours, results, foreign)
        })
    }

    fn extend<'a>(
        &'a self,
        batch: &'a [(AnyReceipt, Duration)],
    ) -> Boxed<'a, Vec<Result<Lease, LeaseError>>> {
        Box::pin(async move {
            let ours = batch
                .iter()
                .filter_map(|(receipt, time)| Some((self.open(receipt)?.clone(), *time)));
            let ours: Vec<_> = ours.collect();
            let results = self.source.extend(&ours).await;
            if ours.len() == batch.len() {
                return results;
            }
            let is_ours = batch.iter().map(|(receipt, _)| self.open(receipt).is_some());
            merge(is_ours, results, || LeaseError::Lost)
        })
    }

    fn event(&self) -> Boxed<'_, SourceEvent> {
        Box::pin(self.source.event())
    }

    fn backlog(&self) -> Boxed<'_, Result<Backlog, SourceError>> {
        Box::pin(self.source.backlog())
    }

    fn close(&self, within: Duration) -> Boxed<'_, Result<(), SourceError>> {
        Box::pin(self.source.close(within))
    }
}

const FOREIGN: &str =
    "the receipt is of another source: settle a message through the source that handed it out";

/// Puts the results of those that are ours back among those that are not, at their index.
fn merge<T, E>(
    is_ours: impl Iterator<Item = bool>,
    results: Vec<Result<T, E>>,
    foreign: impl Fn() -> E,
) -> Vec<Result<T, E>> {
    let mut results = results.into_iter();
    is_ours
        // A source that answers for too few leaves the rest unanswered here as well.
        .map_while(|ours| if ours { results.next() } else { Some(Err(foreign())) })
        .collect()
}

/// What a receive has taken out of its queue. Handed on when this is dropped, so also when the
/// receive is.
struct Taken<'a, R: Clone + Send + Sync + 'static> {
    number: u64,
    inner: Vec<Delivery<R>>,
    out: &'a mut Vec<Delivery<AnyReceipt>>,
}

impl<R: Clone + Send + Sync + 'static> Drop for Taken<'_, R> {
    fn drop(&mut self) {
        let source = self.number;
        self.out.extend(self.inner.drain(..).map(|delivery| Delivery {
            message: delivery.message,
            receipt: AnyReceipt { source, receipt: Arc::new(delivery.receipt) },
            scope: delivery.scope,
            lease: delivery.lease,
        }));
    }
}

/// A sink of any broker. Clones share it.
#[derive(Clone)]
pub struct AnySink(Arc<dyn ErasedSink>);

impl AnySink {
    /// Takes over a sink.
    #[must_use]
    pub fn new(sink: impl Sink) -> Self {
        Self(Arc::new(sink))
    }
}

impl fmt::Debug for AnySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySink(..)")
    }
}

impl Sink for AnySink {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        self.0.publish_boxed(batch).await
    }
}

trait ErasedSink: Send + Sync {
    fn publish_boxed<'a>(
        &'a self,
        batch: &'a [Outgoing],
    ) -> Boxed<'a, Vec<Result<MessageId, PublishError>>>;
}

impl<S: Sink> ErasedSink for S {
    fn publish_boxed<'a>(
        &'a self,
        batch: &'a [Outgoing],
    ) -> Boxed<'a, Vec<Result<MessageId, PublishError>>> {
        Box::pin(self.publish(batch))
    }
}

/// The dead letters of a queue of any broker. Clones share them.
#[derive(Clone)]
pub struct AnyDeadLetters(Arc<dyn ErasedDeadLetters>);

impl AnyDeadLetters {
    /// Takes over dead letters.
    #[must_use]
    pub fn new(dead: impl DeadLetters) -> Self {
        Self(Arc::new(dead))
    }
}

impl fmt::Debug for AnyDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyDeadLetters(..)")
    }
}

impl DeadLetters for AnyDeadLetters {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        self.0.list_boxed(filter, after, limit).await
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        self.0.redrive_boxed(filter, limit).await
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        self.0.purge_boxed(filter).await
    }
}

trait ErasedDeadLetters: Send + Sync {
    fn list_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
        after: Option<&'a DeadId>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<DeadLetter>, DeadLettersError>>;
    fn redrive_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
        limit: usize,
    ) -> Boxed<'a, Result<Redriven, DeadLettersError>>;
    fn purge_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
    ) -> Boxed<'a, Result<u64, DeadLettersError>>;
}

impl<D: DeadLetters> ErasedDeadLetters for D {
    fn list_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
        after: Option<&'a DeadId>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<DeadLetter>, DeadLettersError>> {
        Box::pin(self.list(filter, after, limit))
    }

    fn redrive_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
        limit: usize,
    ) -> Boxed<'a, Result<Redriven, DeadLettersError>> {
        Box::pin(self.redrive(filter, limit))
    }

    fn purge_boxed<'a>(
        &'a self,
        filter: &'a DeadFilter,
    ) -> Boxed<'a, Result<u64, DeadLettersError>> {
        Box::pin(self.purge(filter))
    }
}
