//! The heart of a worker: one task that takes messages through receive, gate, handle and settle.
//!
//! ```text
//!   intake.rs         start.rs     call.rs              finish.rs
//!   receive -> lanes --> gate -> poll once inline --> judge --> outbox -> settler
//!     ^                            |  pending?          ^                    |
//!     |                            +-> task of its own -+                    |
//!     +--------------------- room in the window <----------------------------+
//! ```
//!
//! Why one task, and not a pool of workers on a channel: nearly all that happens to a message is
//! bookkeeping, and bookkeeping with one owner needs no locks. Why each handler is first polled right
//! here: one that finishes without waiting never pays for a task. One that waits moves to a task of
//! its own, where the runtime's threads share the load; and one that hogs the processor is noticed,
//! after which handlers start as tasks at once (see [`call`]).

mod account;
pub(crate) mod aside;
mod call;
mod caution;
mod drain;
mod finish;
mod hogs;
mod intake;
mod lane;
mod start;

pub(crate) use drain::Leavings;
pub(crate) use intake::orders_in_lanes;

use crate::{
    Cancellation, Invoke,
    backoff::Backoff,
    beside, clock,
    control::{Request, Shared},
    gate::{Ended, Gate},
    invoke::Called,
    keeper::Keeper,
    observe::{Follower, Observed},
    outbox::Outbox,
    settler::Gone,
    window::Window,
};
use aside::{Place, Run};
use caution::Caution;
use drain::Drain;
use forebay_contract::{Delivery, Message, Scope, Source, Want};
use forebay_policy::{Batcher, Fuse, LaneToken, Lanes, Moment, RetryPolicy};
use hogs::Hogs;
use slab::Slab;
use smallvec::SmallVec;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

/// After how many rounds that leave more to start the settler has its turn. Were it more, what is done
/// would have left the caches before the settler comes to it, and before a message of the same key
/// takes its place.
const BUSY_ROUNDS: u32 = 4;

/// How often hung work is looked for.
const TICK: Duration = Duration::from_millis(100);

/// What the pump is told once, when the worker is built.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    pub(crate) park_max: Duration,
    /// How many messages the window holds for each call that the limit allows; `None`: its size is
    /// fixed.
    pub(crate) window_per_call: Option<usize>,
}

/// A message in hand.
#[derive(Debug)]
struct Held<R> {
    ticket: u64,
    message: Arc<Message>,
    receipt: R,
    scope: Scope,
    /// Its lane, from when it is started.
    lane: Option<LaneToken>,
}

/// What one call of the handler is about: a message, or a batch.
type Unit<R> = SmallVec<[Held<R>; 1]>;

/// A unit whose handler waits, in a task of its own.
#[derive(Debug)]
struct Running<R> {
    unit: Unit<R>,
    started: Moment,
    /// The breaker's generation when it started: a late answer must not count as a probe's.
    generation: u64,
    cancellation: Cancellation,
    /// Its lease or its scope is gone: no verdict would count.
    lost: bool,
    task: AbortHandle,
}

/// What such a task reports.
#[derive(Debug)]
struct Finished {
    slot: usize,
    called: Called,
    /// How long its first poll took, if that was in the task.
    first_poll: Option<Duration>,
    ended: Instant,
}

/// The pump's state; see the module's picture.
pub(crate) struct Pump<S: Source, I> {
    source: Arc<S>,
    invoke: Arc<I>,
    settings: Settings,
    shared: Arc<Shared>,
    requests: mpsc::UnboundedReceiver<Request>,

    window: Arc<Window>,
    keeper: Arc<Keeper<S::Receipt>>,
    lost: mpsc::UnboundedReceiver<u64>,
    gone: mpsc::UnboundedReceiver<Gone>,
    gate: Gate,
    gate_changed: watch::Receiver<u64>,
    fuse: Fuse,
    observed: Observed,
    /// Since when the loop has waited for anything to happen.
    waits_since: Moment,

    /// Whether the lanes look at keys.
    keyed: bool,
    /// Received and not started. One key takes at most half of the window: what is more goes back to
    /// the source, so that a hot key leaves room for others.
    lanes: Lanes<Held<S::Receipt>>,
    /// Taken from the lanes for the next batch, which is not full yet.
    forming: Unit<S::Receipt>,
    batcher: Option<Batcher>,
    /// Halves of failed batches, to be run next.
    halves: VecDeque<Unit<S::Receipt>>,
    caution: Caution<Held<S::Receipt>>,

    running: Slab<Running<S::Receipt>>,
    finished_tx: mpsc::UnboundedSender<Finished>,
    finished: mpsc::UnboundedReceiver<Finished>,

    /// Judged, and to go to the settler and the gate at the end of this round.
    outbox: Outbox<S::Receipt>,
    signals: Vec<Ended>,
    settler: mpsc::UnboundedSender<Outbox<S::Receipt>>,
    empties: mpsc::UnboundedReceiver<Outbox<S::Receipt>>,
    /// Rounds on end that left more to start, since the settler had its turn.
    busy_rounds: u32,

    inbox: Vec<Delivery<S::Receipt>>,
    /// For the next call that has to be spawned; those that end at once leave it as it was.
    cancellation: Cancellation,
    random: fastrand::Rng,
    next_ticket: u64,
    hogs: Hogs,
    place: Place,
    /// Whether something was refused in this round, and when the gate may grant it.
    refused: bool,
    gate_again_at: Moment,
    /// What was refused earlier in this round may pass now.
    look_again: bool,
    /// Since when a closed gate has kept parked messages waiting.
    parked_since: Option<Moment>,
    next_tick: Moment,
    receive_backoff: Backoff,
    /// Not to receive before; in the past when nothing is wrong.
    receive_again_at: Moment,
    drain: Drain,
}

/// What a pump is made of.
pub(crate) struct Parts<S: Source, I> {
    pub(crate) source: Arc<S>,
    pub(crate) invoke: Arc<I>,
    pub(crate) settings: Settings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) window: Arc<Window>,
    pub(crate) keeper: Arc<Keeper<S::Receipt>>,
    pub(crate) lost: mpsc::UnboundedReceiver<u64>,
    pub(crate) gone: mpsc::UnboundedReceiver<Gone>,
    pub(crate) gate: Gate,
    pub(crate) fuse: Fuse,
    pub(crate) in_lanes: bool,
    pub(crate) observed: Observed,
    pub(crate) settler: mpsc::UnboundedSender<Outbox<S::Receipt>>,
    pub(crate) empties: mpsc::UnboundedReceiver<Outbox<S::Receipt>>,
    pub(crate) give_up_at: watch::Sender<Option<Instant>>,
}

impl<S: Source, I: Invoke> Pump<S, I> {
    pub(crate) fn new(parts: Parts<S, I>) -> Self {
        let (finished_tx, finished) = mpsc::unbounded_channel();
        let longest_wait = 2 * parts.settings.retry.longest_delay() + WAIT_FOR_SOURCE;
        let lanes = match parts.in_lanes {
            true => Lanes::keyed_with(parts.window.messages() / 2, longest_wait),
            false => Lanes::unordered(),
        };
        let batcher = parts.invoke.batching().map(|o| Batcher::new(o.size, o.bytes, o.age));
        Self {
            drain: Drain::new(parts.settings.drain_timeout, parts.give_up_at),
            gate_changed: parts.gate.subscribe(),
            source: parts.source,
            invoke: parts.invoke,
            settings: parts.settings,
            shared: parts.shared,
            requests: parts.requests,
            window: parts.window,
            keeper: parts.keeper,
            lost: parts.lost,
            gone: parts.gone,
            gate: parts.gate,
            fuse: parts.fuse,
            observed: parts.observed,
            waits_since: Moment::ZERO,
            keyed: parts.in_lanes,
            lanes,
            forming: Unit::new(),
            batcher,
            halves: VecDeque::new(),
            caution: Caution::None,
            running: Slab::new(),
            finished_tx,
            finished,
            outbox: Outbox::default(),
            signals: Vec::new(),
            settler: parts.settler,
            empties: parts.empties,
            busy_rounds: 0,
            inbox: Vec::new(),
            cancellation: Cancellation::default(),
            random: fastrand::Rng::new(),
            next_ticket: 0,
            hogs: Hogs::new(Instant::now()),
            place: Place::of_this_runtime(),
            refused: false,
            gate_again_at: Moment::NEVER,
            look_again: false,
            parked_since: None,
            next_tick: Moment::ZERO,
            receive_backoff: Backoff::default(),
            receive_again_at: Moment::ZERO,
        }
    }

    /// Runs until the drain is over, or the pump is to go on elsewhere.
    pub(crate) async fn run(mut self) -> Run<Self> {
        loop {
            self.place.gather(self.running.len());
            while let Ok(finished) = self.finished.try_recv() {
                self.finish_task(finished);
            }
            self.take_in();
            if self.window.used() == 0 {
                self.caution.idle();
            }
            let now = clock::now();
            let more = self.start_ready(now);
            self.tick(now);
            self.flush(now);
            if self.drain_step(now) {
                return Run::Over(self.end());
            }
            if self.place.is_left(!self.hogs.allow(Instant::now())) {
                return Run::Moves(self);
            }
            self.wait(more).await;
        }
    }

    fn requested(&mut self, request: Request) {
        let now = clock::now();
        match request {
            Request::Drain => self.drain.signal(now),
            Request::ResetFuse => {
                if let Some(transition) = self.fuse.reset(now) {
                    tracing::info!(worker = %self.shared.name, "dead-letter fuse: {transition}");
                    self.shared.fuse_is(false);
                }
            }
            Request::Look => {}
            Request::Ping => self.shared.beat(),
        }
    }

    /// Waits for anything that could let the loop go on, and takes it in. With `more` to start, takes
    /// in what is there, and does not wait.
    async fn wait(&mut self, more: bool) {
        let now = clock::now();
        self.waits_since = now;
        let want = self.want(now);
        let timer = clock::instant(self.next_timer(now));
        tokio::select! {
            biased;
            Some(finished) = self.finished.recv() => self.finish_task(finished),
            Some(request) = self.requests.recv() => self.requested(request),
            Some(ticket) = self.lost.recv() => self.lease_lost(ticket),
            Some(gone) = self.gone.recv() => self.gone(gone),
            event = self.source.event() => self.happened(event),
            _ = self.gate_changed.changed() => {}
            received = self.source.receive(want.unwrap_or(NOTHING), &mut self.inbox),
                if want.is_some() => self.received(received),
            () = self.window.freed(), if want.is_none() => {}
            () = std::future::ready(()), if more => {}
            () = sleep_until(timer), if timer.is_some() => {}
        }
        tokio::task::consume_budget().await;
        self.busy_rounds = if more { self.busy_rounds + 1 } else { 0 };
        if self.busy_rounds == BUSY_ROUNDS {
            self.busy_rounds = 0;
            beside::turn().await;
        }
    }

    /// When the loop must look again though nothing happens.
    fn next_timer(&self, now: Moment) -> Moment {
        let mut next = self.drain.next_deadline();
        if self.receive_again_at > now {
            next = next.min(self.receive_again_at);
        }
        if let Some(open) = self.closed_until(now) {
            next = next.min(open);
        }
        if !self.running.is_empty() {
            next = next.min(self.next_tick);
        }
        if self.has_ready() {
            next = next.min(self.gate_again_at);
        }
        if let Some(batcher) = &self.batcher {
            // A batch that was not let through waits for the gate, not for its age.
            next = next.min(if self.refused { Moment::NEVER } else { batcher.due_at() });
        }
        if let Some(since) = self.parked_since {
            next = next.min(since + self.settings.park_max);
        }
        next.min(self.lanes.next_expiry())
    }

    /// What is done at intervals: the sample for work that hangs, and what has been parked too long.
    fn tick(&mut self, now: Moment) {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let oldest = self.running.iter().map(|(_, running)| running.started).min();
            self.gate.tick(now, oldest.map(|started| now.since(started)));
            self.shared.running(self.running.len());
            if let Some(per_call) = self.settings.window_per_call {
                let limit = self.gate.status().limit as usize;
                self.window.set_messages(limit.saturating_mul(per_call));
            }
        }
        self.release_overdue(now);
    }

    /// Whether something waits for the gate.
    fn has_ready(&self) -> bool {
        self.lanes.ready_len() > 0
            || !self.halves.is_empty()
            || !self.forming.is_empty()
            || self.caution.is_waiting()
    }
}

/// How long a lane waits for a retried message to come back, beyond twice the longest retry delay,
/// before what is parked behind it goes back to the source.
const WAIT_FOR_SOURCE: Duration = Duration::from_secs(60);

const NOTHING: Want = Want { messages: 0, bytes: 0 };

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
