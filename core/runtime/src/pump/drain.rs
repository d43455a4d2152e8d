//! Draining: the worker's way out, in the order in which messages flow.
//!
//! The policy ([`Lifecycle`]) knows the phases and their deadlines; this does what each phase asks for:
//! receive nothing more, give back what has not started, let finish what runs, call it off when time
//! is up, leave it behind at last.

use super::Pump;
use crate::{
    Invoke, clock,
    control::{Request, WorkerPhase},
};
use forebay_contract::{Source, SourceError};
use forebay_policy::{Lifecycle, Moment, Phase};
use std::{fmt, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How a drain went. Counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages that were in hand and got their verdict from a handler.
    pub finished: usize,
    /// Messages given back unhandled.
    pub released: usize,
    /// Messages left behind, without an answer from handler or broker. They come back by themselves
    /// when their lease ends.
    pub abandoned: usize,
    deadline: Option<Instant>,
}

impl DrainReport {
    /// How much of the drain's time is left.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, released, abandoned, .. } = self;
        write!(f, "finished {finished}, released {released}, abandoned {abandoned}")
    }
}

/// What the pump knows of its own end.
pub(super) struct Drain {
    lifecycle: Lifecycle,
    /// The phase that has been acted upon.
    entered: Phase,
    give_up_at: watch::Sender<Option<Instant>>,
    error: Option<SourceError>,
    settled: usize,
    released: usize,
}

impl Drain {
    pub(super) fn new(timeout: Duration, give_up_at: watch::Sender<Option<Instant>>) -> Self {
        Self {
            lifecycle: Lifecycle::new(timeout, CANCEL_TIME),
            entered: Phase::Running,
            give_up_at,
            error: None,
            settled: 0,
            released: 0,
        }
    }

    pub(super) fn request(&mut self, request: Request, now: Moment) {
        if request == Request::Drain {
            self.lifecycle.signal(now);
        }
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

    pub(super) fn settled(&mut self, messages: usize) {
        if !self.may_start() {
            self.settled += messages;
        }
    }

    pub(super) fn released(&mut self, messages: usize) {
        if !self.may_start() {
            self.released += messages;
        }
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

    fn enter_draining(&mut self) {
        self.shared.enter(WorkerPhase::Draining);
        let give_up = clock::instant(self.drain.lifecycle.last_deadline());
        self.drain.give_up_at.send_replace(give_up);
        let mut parked = self.unstarted();
        parked.extend(self.suspect.take());
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
        self.shared.enter(WorkerPhase::Cancelling);
        let give_up = clock::instant(self.drain.lifecycle.last_deadline());
        self.drain.give_up_at.send_replace(give_up);
        tracing::warn!(
            worker = %self.shared.name, running = self.running.len(),
            "calling off what still runs"
        );
        let mut parked = self.unstarted();
        parked.extend(self.suspect.take());
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

    pub(super) fn into_report(self) -> (DrainReport, Option<SourceError>) {
        let mut left = 0;
        for (_, running) in &self.running {
            running.task.abort();
            left += running.unit.len();
        }
        let report = DrainReport {
            finished: self.drain.settled.saturating_sub(self.drain.released),
            released: self.drain.released,
            abandoned: left,
            deadline: clock::instant(self.drain.lifecycle.last_deadline()),
        };
        (report, self.drain.error)
    }
}
