//! A worker's side of the topic: a member of the group.

use crate::{
    KafkaError, KafkaOptions, Receipt, backlog,
    poller::{self, Poller},
    producer::Producer,
    queue, settle,
    state::Shared,
    topics::Topics,
    topology::asking,
};
use forebay_contract::{
    Backlog, Capabilities, Delivery, Lease, LeaseError, SettleError, Settled, Settlement, Source,
    SourceError, SourceEvent, Want,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// Takes messages from a topic, as a member of its group. From
/// [`KafkaQueue::source`](crate::KafkaQueue::source).
///
/// Dropped without [`Source::close`], it commits what is done and leaves the group in the background.
#[derive(Debug)]
pub struct KafkaSource {
    inner: Arc<Inner>,
    capabilities: Capabilities,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Arc<KafkaOptions>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) producer: Arc<Producer>,
    /// For what is asked of the brokers.
    pub(crate) queue: Arc<queue::Inner>,
}

impl Inner {
    /// The partition of the topic that a receipt is of.
    pub(crate) fn place(&self, receipt: Receipt) -> Option<i32> {
        self.shared.lock().partition(receipt.scope).map(|partition| partition.partition)
    }

    /// Where a message is, in Kafka's terms.
    pub(crate) fn position(&self, receipt: Receipt) -> String {
        let mut state = self.shared.lock();
        match state.partition(receipt.scope) {
            Some(partition) => {
                let topic = self.topics.read.get(partition.topic).unwrap_or(self.topics.main());
                format!("{topic}:{}:{}", partition.partition, receipt.offset)
            }
            None => format!("{}:?:{}", self.topics.main(), receipt.offset),
        }
    }
}

/// How one partition stands, as its worker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The topic: the queue itself, or one of its retry topics.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offsets that are not done, up to the end of the partition. `None` while the broker does not
    /// answer.
    pub lag: Option<u64>,
    /// Messages that were received and are not done.
    pub incomplete: usize,
    /// How far the commit is behind what was received: one stuck message makes it grow.
    pub gap: u64,
    /// Since when the oldest message that is not done has been due.
    pub oldest_age: Option<Duration>,
}

impl KafkaSource {
    pub(crate) async fn open(queue: &Arc<queue::Inner>) -> Result<Self, KafkaError> {
        let (options, topics) = (queue.options.clone(), queue.topics.clone());
        let shared = Arc::new(Shared::default());
        // Copies are waited for as long as it takes: one that was given up might be there after all.
        let producer = Arc::new(Producer::new(&options, None)?);
        let capabilities = queue.capabilities.clone();
        let poller = Poller::new(&options, &topics, &shared, &producer)?;
        poller::start(poller)?;
        let queue = queue.clone();
        let inner = Arc::new(Inner { options, topics, shared, producer, queue });
        let source = Self { inner, capabilities };
        source.joined().await?;
        Ok(source)
    }

    /// Waits for the first word of the group.
    async fn joined(&self) -> Result<(), KafkaError> {
        let (shared, limit) = (&self.inner.shared, self.inner.options.request_timeout);
        let joined = async {
            loop {
                let mut changed = std::pin::pin!(shared.assigned.notified());
                changed.as_mut().enable();
                {
                    let state = shared.lock();
                    if let Some(error) = &state.failed {
                        return Err(error.clone());
                    }
                    if state.rebalances > 0 {
                        return Ok(());
                    }
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, joined).await.unwrap_or_else(|_| {
            tracing::warn!(
                group = self.inner.options.group,
                "the group has not let this worker in within {limit:?}; it goes on waiting"
            );
            Ok(())
        })
    }

    /// Hands out what is ready. Returns whether there was any.
    fn hand_out(&self, want: Want, out: &mut Vec<Delivery<Receipt>>) -> Result<bool, SourceError> {
        let shared = &self.inner.shared;
        let mut state = shared.lock();
        if state.closed {
            return Err(SourceError::Closed);
        }
        if let Some(error) = &state.failed {
            return Err(SourceError::Fatal(error.clone().into()));
        }
        let given = state.hand_out(want, out);
        let (more, thirsty) = (state.has_ready(), state.is_thirsty(&self.inner.options));
        drop(state);
        if thirsty {
            shared.wake_thread();
        }
        if given > 0 && more {
            // For another caller, should there be one.
            shared.ready.notify_one();
        }
        Ok(given > 0)
    }

    /// The partitions that this worker has now, by topic and number.
    #[must_use]
    pub fn assigned(&self) -> Vec<(String, i32)> {
        let state = self.inner.shared.lock();
        let name = |topic: usize| self.inner.topics.read[topic].to_string();
        let all = state.partitions.iter().filter(|partition| !partition.is_leaving());
        all.map(|partition| (name(partition.topic), partition.partition)).collect()
    }

    /// How each partition of this worker stands.
    ///
    /// # Errors
    /// Faults of the broker.
    pub async fn partitions(&self) -> Result<Vec<PartitionStatus>, SourceError> {
        let inner = self.inner.clone();
        let ask = move || backlog::of_partitions(&inner, SystemTime::now());
        Ok(asking(self.inner.options.request_timeout, ask).await?)
    }
}

impl Source for KafkaSource {
    type Receipt = Receipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), SourceError> {
        let shared = &self.inner.shared;
        loop {
            let mut ready = std::pin::pin!(shared.ready.notified());
            ready.as_mut().enable();
            if self.hand_out(want, out)? {
                return Ok(());
            }
            ready.await;
        }
    }

    async fn settle(&self, batch: &[Settlement<Receipt>]) -> Vec<Result<Settled, SettleError>> {
        settle::settle(&self.inner, batch).await
    }

    async fn extend(&self, batch: &[(Receipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        // There are no leases: a hand-out lasts as long as the partition is ours.
        let mut state = self.inner.shared.lock();
        let far = Instant::now() + Duration::from_secs(86_400);
        let ours = |scope: u64, state: &mut crate::state::State| state.partition(scope).is_some();
        batch
            .iter()
            .map(|(receipt, length)| match ours(receipt.scope, &mut state) {
                true => {
                    Ok(Lease { expires_at: Instant::now().checked_add(*length).unwrap_or(far) })
                }
                false => Err(LeaseError::Lost),
            })
            .collect()
    }

    async fn event(&self) -> SourceEvent {
        let shared = &self.inner.shared;
        loop {
            let mut happened = std::pin::pin!(shared.happened.notified());
            happened.as_mut().enable();
            if let Some(event) = shared.lock().events.pop_front() {
                return event;
            }
            happened.await;
        }
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        let inner = self.inner.clone();
        Ok(asking(inner.options.request_timeout, move || backlog::of_source(&inner)).await?)
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        let shared = &self.inner.shared;
        shared.close(Instant::now() + within);
        let mut finished = shared.finished.subscribe();
        let ended = tokio::time::timeout(within, finished.wait_for(|finished| *finished)).await;
        match ended {
            Ok(_) => Ok(()),
            Err(_) => Err(SourceError::Unavailable(
                format!(
                    "the last offsets could not be committed within {within:?}: what was done \
                     since the commit before may come again"
                )
                .into(),
            )),
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.inner.shared.close(Instant::now() + Duration::from_secs(5));
    }
}
