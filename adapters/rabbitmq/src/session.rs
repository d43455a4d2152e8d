//! One channel of a worker, from its opening to its loss, and what the worker's tasks share.
//!
//! Receipts carry the number of their channel (the epoch). When a channel is lost, its session is
//! dropped as a whole: every receipt of it is stale from then on, and nothing of it can reach the
//! broker through the next channel, where the same delivery numbers mean other messages.

use crate::{
    RabbitError,
    buffer::{Buffer, Receipt},
    demand::Demand,
    ledger::{Ack, Ledger},
    memory::Memory,
    pace::Pace,
    queue::Inner,
    renew::{Renewal, renewal},
    stall::{Full, Stall},
};
use forebay_contract::{Message, MessageId, Scope, SourceEvent};
use futures_util::FutureExt;
use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions},
    types::ShortString,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};

/// What is kept of a delivery for as long as it is not settled.
#[derive(Debug)]
pub(crate) struct Original {
    /// What its copies are made of.
    pub(crate) properties: BasicProperties,
    pub(crate) id: MessageId,
    /// Whether its identity is the same at the next delivery.
    pub(crate) identified: bool,
    /// How often the broker says that it came back; `None` where it does not count.
    pub(crate) returns: Option<u32>,
    /// How many of these this process knows the reason of.
    pub(crate) explained: u32,
    /// In key order: the message with what has been noted of it while it waited here, and until when
    /// it waits.
    pub(crate) noted: Option<(Arc<Message>, Instant)>,
    pub(crate) came: Instant,
}

/// One channel, and what is out on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) epoch: u64,
    pub(crate) channel: Channel,
    /// The consumer's tag, until it is told to stop.
    pub(crate) consuming: Option<ShortString>,
    /// The consumer's prefetch.
    pub(crate) prefetch: u16,
    pub(crate) pace: Pace,
    pub(crate) ledger: Ledger<Original>,
    pub(crate) buffer: Buffer,
    /// In key order: nothing is handed out, because the channel is to be renewed.
    pub(crate) is_calm: bool,
    /// In key order: whether one key takes up all of the prefetch.
    pub(crate) stall: Stall,
}

impl Session {
    /// Whether the channel is to be renewed; until then, whether anything is handed out.
    pub(crate) fn renewal(&mut self, timeout: Duration, now: Instant) -> Renewal {
        let renewal = match self.ledger.oldest_here() {
            Some(oldest) => renewal(now - oldest.came, self.ledger.out(), timeout),
            None => Renewal::NotYet,
        };
        self.is_calm = renewal != Renewal::NotYet;
        renewal
    }

    /// In key order, if the broker sends nothing more because of what waits here: what that is. Told
    /// once in a while.
    pub(crate) fn stalled(&mut self, now: Instant) -> Option<Full> {
        let Self { buffer, ledger, prefetch, stall, .. } = self;
        let waits = !buffer.has_ready() && buffer.next_due().is_some_and(|due| due > now);
        let full = (waits && ledger.unacked() >= usize::from(*prefetch)).then(|| buffer.waiting());
        let full = full.filter(|full| full.is_most_of(ledger.unacked()));
        let is_news = stall.is_news(full.is_some(), now);
        full.filter(|_| is_news)
    }

    /// Tells the broker of what is done, if it is time.
    pub(crate) fn pace_acks(&mut self, now: Instant) {
        let untold = self.ledger.untold();
        if untold > 0 && self.pace.is_due(untold, self.prefetch, now) {
            self.send_acks();
            self.pace.told(now);
        }
    }

    /// When the broker is to be told of what is done and has waited; `None` if nothing has.
    pub(crate) fn acks_due_at(&self, now: Instant) -> Option<Instant> {
        (self.ledger.untold() > 0).then(|| self.pace.due_at(now))
    }

    /// Tells the broker of all that is done. The frames are in the connection's queue, in order, when
    /// this returns; nobody waits until they are written. Must be called under the lock, so that no
    /// later frame overtakes.
    pub(crate) fn send_acks(&mut self) {
        let channel = &self.channel;
        self.ledger.frames(&mut |Ack { tag, multiple }| {
            // An error means that the channel is gone, which its consumer hears of.
            let _ = channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never();
        });
    }

    /// Gives one delivery back to its queue, to the place where it was.
    ///
    /// Never by `basic.reject`: RabbitMQ 4.3 counts that one alone as a failed delivery.
    pub(crate) fn nack(&mut self, tag: u64, memory: &mut Memory) {
        if let Some(original) = self.ledger.original(tag) {
            remember(original, memory);
        }
        self.ledger.gone(tag);
        let options = BasicNackOptions { requeue: true, multiple: false };
        let _ = self.channel.basic_nack(tag, options).now_or_never();
    }

    /// Whether a delivery has never come back, so that the broker may count it once.
    pub(crate) fn is_new(&self, tag: u64) -> bool {
        let original = self.ledger.original(tag);
        original.is_none_or(|original| original.returns.unwrap_or(0) == 0)
    }

    /// Has the broker send nothing more. What follows on the channel, as a nack, then comes to others.
    pub(crate) fn pause(&mut self) {
        if let Some(tag) = self.consuming.take() {
            let _ = self.channel.basic_cancel(tag, BasicCancelOptions::default()).now_or_never();
        }
    }

    /// All that is out goes back with the channel.
    pub(crate) fn forget(&self, memory: &mut Memory) {
        for original in self.ledger.originals() {
            remember(original, memory);
        }
    }
}

/// It goes back, and not because of anything that its handler did.
fn remember(original: &Original, memory: &mut Memory) {
    if original.identified {
        if original.returns.is_some() {
            memory.explain(original.id.clone(), original.explained + 1);
        }
        if let Some((noted, due)) = &original.noted {
            memory.keep(Message::clone(noted), *due);
        }
    }
}

/// Whether a worker still takes messages.
#[derive(Clone, Debug, Default)]
pub(crate) enum Life {
    #[default]
    Open,
    /// It failed for good.
    Failed(RabbitError),
    /// It is to let go within this time.
    Closing(Duration),
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) life: Life,
    pub(crate) session: Option<Session>,
    pub(crate) demand: Demand,
}

impl State {
    /// The session that a receipt belongs to, if it is not lost.
    pub(crate) fn session_of(&mut self, receipt: &Receipt) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.epoch == receipt.epoch)
    }
}

/// What the worker's calls and its consuming task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Arc<Inner>,
    state: Mutex<State>,
    /// Something can be received, or never will be.
    pub(crate) arrived: Notify,
    /// The consuming task has something to look at.
    pub(crate) control: Notify,
    /// A copy has been answered for, or the session is gone.
    pub(crate) settled: Notify,
    /// The consuming task has ended.
    pub(crate) ended: Notify,
    pub(crate) events: mpsc::UnboundedSender<SourceEvent>,
}

impl Shared {
    pub(crate) fn new(queue: Arc<Inner>, events: mpsc::UnboundedSender<SourceEvent>) -> Self {
        let notify = Notify::new;
        Self {
            queue,
            state: Mutex::default(),
            arrived: notify(),
            control: notify(),
            settled: notify(),
            ended: notify(),
            events,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.queue.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel is gone, with all that was out on it.
    pub(crate) fn lose(&self, why: &RabbitError) {
        let Some(session) = self.lock().session.take() else { return };
        session.forget(&mut self.memory());
        tracing::warn!(
            queue = %self.queue.checked.options.queue, out = session.ledger.out(),
            "the channel is lost, and what was out comes again: {why}"
        );
        // Nobody may be listening.
        let _ = self.events.send(SourceEvent::Lost(Scope(session.epoch)));
        let _ = self.events.send(SourceEvent::Down(why.to_string()));
        self.settled.notify_waiters();
    }

    /// Nothing will be received any more, for this reason.
    pub(crate) fn end(&self, life: Life) {
        self.lock().life = life;
        self.arrived.notify_waiters();
        self.settled.notify_waiters();
    }

    /// Ends it, unless it has ended, within the time given.
    pub(crate) fn close(&self, within: Duration) {
        {
            let mut state = self.lock();
            match state.life {
                Life::Open => state.life = Life::Closing(within),
                Life::Failed(_) => state.life = Life::Closed,
                Life::Closing(_) | Life::Closed => {}
            }
        }
        self.arrived.notify_waiters();
        self.control.notify_one();
    }
}
