//! Draining: the worker's way out, in the order in which messages flow.
//!
//! The policy ([`Lifecycle`]) knows the phases and their deadlines; this does what each phase asks for:
//! receive nothing more, give back what has not started, let finish what runs, call it off when time
//! is up, leave it behind at last.

use super::{Ended, Pump};
use crate::{Counts, Invoke, clock, control::WorkerPhase};
use forebay_contract::{Source, SourceError};
use forebay_policy::{Lifecycle, Moment, Phase, Signal};
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// What the pump leaves behind when it ends.
#[derive(Debug)]
pub(crate) struct Leavings {
    /// Why the worker stopped by itself, if it did.
    pub(crate) error: Option<SourceError>,
    /// The counts when the drain began.
    pub(crate) counts: Counts,
    /// When the drain must be over.
    pub(crate) deadline: Option<Instant>,
    /// Messages in hand that will not be settled any more.
    pub(crate) running: usize,
}

/// What the pump knows of its own end.
pub(super) struct Drain {
    lifecycle: Lifecycle,
    /// The phase that has been acted upon.
    entered: Phase,
    give_up_at: watch::Sender<Option<Instant>>,
    error: Option<SourceError>,
    counts: Counts,
}

impl Drain {
    pub(super) fn new(timeout: Duration, give_up_at: watch::Sender<Option<Instant>>) -> Self {
        Self {
            lifecycle: Lifecycle::new(timeout, CANCEL_TIME),
            entered: Phase::Running,
            give_up_at,
            error: None,
            counts: Counts::default(),
        }
    }

    /// Asked to end, or, asked again, to hurry.
    pub(super) fn signal(&mut self, now: Moment) {
        self.lifecycle.signal(now);
    }

    /// The source is of no more use: drain what is in hand, and remember why.
    pub(super) fn fail(&mut self, error: SourceError, now: Moment) {
        tracing::error!("{error}: draining");
        if self.may_start() {
            self.lifecycle.signal(now);
        }
        self.error.get_or_insert(error);
    }

    pub(super) fn may_start(&self) -> bool {
        self.lifecycle.phase() == Phase::Running
    }

    pub(super) fn next_deadline(&self) -> Moment {
        self.lifecycle.next_deadline()
    }
}

/// How long calls that were called off, and the last verdicts, may take.
const CANCEL_TIME: Duration = Duration::from_secs(3);

impl<S: Source, I: Invoke> Pump<S, I> {
    /// Goes on with the drain, if there is one. Returns whether it is over.
    pub(super) fn drain_step(&mut self, now: Moment) -> bool {
        self.drain.lifecycle.tick(now);
        if self.is_idle() {
            self.drain.lifecycle.idle();
        }
        let phase = self.drain.lifecycle.phase();
        if self.drain.entered == Phase::Running && phase != Phase::Running {
            self.drain.counts = self.shared.stats.read();
        }
        if phase == self.drain.entered {
            return phase == Phase::Stopped;
        }
        self.drain.entered = phase;
        match phase {
            Phase::Running => {}
            Phase::Draining => self.enter_draining(),
            Phase::Cancelling => self.enter_cancelling(now),
            Phase::Stopped => return true,
        }
        self.drain_step(now)
    }

    fn enter(&self, phase: WorkerPhase) {
        self.shared.enter(phase);
        self.observed.tell(|observer| observer.entered(phase));
    }

    fn enter_draining(&mut self) {
        self.enter(WorkerPhase::Draining);
        let give_up = clock::instant(self.drain.lifecycle.last_deadline());
        self.drain.give_up_at.send_replace(give_up);
        let mut parked = self.unstarted();
        parked.extend(self.caution.take_if(|_| true));
        tracing::info!(
            worker = %self.shared.name, running = self.running.len(), released = parked.len(),
            "draining"
        );
        self.release(parked);
        self.flush(clock::now());
    }

    fn enter_cancelling(&mut self, now: Moment) {
        if self.drain.may_start() {
            return;
        }
        self.enter(WorkerPhase::Cancelling);
        let give_up = clock::instant(self.drain.lifecycle.last_deadline());
        self.drain.give_up_at.send_replace(give_up);
        tracing::warn!(
            worker = %self.shared.name, running = self.running.len(),
            "calling off what still runs"
        );
        let mut parked = self.unstarted();
        parked.extend(self.caution.take_if(|_| true));
        self.release(parked);
        for (_, running) in &self.running {
            running.cancellation.cancel();
        }
        self.flush(now);
    }

    /// Whether nothing is in hand: nothing received that the source has not confirmed as settled.
    fn is_idle(&self) -> bool {
        self.window.used() == 0
    }

    pub(super) fn end(mut self) -> Leavings {
        Leavings {
            error: self.drain.error.take(),
            counts: self.drain.counts,
            deadline: clock::instant(self.drain.lifecycle.last_deadline()),
            running: self.running.iter().map(|(_, running)| running.unit.len()).sum(),
        }
    }
}

/// A pump that goes, drained or dropped, leaves no call behind and gives its permits back: the gate
/// may be shared.
impl<S: Source, I> Drop for Pump<S, I> {
    fn drop(&mut self) {
        for (_, running) in &self.running {
            running.task.abort();
            self.signals.push(Ended::one(Signal::Neutral, running.generation));
        }
        self.gate.complete(&mut self.signals, clock::now());
    }
}
