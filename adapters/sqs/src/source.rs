//! A queue opened for taking messages.

use crate::{
    Fault, Receipt, backlog,
    core::{Core, seconds},
    handout::Handout,
    inbox::Step,
    poller,
    queue::Shared,
};
use forebay_contract::{
    Backlog, Capabilities, Delivery, Lease, LeaseError, SettleError, Settled, Settlement, Source,
    SourceError, Want,
};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// Takes messages from a [`SqsQueue`](crate::SqsQueue). From
/// [`SqsQueue::source`](crate::SqsQueue::source).
#[derive(Debug)]
pub struct SqsSource {
    core: Arc<Core>,
    capabilities: Capabilities,
}

impl SqsSource {
    pub(crate) fn start(shared: &Shared) -> Self {
        let options = &shared.options;
        let core = Arc::new(Core {
            api: shared.main.clone(),
            dead: shared.dead.clone(),
            memo: Arc::clone(&shared.memo),
            inbox: crate::inbox::Inbox::default(),
            settling: tokio::sync::Mutex::default(),
            removing: tokio::sync::Mutex::default(),
            lease: options.lease,
            wait: options.wait_secs(),
            max_pollers: options.max_pollers,
            max_message: shared.max_message,
            fifo: shared.fifo,
            wear: shared.wear,
        });
        tokio::spawn(poller::run(Arc::clone(&core)));
        Self { core, capabilities: shared.capabilities.clone() }
    }
}

impl Source for SqsSource {
    type Receipt = Receipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), SourceError> {
        let inbox = &self.core.inbox;
        let mut waiting = None;
        loop {
            let mut changed = pin!(inbox.changed());
            changed.as_mut().enable();
            match inbox.take(want, out) {
                Step::Taken => return Ok(()),
                Step::Wait => {}
                Step::Failed(fault) => return Err(fault.into()),
                Step::Closed => return Err(SourceError::Closed),
            }
            waiting.get_or_insert_with(|| inbox.wait());
            changed.await;
        }
    }

    async fn settle(&self, batch: &[Settlement<Receipt>]) -> Vec<Result<Settled, SettleError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let (core, owned) = (Arc::clone(&self.core), batch.to_vec());
        let settled = tokio::spawn(async move { core.settle(owned).await });
        settled.await.unwrap_or_else(|error| {
            let failed =
                || Err(SettleError::Unavailable(format!("settling ended: {error}").into()));
            batch.iter().map(|_| failed()).collect()
        })
    }

    async fn extend(&self, batch: &[(Receipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        let asked = Instant::now();
        let core = &self.core;
        // Those that wait behind one in its group are hidden along with it.
        let mut changes: Vec<(Arc<Handout>, Duration, Option<usize>)> = Vec::new();
        let mut answers: Vec<Option<Result<Lease, LeaseError>>> = Vec::with_capacity(batch.len());
        for (i, (Receipt(handout), by)) in batch.iter().enumerate() {
            let by =
                (*by).min(Duration::from_secs(core.room(handout, asked).unsigned_abs().into()));
            if !handout.is_ours(asked) || by.is_zero() {
                answers.push(Some(Err(LeaseError::Lost)));
                continue;
            }
            answers.push(None);
            let behind = core.inbox.behind(handout).into_iter().map(|it| (it, by, None));
            changes.push((Arc::clone(handout), by, Some(i)));
            changes.extend(behind);
        }
        let hides: Vec<_> = changes.iter().map(|(it, by, _)| (&*it.handle, seconds(*by))).collect();
        let outcomes = core.api.hide(&hides).await;
        let now = Instant::now();
        for ((handout, by, place), outcome) in changes.into_iter().zip(outcomes) {
            let expires_at = asked + by;
            let answer = match outcome {
                Ok(()) if handout.extended(expires_at, now) => Ok(Lease { expires_at }),
                Ok(()) => Err(LeaseError::Lost),
                Err(fault) => Err(lost_or_not(&handout, fault)),
            };
            if let Some(i) = place {
                answers[i] = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(LeaseError::Lost))).collect()
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        backlog::of(&self.core.api, &self.core.dead, &self.core.memo).await
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        let core = Arc::clone(&self.core);
        let held = core.inbox.close();
        // In a task of its own: what is late is still given back while this process lives.
        let closing = tokio::spawn(async move {
            drop((core.settling.lock().await, core.removing.lock().await));
            core.give_back(held.unwrap_or_default()).await;
            loop {
                let mut changed = pin!(core.inbox.changed());
                changed.as_mut().enable();
                if core.inbox.has_ended() {
                    return;
                }
                changed.await;
            }
        });
        match tokio::time::timeout(within, closing).await {
            Ok(_) => Ok(()),
            Err(_) => Err(SourceError::Unavailable(
                format!(
                    "SQS has not answered a receive that is under way within {within:?}: what it \
                     brings comes back when its lease ends"
                )
                .into(),
            )),
        }
    }
}

impl Drop for SqsSource {
    /// Gives back what was buffered, if it was not closed.
    fn drop(&mut self) {
        self.core.inbox.abandon();
    }
}

/// What a failed extension means for its hand-out.
fn lost_or_not(handout: &Handout, fault: Fault) -> LeaseError {
    let error = fault.extending();
    if matches!(error, LeaseError::Lost) {
        handout.lose();
    }
    error
}
