//! The last step of a message's path: verdicts go to the source, in batches of what is ready.
//!
//! One per worker, in the pump's task. While the source is busy with one batch, the next gathers by
//! itself, so the batches grow just as the load does and no timer is needed. What the broker could not
//! take for the moment is settled again, with backoff, ahead of what came later; no attempt is charged
//! for that. A message's room in the window is given back only here.
//!
//! There are two lanes, so that acknowledgements do not wait for copies. A retry or a dead letter may
//! need a place that the broker does not have for the moment: a topic without its leader, a queue of a
//! broker that is short of memory. Then those wait, and all the rest goes on.
//!
//! ```text
//!   pump -> [ack, drop, retry, dead letter, ...] -+-> acks, drops -> source
//!                                                 +-> the rest ----> source
//! ```

use crate::{
    backoff::Backoff,
    keeper::Keeper,
    observe::{self, Observed},
    outbox::{Outbox, Ticket},
    stats::Stats,
    verdict::comes_back,
    window::Window,
};
use forebay_contract::{Message, SettleError, Settlement, Source, Verdict};
use futures_util::future::join;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// A hand-out that was to come back, and will not as far as its source knows: the verdict came too
/// late, or was refused.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) ticket: Ticket,
    pub(crate) message: Arc<Message>,
}

/// Carries verdicts to the source until the pump is gone.
pub(crate) struct Settler<S: Source> {
    pub(crate) source: Arc<S>,
    /// Emptied outboxes go back to the pump, to be filled again.
    pub(crate) empties: mpsc::UnboundedSender<Outbox<S::Receipt>>,
    /// What will not come back, for the pump, whose lanes wait for it.
    pub(crate) gone: mpsc::UnboundedSender<Gone>,
    pub(crate) window: Arc<Window>,
    pub(crate) keeper: Arc<Keeper<S::Receipt>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) observed: Observed,
    /// When to stop trying against a broker that is away; set by the drain.
    pub(crate) give_up_at: watch::Receiver<Option<Instant>>,
}

impl<S: Source> Settler<S> {
    /// Runs until the pump has gone, with its end of the inbox, and everything is settled, or until it
    /// is time to give up. Returns how many verdicts could not be delivered.
    pub(crate) async fn run(self, inbox: mpsc::UnboundedReceiver<Outbox<S::Receipt>>) -> usize {
        let (slow, slow_inbox) = mpsc::unbounded_channel();
        let lane = |inbox, slow| Lane {
            settler: &self,
            inbox,
            slow,
            give_up_at: self.give_up_at.clone(),
            lost: 0,
        };
        let (fast, slow) = (lane(inbox, Some(slow)), lane(slow_inbox, None));
        let (lost, lost_too) = join(fast.run(), slow.run()).await;
        lost + lost_too
    }

    /// Settles all that is pending; leaves what is to be settled again.
    async fn settle(&self, pending: &mut Outbox<S::Receipt>) {
        let begun = self.observed.is_on().then(Instant::now);
        let results = self.source.settle(&pending.settlements).await;
        if let Some(begun) = begun {
            self.tell(pending, &results, begun.elapsed());
        }
        let (mut messages, mut bytes, mut acked) = (0, 0, 0);
        // Where each stands that is to be settled again.
        let mut again = Vec::new();
        let mut results = results.into_iter();
        for (at, (settlement, ticket)) in pending.iter().enumerate() {
            let over = match results.next() {
                // What nearly all are, counted once for all of them.
                Some(Ok(_)) if settlement.verdict == Verdict::Ack => {
                    acked += 1;
                    true
                }
                Some(result) => self.is_over(settlement, ticket, result),
                // An adapter that answers too few has not settled the rest.
                None => false,
            };
            if over {
                messages += 1;
                bytes += settlement.message.size();
            } else {
                again.push(at);
            }
        }
        self.stats.acked.add(acked);
        self.keeper.forget(pending.clear_but(&again).map(|ticket| ticket.number));
        if messages > 0 {
            self.window.give_back(messages, bytes);
        }
    }

    /// Tells the observer what the source answered, as far as it did.
    fn tell<T>(
        &self,
        pending: &Outbox<S::Receipt>,
        results: &[Result<T, SettleError>],
        took: Duration,
    ) {
        let answered = pending.settlements.iter().zip(&pending.tickets).zip(results);
        let mut batch = answered.map(|((settlement, ticket), result)| observe::Settling {
            hand_out: ticket.number,
            message: &settlement.message,
            verdict: &settlement.verdict,
            error: result.as_ref().err(),
        });
        self.observed.tell(|observer| observer.settled(&mut batch, took));
    }

    /// Notes what the source answered. Returns whether that is the last word.
    fn is_over<R>(
        &self,
        settlement: &Settlement<S::Receipt>,
        ticket: Ticket,
        result: Result<R, SettleError>,
    ) -> bool {
        let id = &settlement.message.id;
        match result {
            Ok(_) => self.stats.settled(&settlement.verdict),
            Err(SettleError::Stale) => {
                self.stats.stale.add(1);
                self.is_gone(settlement, ticket);
                tracing::debug!(%id, "settled too late: it comes again");
            }
            Err(error @ SettleError::Refused(_)) => {
                self.stats.refused.add(1);
                self.is_gone(settlement, ticket);
                tracing::error!(%id, "{error}; the message stays in its queue");
            }
            Err(error) => {
                self.stats.settle_errors.add(1);
                tracing::warn!(%id, "not settled yet: {error}");
                return false;
            }
        }
        true
    }

    /// Tells the pump of what was to come back, and will not.
    fn is_gone(&self, settlement: &Settlement<S::Receipt>, ticket: Ticket) {
        if comes_back(&settlement.verdict) {
            // Without a pump nobody waits for it.
            let _ = self.gone.send(Gone { ticket, message: settlement.message.clone() });
        }
    }
}

/// Settles one batch after the other.
struct Lane<'s, S: Source> {
    settler: &'s Settler<S>,
    inbox: mpsc::UnboundedReceiver<Outbox<S::Receipt>>,
    /// The lane for what may take long, if that is another.
    slow: Option<mpsc::UnboundedSender<Outbox<S::Receipt>>>,
    give_up_at: watch::Receiver<Option<Instant>>,
    /// Verdicts that nobody will deliver.
    lost: usize,
}

impl<S: Source> Lane<'_, S> {
    async fn run(mut self) -> usize {
        let mut pending = Outbox::default();
        let mut backoff = Backoff::default();
        loop {
            if pending.is_empty() {
                match self.inbox.recv().await {
                    Some(more) => self.take_in(more, &mut pending),
                    None => return self.lost,
                }
            }
            while let Ok(more) = self.inbox.try_recv() {
                self.take_in(more, &mut pending);
            }
            if pending.is_empty() {
                continue; // all of it was for the other lane
            }
            // A broker that hangs must not hold up the drain: dropped, each settlement is either
            // carried out or not.
            let mut give_up_at = self.give_up_at.clone();
            let in_time = tokio::select! {
                () = self.settler.settle(&mut pending) => true,
                () = time_is_up(&mut give_up_at) => false,
            };
            if pending.is_empty() {
                backoff.reset();
            } else if !in_time || !self.wait(backoff.next()).await {
                self.lost += pending.len() + self.drain_inbox();
                let verdicts = self.lost;
                tracing::error!(verdicts, "gave up settling: the messages will come back");
                return self.lost;
            }
        }
    }

    fn take_in(&mut self, mut more: Outbox<S::Receipt>, pending: &mut Outbox<S::Receipt>) {
        if let Some(lane) = &self.slow {
            let slow = more.take_slow();
            let count = slow.len();
            if count > 0 && lane.send(slow).is_err() {
                self.lost += count; // it has given up
            }
        }
        match pending.is_empty() {
            true => std::mem::swap(pending, &mut more),
            false => pending.append(&mut more),
        }
        // The pump may be gone already; then nobody needs it.
        let _ = self.settler.empties.send(more);
    }

    fn drain_inbox(&mut self) -> usize {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).map(|more| more.len()).sum()
    }

    /// Waits before the next try. Returns whether there will be one.
    async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = time_is_up(&mut self.give_up_at) => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// Waits for the end of the time that a drain sets; for ever without a drain.
async fn time_is_up(give_up_at: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let at = *give_up_at.borrow_and_update();
        let changed = async {
            // The pump has gone, and with it any later change.
            if give_up_at.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match at {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    () = changed => {}
                }
            }
            None => changed.await,
        }
    }
}
