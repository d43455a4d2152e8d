//! A queue opened for taking messages.

use crate::{
    Receipt, SourceOptions, backlog, claim,
    inbox::{Inbox, Step},
    settle,
    store::Inner,
    tx::Tx,
    writer::{Command, Need, Task},
};
use forebay_contract::{
    Backlog, Capabilities, Delivery, Exactness, Lease, LeaseError, LeaseTerms, OrderSupport,
    SettleError, Settled, Settlement, Source, SourceError, Verdict, Want,
};
use std::{
    collections::hash_map::RandomState,
    future::{Future, poll_fn},
    hash::BuildHasher,
    pin::pin,
    sync::{Arc, mpsc},
    task::Poll,
    time::{Duration, Instant},
};

/// Takes messages from a [`Queue`](crate::Queue). From [`Queue::source`](crate::Queue::source).
#[derive(Debug)]
pub struct EmbeddedSource {
    store: Arc<Inner>,
    queue: i64,
    /// What tells its leases from those of other sources.
    holder: i64,
    lease: Duration,
    inbox: Arc<Inbox>,
    capabilities: Capabilities,
}

impl EmbeddedSource {
    pub(crate) fn new(store: Arc<Inner>, queue: i64, options: &SourceOptions) -> Self {
        store.listen();
        let inbox = Arc::new(Inbox::new(options.lease));
        store.bells.listen(queue, &inbox);
        let capabilities = Capabilities {
            broker: "embedded",
            attempts: Exactness::Exact,
            release_keeps_attempt: true,
            max_delay: None,
            order: OrderSupport::KeyAtSource,
            lease: Some(LeaseTerms { length: options.lease, max_hold: None }),
            stable_identity: true,
            counts_interruptions: true,
            durable_history: true,
            delayed_publish: true,
            max_payload: Some(store.max_payload),
            backlog: Exactness::Exact,
        };
        Self { store, queue, holder: random(), lease: options.lease, inbox, capabilities }
    }

    /// Has the writer claim messages for the inbox; nobody needs to wait for it.
    fn claim(&self, want: Want) {
        let (queue, holder, lease) = (self.queue, self.holder, self.lease);
        let (inbox, store) = (Arc::clone(&self.inbox), Arc::downgrade(&self.store));
        let work = move |tx: &mut Tx<'_>| claim::claim(tx, queue, holder, lease, want);
        self.store.submit(Need::Light, want.messages, work, move |outcome| {
            let again_at = outcome.as_ref().ok().and_then(|claimed| claimed.again_at);
            let unwanted = inbox.fill(outcome);
            let Some(store) = store.upgrade() else { return };
            if let Some(at) = again_at {
                store.bells.due(queue, at);
            }
            release_unattended(&store.commands, unwanted.unwrap_or_default());
        });
    }
}

/// Gives back what no handler has seen, with nothing recorded.
fn release(tx: &mut Tx<'_>, unseen: &[Settlement<Receipt>]) -> rusqlite::Result<()> {
    settle::settle_all(tx, unseen).map(drop)
}

fn releases(deliveries: Vec<Delivery<Receipt>>) -> Vec<Settlement<Receipt>> {
    let verdict = Verdict::Release { after: Duration::ZERO };
    let settlement = |Delivery { receipt, message, .. }: Delivery<Receipt>| Settlement {
        receipt,
        message,
        verdict: verdict.clone(),
    };
    deliveries.into_iter().map(settlement).collect()
}

/// As [`release`], with nobody waiting for it: if it fails, the leases end by themselves.
pub(crate) fn release_unattended(
    commands: &mpsc::Sender<Box<dyn Command>>,
    deliveries: Vec<Delivery<Receipt>>,
) {
    if !deliveries.is_empty() {
        let unseen = releases(deliveries);
        let (size, work) = (unseen.len(), move |tx: &mut Tx<'_>| release(tx, &unseen));
        // Without a writer, nothing can be given back.
        let _ = commands.send(Box::new(Task::new(Need::Sure, size, work, drop)));
    }
}

impl Source for EmbeddedSource {
    type Receipt = Receipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), SourceError> {
        loop {
            let mut changed = pin!(self.inbox.changed());
            changed.as_mut().enable();
            match self.inbox.take(want, out) {
                Step::Taken => return Ok(()),
                Step::Claim => self.claim(want),
                Step::Wait => {}
                Step::Failed(error) => return Err(error.into()),
                Step::Closed => return Err(SourceError::Closed),
            }
            changed.await;
        }
    }

    async fn settle(&self, batch: &[Settlement<Receipt>]) -> Vec<Result<Settled, SettleError>> {
        if self.inbox.is_closed() {
            return batch.iter().map(|_| Err(SettleError::Stale)).collect();
        }
        let (owned, size) = (batch.to_vec(), batch.len());
        let work = move |tx: &mut Tx<'_>| settle::settle_all(tx, &owned);
        match self.store.write(Need::Sure, size, work).await {
            Ok(ours) => ours
                .into_iter()
                .map(|ours| if ours { Ok(Settled::Durable) } else { Err(SettleError::Stale) })
                .collect(),
            Err(error) => batch.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    async fn extend(&self, batch: &[(Receipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        if self.inbox.is_closed() {
            return batch.iter().map(|_| Err(LeaseError::Lost)).collect();
        }
        let asked = Instant::now();
        let (owned, size) = (batch.to_vec(), batch.len());
        let work = move |tx: &mut Tx<'_>| -> rusqlite::Result<Vec<bool>> {
            owned.iter().map(|(receipt, by)| settle::extend(tx, receipt, *by)).collect()
        };
        match self.store.write(Need::Light, size, work).await {
            Ok(ours) => ours
                .into_iter()
                .zip(batch)
                .map(|(ours, (_, by))| match ours {
                    true => Ok(Lease { expires_at: asked + *by }),
                    false => Err(LeaseError::Lost),
                })
                .collect(),
            Err(error) => batch.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        let queue = self.queue;
        Ok(self.store.read(move |conn| backlog::one(conn, queue)).await?)
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        self.inbox.close();
        let given_back = async {
            let unseen = loop {
                let mut changed = pin!(self.inbox.changed());
                changed.as_mut().enable();
                match self.inbox.take_rest() {
                    Some(rest) => break releases(rest),
                    None => changed.await,
                }
            };
            let (queue, holder) = (self.queue, self.holder);
            let work = move |tx: &mut Tx<'_>| {
                release(tx, &unseen)?;
                claim::interrupt_all(tx, queue, holder)
            };
            self.store.write(Need::Sure, 1, work).await
        };
        let late = self.store.bells.sleep_until(Instant::now() + within);
        match either(given_back, late).await {
            Some(outcome) => Ok(outcome?),
            None => Err(SourceError::Unavailable(
                format!(
                    "what was claimed could not be given back within {within:?}; \
                         it comes back when its lease ends"
                )
                .into(),
            )),
        }
    }
}

impl Drop for EmbeddedSource {
    /// Gives back what was buffered, if it was not closed.
    fn drop(&mut self) {
        release_unattended(&self.store.commands, self.inbox.abandon());
    }
}

/// A number that no other source has, in whatever process or container it is.
fn random() -> i64 {
    // The keys of a hash table are the standard library's randomness.
    RandomState::new().hash_one(0).cast_signed()
}

/// The first future's outcome, unless the second ends before.
async fn either<T>(first: impl Future<Output = T>, second: impl Future) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = first.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        second.as_mut().poll(cx).map(|_| None)
    })
    .await
}
