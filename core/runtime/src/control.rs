//! A worker's remote control: look at it, pause it, change its limits, drain it, while it runs.

use crate::{
    gate::{Gate, GateStatus},
    stats::{Counts, Stats},
    window::Window,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// What the pump is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Drain; asked again, hurry: cancel what runs, then leave it.
    Drain,
    /// Mend the fuse by hand.
    ResetFuse,
    /// Something has changed: look again.
    Look,
    /// Give a sign of life.
    Ping,
}

/// What a worker and its controls both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) stats: Arc<Stats>,
    paused: AtomicBool,
    fuse_blown: AtomicBool,
    away: AtomicBool,
    beats: AtomicU64,
    running: AtomicUsize,
    phase: AtomicU8,
}

/// Where a worker is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerPhase {
    /// It takes messages.
    Running,
    /// It takes no more, and finishes what it has started.
    Draining,
    /// It has called off what still runs.
    Cancelling,
    /// It has ended.
    Stopped,
}

impl Shared {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            stats: Arc::default(),
            paused: AtomicBool::new(false),
            fuse_blown: AtomicBool::new(false),
            away: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            phase: AtomicU8::new(0),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(crate) fn fuse_is(&self, blown: bool) {
        self.fuse_blown.store(blown, Ordering::Release);
    }

    pub(crate) fn broker_is_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn running(&self, calls: usize) {
        self.running.store(calls, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, phase: WorkerPhase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> WorkerPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => WorkerPhase::Running,
            1 => WorkerPhase::Draining,
            2 => WorkerPhase::Cancelling,
            _ => WorkerPhase::Stopped,
        }
    }
}

/// A worker as it stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Where it is on its way.
    pub phase: WorkerPhase,
    /// Whether it has been paused.
    pub paused: bool,
    /// Whether the dead-letter fuse has blown: nearly nothing succeeds, and messages are kept.
    pub fuse_blown: bool,
    /// Whether the broker is away, as its source says: between [`SourceEvent::Down`] and
    /// [`SourceEvent::Up`], or until a message comes. Not every source can tell; what fails is in
    /// the counts.
    ///
    /// [`SourceEvent::Down`]: crate::SourceEvent::Down
    /// [`SourceEvent::Up`]: crate::SourceEvent::Up
    pub away: bool,
    /// How many times it has answered [`Control::ping`].
    pub beats: u64,
    /// What it has counted since it started.
    pub counts: Counts,
    /// Messages received and not settled.
    pub in_hand: usize,
    /// Handler calls that wait, in tasks of their own; refreshed ten times a second.
    pub running: usize,
    /// Its gate.
    pub gate: GateStatus,
}

/// Controls one worker, from anywhere in its process. Outlives it harmlessly.
#[derive(Clone, Debug)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) gate: Gate,
    pub(crate) window: Arc<Window>,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
}

impl Control {
    /// How the worker stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            phase: self.shared.phase(),
            paused: self.shared.is_paused(),
            fuse_blown: self.shared.fuse_blown.load(Ordering::Acquire),
            away: self.shared.away.load(Ordering::Acquire),
            beats: self.shared.beats.load(Ordering::Acquire),
            counts: self.shared.stats.read(),
            in_hand: self.window.used(),
            running: self.shared.running.load(Ordering::Relaxed),
            gate: self.gate.status(),
        }
    }

    /// Starts nothing more until [`Control::resume`]. What runs goes on; what is parked is given back
    /// after a while.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Goes on after [`Control::pause`].
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Asks for a sign of life: [`Status::beats`] grows when the worker's loop comes round to it. A loop
    /// that does not is stuck. Until it does, asking again is for nothing.
    pub fn ping(&self) {
        self.request(Request::Ping);
    }

    /// Drains the worker, as SIGTERM does. Called again, it hurries: what runs is called off; a
    /// third time, it is left behind.
    pub fn drain(&self) {
        self.request(Request::Drain);
    }

    /// Mends a blown dead-letter fuse, after whatever blew it has been repaired; a probe that succeeds
    /// does so by itself.
    pub fn reset_fuse(&self) {
        self.request(Request::ResetFuse);
    }

    /// The worker's gate, to change its limits.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    fn set_paused(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Release);
        self.request(Request::Look);
    }

    fn request(&self, request: Request) {
        // A worker that has ended has nothing left to ask of it.
        let _ = self.requests.send(request);
    }
}
