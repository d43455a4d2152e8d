//! One worker's end of a queue in memory.

use crate::{MemoryQueue, MemoryReceipt, queue::Shared, state::State, table::WorkerId};
use forebay_contract::{
    Backlog, Capabilities, Delivery, Lease, LeaseError, SettleError, Settled, Settlement, Source,
    SourceError, SourceEvent, Want,
};
use std::{fmt, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// Takes messages from a [`MemoryQueue`].
///
/// Dropping one without [`Source::close`] is what a killed process is to a broker: what it held
/// comes back when its lease ends, or at once in a queue without leases, interrupted once more.
pub struct MemorySource {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    id: WorkerId,
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.shared.with(|state, now| state.lose_worker(self.id, now));
    }
}

impl MemorySource {
    pub(crate) fn new(queue: &MemoryQueue) -> Self {
        let id = queue.shared.with(|state, _| state.open());
        let capabilities = queue.options.capabilities();
        Self { shared: queue.shared.clone(), capabilities, id }
    }

    /// Tries something again at each change of the queue, until it gives a result. All of it happens
    /// under the lock, so a caller that goes away has either the result or changed nothing.
    async fn until<T>(&self, mut attempt: impl FnMut(&mut State, Instant) -> Option<T>) -> T {
        // What is there already is had without getting in line for news.
        if let Some(result) = self.shared.with(&mut attempt) {
            return result;
        }
        loop {
            let mut news = pin!(self.shared.news.notified());
            news.as_mut().enable();
            let (result, next_change) = self.shared.with(|state, now| {
                let result = attempt(state, now);
                let next_change = if result.is_none() { state.next_change() } else { None };
                (result, next_change)
            });
            match (result, next_change) {
                (Some(result), _) => return result,
                (None, None) => news.await,
                (None, Some(at)) => tokio::select! {
                    () = news => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}

impl Source for MemorySource {
    type Receipt = MemoryReceipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<MemoryReceipt>>,
    ) -> Result<(), SourceError> {
        // A full queue must not keep its reader from ever yielding.
        tokio::task::coop::consume_budget().await;
        let before = out.len();
        self.until(|state, now| match state.take(self.id, want, now, out) {
            Ok(()) => (out.len() > before).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        })
        .await
    }

    async fn settle(
        &self,
        batch: &[Settlement<MemoryReceipt>],
    ) -> Vec<Result<Settled, SettleError>> {
        if let Some(latency) = self.shared.with(|state, _| state.faults.settle_latency) {
            sleep(latency).await;
        }
        self.shared.with(|state, now| {
            state.advance(now);
            batch.iter().map(|settlement| state.settle(self.id, settlement, now)).collect()
        })
    }

    async fn extend(&self, batch: &[(MemoryReceipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        self.shared.with(|state, now| {
            state.advance(now);
            batch
                .iter()
                .map(|(receipt, time)| state.extend(self.id, *receipt, *time, now))
                .collect()
        })
    }

    async fn event(&self) -> SourceEvent {
        self.until(|state, now| {
            state.advance(now);
            state.worker(self.id)?.events.pop_front()
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        self.shared.with(|state, now| {
            if state.worker(self.id).is_none() {
                return Err(SourceError::Closed);
            }
            if let Some(why) = &state.faults.down {
                return Err(SourceError::Unavailable(why.clone().into()));
            }
            state.advance(now);
            Ok(state.backlog(now))
        })
    }

    async fn close(&self, _within: Duration) -> Result<(), SourceError> {
        self.shared.with(|state, now| state.close(self.id, now));
        Ok(())
    }
}
