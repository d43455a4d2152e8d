//! The broken source.

use crate::harness::{BrokenQueue, Fault};
use forebay_contract::{
    Backlog, Capabilities, Count, Delivery, Lease, LeaseError, Message, MessageId, OrderSupport,
    Outgoing, SettleError, Settled, Settlement, Sink, Source, SourceError, SourceEvent, Verdict,
    Want,
};
use forebay_memory::{MemoryReceipt, MemorySource};
use futures_util::FutureExt;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Acknowledges when it is dropped: settling in memory never waits.
pub(crate) struct AckOnDrop(Arc<MemorySource>, MemoryReceipt, Arc<Message>);

impl Drop for AckOnDrop {
    fn drop(&mut self) {
        let _ = ack(&self.0, self.1, &self.2).now_or_never();
    }
}

async fn ack(source: &MemorySource, receipt: MemoryReceipt, message: &Arc<Message>) {
    let message = message.clone();
    source.settle(&[Settlement { receipt, message, verdict: Verdict::Ack }]).await;
}

#[derive(Clone)]
pub(crate) struct BrokenReceipt {
    inner: MemoryReceipt,
    _guard: Option<Arc<AckOnDrop>>,
}

/// What a fault remembers.
#[derive(Default)]
struct Memory {
    ends: HashMap<MemoryReceipt, Instant>,
    attempts: HashMap<MessageId, u32>,
    longest: Duration,
    out: HashSet<MemoryReceipt>,
    stopped: bool,
    /// Calls of `settle` so far.
    calls: u64,
}

pub(crate) struct BrokenSource {
    fault: Fault,
    queue: BrokenQueue,
    inner: Arc<MemorySource>,
    capabilities: Capabilities,
    memory: Mutex<Memory>,
}

impl BrokenSource {
    pub(crate) fn new(fault: Fault, queue: BrokenQueue, inner: MemorySource) -> Self {
        let mut capabilities = inner.capabilities().clone();
        capabilities.order = OrderSupport::KeyAtSource;
        Self { fault, queue, inner: Arc::new(inner), capabilities, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nothing panics while it holds this")
    }

    /// Whether, while this call of `settle` was under way, another one began.
    async fn is_another_called(&self) -> bool {
        let mine = {
            let mut memory = self.memory();
            memory.calls += 1;
            memory.calls
        };
        tokio::task::yield_now().await;
        self.memory().calls != mine
    }

    async fn hand_out(
        &self,
        mut delivery: Delivery<MemoryReceipt>,
    ) -> Option<Delivery<BrokenReceipt>> {
        let receipt = delivery.receipt;
        let message = Arc::make_mut(&mut delivery.message);
        let id = message.id.clone();
        let mut guard = None;
        match self.fault {
            Fault::AcksOnDrop => {
                let (source, message) = (self.inner.clone(), delivery.message.clone());
                guard = Some(Arc::new(AckOnDrop(source, receipt, message)));
            }
            Fault::AcksOnHandOver => ack(&self.inner, receipt, &delivery.message).await,
            Fault::HidesInterruptions => message.interrupted = 0,
            Fault::ForgetsHistory => message.history = forebay_contract::History::new(),
            Fault::CountsInMemory => {
                message.attempt = self.memory().attempts.get(&id).copied().unwrap_or(0);
            }
            Fault::TellsLateLease => {
                if let Some(lease) = &mut delivery.lease {
                    lease.expires_at += Duration::from_secs(1);
                }
            }
            Fault::LosesWhenCut => {
                let (source, message) = (self.inner.clone(), delivery.message.clone());
                self.queue.when_cut().push(Box::new(move || {
                    let _ = ack(&source, receipt, &message).now_or_never();
                }));
            }
            _ => {}
        }
        let mut memory = self.memory();
        if self.fault == Fault::ObeysStale {
            self.queue.current().insert(id, (self.inner.clone(), receipt));
        }
        memory.out.insert(receipt);
        let Delivery { message, scope, lease, .. } = delivery;
        let receipt = BrokenReceipt { inner: receipt, _guard: guard };
        Some(Delivery { message, receipt, scope, lease })
    }

    fn verdict(&self, settlement: &Settlement<BrokenReceipt>) -> Verdict {
        let mut memory = self.memory();
        let again = Verdict::Release { after: Duration::ZERO };
        match (self.fault, settlement.verdict.clone()) {
            (Fault::AcksNothing, Verdict::Ack | Verdict::Drop(_)) => again,
            (Fault::RetriesEarly, Verdict::Retry { note, .. }) => {
                Verdict::Retry { after: Duration::ZERO, note }
            }
            (Fault::CountsPostponed, Verdict::Postpone { after, note }) => {
                Verdict::Retry { after, note }
            }
            (Fault::CountsReleased, Verdict::Release { after }) => {
                Verdict::Retry { after, note: note() }
            }
            (Fault::CountsInMemory, Verdict::Retry { after, note }) => {
                *memory.attempts.entry(settlement.message.id.clone()).or_default() += 1;
                Verdict::Postpone { after, note }
            }
            (Fault::WaitsInLine, Verdict::Retry { after, note }) => {
                memory.longest = memory.longest.max(after);
                Verdict::Retry { after: memory.longest, note }
            }
            (Fault::StopsAtDead, Verdict::DeadLetter { .. }) => {
                memory.stopped = true;
                settlement.verdict.clone()
            }
            (_, verdict) => verdict,
        }
    }

    /// Publishes what a retry is to bring back, as a new message.
    async fn copy(&self, message: &Message, after: Duration) {
        let mut copy = Outgoing::new(message.payload.clone()).id(message.id.clone()).delay(after);
        copy.key = message.key.clone();
        self.queue.main.publish(&[copy]).await;
    }

    async fn settle_one(
        &self,
        settlement: &Settlement<BrokenReceipt>,
    ) -> Result<Settled, SettleError> {
        let message = settlement.message.clone();
        let (mut holder, mut receipt) = (self.inner.clone(), settlement.receipt.inner);
        let verdict = self.verdict(settlement);
        self.memory().out.remove(&receipt);
        if self.fault == Fault::ObeysStale {
            (holder, receipt) = self.queue.current()[&message.id].clone();
        }
        match (self.fault, &verdict) {
            (Fault::AcksOnHandOver, _) => return Ok(Settled::Durable),
            // Done in memory only, while an earlier one is not.
            (Fault::ForgetsAboveGap, Verdict::Ack) if message.id != MessageId::from(1) => {
                return Ok(Settled::Durable);
            }
            (Fault::SettlesFirst, Verdict::DeadLetter { .. }) => {
                ack(&self.inner, receipt, &message).await;
                tokio::task::yield_now().await;
                // The connection is cut before the copy is made.
                return Ok(Settled::Durable);
            }
            (Fault::RetriesToTheEnd, Verdict::Retry { after, .. } | Verdict::Release { after }) => {
                ack(&self.inner, receipt, &message).await;
                self.copy(&message, *after).await;
                return Ok(Settled::Durable);
            }
            (Fault::WaitsInMemory, Verdict::Retry { after, .. }) => {
                let (source, after) = (Arc::downgrade(&self.inner), *after);
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let verdict = Verdict::Retry { after: Duration::ZERO, note: note() };
                    if let Some(source) = source.upgrade() {
                        source.settle(&[Settlement { receipt, message, verdict }]).await;
                    }
                });
                return Ok(Settled::Durable);
            }
            _ => {}
        }
        let after = match &verdict {
            Verdict::Retry { after, .. } => Some(*after),
            _ => None,
        };
        let batch = [Settlement { receipt, message: message.clone(), verdict }];
        let result = holder.settle(&batch).await.remove(0);
        if self.fault == Fault::CopiesTwice
            && matches!(result, Err(SettleError::Stale))
            && let Some(after) = after
        {
            self.copy(&message, after).await;
            return Ok(Settled::Durable);
        }
        result
    }
}

fn note() -> forebay_contract::FailureNote {
    let kind = forebay_contract::FailureKind::Transient;
    forebay_contract::FailureNote::new(kind, "foreign", std::time::SystemTime::now())
}

impl Source for BrokenSource {
    type Receipt = BrokenReceipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        mut want: Want,
        out: &mut Vec<Delivery<BrokenReceipt>>,
    ) -> Result<(), SourceError> {
        if self.memory().stopped {
            std::future::pending::<()>().await;
        }
        while self.fault == Fault::StarvesOthers && !self.memory().out.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match self.fault {
            Fault::IgnoresWant => want.bytes = usize::MAX,
            Fault::StarvesOthers => want.messages = 1,
            Fault::SleepsTooLong => tokio::time::sleep(Duration::from_millis(1500)).await,
            _ => {}
        }
        let mut taken = Vec::new();
        let receive = self.inner.receive(want, &mut taken);
        if self.fault == Fault::ReturnsNothing {
            let _ = tokio::time::timeout(Duration::from_millis(20), receive).await;
        } else {
            receive.await?;
        }
        if self.fault == Fault::LosesOnCancel {
            tokio::task::yield_now().await;
        }
        for delivery in taken {
            out.extend(self.hand_out(delivery).await);
        }
        Ok(())
    }

    async fn settle(
        &self,
        batch: &[Settlement<BrokenReceipt>],
    ) -> Vec<Result<Settled, SettleError>> {
        if self.fault == Fault::MindsOneCall && self.is_another_called().await {
            return batch.iter().map(|_| Ok(Settled::Durable)).collect();
        }
        let mut results = Vec::new();
        for settlement in batch {
            results.push(self.settle_one(settlement).await);
        }
        if self.fault == Fault::SpoilsBatch && results.iter().any(Result::is_err) {
            let error = || Err(SettleError::Unavailable("one of the batch failed".into()));
            return batch.iter().map(|_| error()).collect();
        }
        results
    }

    async fn extend(&self, batch: &[(BrokenReceipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        let mut results = Vec::new();
        for (receipt, time) in batch {
            let now = Instant::now();
            let expires_at = now + *time;
            let mut add = Duration::ZERO;
            match self.fault {
                Fault::ExtendsNothing => {
                    results.push(Ok(Lease { expires_at }));
                    continue;
                }
                Fault::ExtendsByAdding => {
                    let mut memory = self.memory();
                    let end = memory.ends.entry(receipt.inner).or_insert(now);
                    add = end.saturating_duration_since(now);
                    *end = now + add + *time;
                }
                _ => {}
            }
            let extended = self.inner.extend(&[(receipt.inner, *time + add)]).await.remove(0);
            // It even says that it does not add.
            results.push(extended.map(|_| Lease { expires_at }));
        }
        results
    }

    async fn event(&self) -> SourceEvent {
        self.inner.event().await
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        let mut backlog = self.inner.backlog().await?;
        if self.fault == Fault::CountsWrongly {
            backlog.ready = backlog.ready.map(|ready| Count::exact(ready.value + 1));
            backlog.oldest_age = Some(Duration::ZERO);
        }
        Ok(backlog)
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        match self.fault {
            Fault::KeepsOnClose => Ok(()),
            _ => self.inner.close(within).await,
        }
    }
}
