//! A queue opened for taking messages.

use crate::{
    buffer::Receipt,
    consume,
    queue::Inner,
    session::{Life, Shared},
    settle,
};
use forebay_contract::{
    Backlog, Capabilities, Count, Delivery, Lease, LeaseError, SettleError, Settled, Settlement,
    Source, SourceError, SourceEvent, Want,
};
use std::{
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, mpsc};

/// Far enough away: a hand-out lasts as long as its channel.
const NO_END: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Takes messages from a [`RabbitQueue`](crate::RabbitQueue). From
/// [`RabbitQueue::source`](crate::RabbitQueue::source).
#[derive(Debug)]
pub struct RabbitSource {
    shared: Arc<Shared>,
    events: Mutex<mpsc::UnboundedReceiver<SourceEvent>>,
    capabilities: Capabilities,
}

impl RabbitSource {
    pub(crate) fn start(queue: Arc<Inner>) -> Self {
        let capabilities = queue.capabilities();
        let (tell, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(queue, tell));
        tokio::spawn(consume::run(Arc::clone(&shared)));
        Self { shared, events: Mutex::new(events), capabilities }
    }

    /// Takes what is there; when to look again, if nothing is.
    fn take(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Receipt>>,
    ) -> Result<Option<Option<Instant>>, SourceError> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        match &state.life {
            Life::Open => {}
            Life::Failed(error) => return Err(error.clone().into()),
            Life::Closing(_) | Life::Closed => return Err(SourceError::Closed),
        }
        let out_now = state.session.as_ref().map_or(0, |session| session.ledger.out());
        state.demand.wants(want, out_now, now);
        let Some(session) = &mut state.session else { return Ok(Some(None)) };
        let crate::session::Session { buffer, ledger, is_calm, .. } = session;
        if *is_calm {
            return Ok(Some(None));
        }
        if buffer.take(want, now, out, |tag| ledger.hand_out(tag)) > 0 {
            return Ok(None);
        }
        Ok(Some(buffer.next_due()))
    }
}

/// Counts a receive that waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.lock().demand.begin();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().demand.end(Instant::now());
    }
}

impl Source for RabbitSource {
    type Receipt = Receipt;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), SourceError> {
        let _waiting = Waiting::new(&self.shared);
        loop {
            let mut arrived = pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            let Some(due) = self.take(want, out)? else { return Ok(()) };
            // There may be no consumer yet, or one with too small a prefetch.
            self.shared.control.notify_one();
            match due {
                // Whichever comes first.
                Some(due) => drop(tokio::time::timeout_at(due.into(), arrived).await),
                None => arrived.await,
            }
        }
    }

    async fn settle(&self, batch: &[Settlement<Receipt>]) -> Vec<Result<Settled, SettleError>> {
        settle::settle(&self.shared, batch).await
    }

    async fn extend(&self, batch: &[(Receipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        let mut state = self.shared.lock();
        let lease = |(receipt, _): &(Receipt, Duration)| match state.session_of(receipt) {
            Some(_) => Ok(Lease { expires_at: Instant::now() + NO_END }),
            None => Err(LeaseError::Lost),
        };
        batch.iter().map(lease).collect()
    }

    async fn event(&self) -> SourceEvent {
        match self.events.lock().await.recv().await {
            Some(event) => event,
            None => pending().await,
        }
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        let mut backlog = self.shared.queue.backlog().await?;
        let (buffered, out) = match &self.shared.lock().session {
            Some(session) => (session.buffer.len(), session.ledger.out()),
            None => (0, 0),
        };
        if let Some(ready) = &mut backlog.ready {
            ready.value += buffered as u64;
        }
        backlog.leased = Some(Count::about(out as u64));
        Ok(backlog)
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        let mut ended = pin!(self.shared.ended.notified());
        ended.as_mut().enable();
        self.shared.close(within);
        if matches!(self.shared.lock().life, Life::Closed) {
            return Ok(());
        }
        // What is not answered within the time is closed with the connection.
        let grace = Duration::from_millis(500);
        match tokio::time::timeout(within + grace, ended).await {
            Ok(()) => Ok(()),
            Err(_) => Err(SourceError::Unavailable(
                format!(
                    "RabbitMQ did not answer within {within:?}; what was out comes again when the \
                     connection ends"
                )
                .into(),
            )),
        }
    }
}

impl Drop for RabbitSource {
    /// Gives back what is out, if it was not closed.
    fn drop(&mut self) {
        self.shared.close(Duration::ZERO);
    }
}
