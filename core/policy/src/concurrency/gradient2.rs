//! Gradient2: latency now against latency over the long run.
//!
//! # Why
//!
//! Nobody has to say what latency is too much. From Netflix's concurrency-limits (`Gradient2Limit`):
//!
//! ```text
//! gradient = clamp(tolerance * long / short, 0.5, 1)
//! limit   <- (1 - smoothing) * limit + smoothing * (gradient * limit + queue)
//! ```
//!
//! where `short` is the mean latency of late and `long` an average over many windows. Averages
//! rather than minima: the minimum is biased low, and a limit measured against it sheds load that the
//! system could bear.
//!
//! # What is added, and why
//!
//! A worker with a backlog always uses its whole limit, which breaks the original in two ways.
//!
//! - *It creeps.* Under a constant load `long` comes to equal `short`, queue included, and the limit
//!   grows without end. So every few seconds ([`USUALLY`]) the limit is lowered to four fifths, again
//!   and again for a moment, and the latency seen then is taken as `long`. TCP's BBR does the same
//!   (`ProbeRTT`; N. Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016).
//! - *It takes a slower system for a crowded one.* When each call takes longer for good, whatever the
//!   limit, the original stays small until `long` has caught up. The same measurement tells: latency
//!   that does not fall with the load is no queue.
//!
//! # Where it ends
//!
//! At the limit whose latency is `tolerance` times that of four fifths of it, and there nothing grows:
//! what the limit is given per step gets less as `tolerance` comes near. By Little's law (J. Little,
//! "A Proof for the Queuing Formula L = λW", 1961) the last fifth then brings 1.25 / `tolerance` times
//! the throughput. With the square root of 1.25 for a tolerance, latency grows there as fast as
//! throughput: that is the greatest power, throughput divided by latency, which is what L. Kleinrock
//! takes for the best point of operation ("Power and Deterministic Rules of Thumb for Probabilistic
//! Problems in Computer Communications", 1979). A pool has it where all its servers are just busy; where
//! calls slow each other down, it is well below the most that goes through. The default is a little
//! above that root: a sharp knee is missed by an eighth at most.
//!
//! # Between measurements
//!
//! What a measurement teaches is told where it is done ([`learning`]).
//!
//! At its least the limit cannot be lowered, and need not be: there is no queue, so `long` follows what is
//! seen. If that is far above what was usual, the system has become slower, and the fall was in vain: the
//! limit grows back as fast as after trouble, up to half of what it was when it was measured last. What
//! proves too much on the way is not gone to so fast again.
//!
//! Else `long` only falls: slowly on average, faster when it is more than twice what is seen. Before the first, which is due after half a second but not before the limit is in full use, it
//! is the mean of all that has been seen: an average over the last few windows would have taken trouble
//! for the usual before the limit has fallen. `short` is an average too, over a few windows, so that not
//! all noise becomes decreases.
//!
//! ```text
//!               a pause is over, limit in use
//!   Following ------------------------------------> Measuring (four fifths, and all, in turn)
//!       ^                                                 |
//!       +-- it is clear, or takes too long ---------------+
//!       +-- losses, backpressure, a hang (nothing learned)
//! ```
//!
//! Losses, backpressure and hangs lower the limit as in AIMD. Failures bring no latency: a system that
//! refuses quickly is not a fast one.

mod ceiling;
mod learning;
mod measurement;
mod settings;

use super::{
    Bounds, LimitCause,
    sample::{Gathered, Trouble, Window},
};
use crate::{Moment, PolicyError, Signal};
use ceiling::Ceiling;
use measurement::Measurement;
pub use settings::Gradient2Settings;
use std::time::Duration;

/// What is left of the limit after a loss or backpressure, and in a hang.
const LOSS: f64 = 0.75;
const HANG: f64 = 0.5;
/// By what the limit grows where it is known to have been fine.
const FAST: f64 = 2.0;
/// When it is measured: usually; for the first time; and after it was put off, once, while latency is up by
/// a factor: first the limit falls.
const USUALLY: Pause = Pause { trips: 40.0, least: Duration::from_secs(3) };
const FIRST: Pause = Pause { trips: 8.0, least: Duration::from_millis(500) };
const PUT_OFF: Pause = Pause { trips: 8.0, least: Duration::from_secs(1) };
const UP: f64 = 1.5;
/// It is also measured when so much is left of the limit that was measured last.
const FALLEN: f64 = 0.75;
/// Up to here it grows in any case: one call cannot be lowered, and so not be measured.
const FREE: f64 = 2.5;
/// Below this gradient it is no chance that the limit falls.
const FAR: f64 = 0.9;
/// How much of a new window goes into the short average.
const SHORT_WEIGHT: f64 = 0.4;
/// What is left of `long` at each window while it is more than twice `short`.
const DRIFT: f64 = 0.9;

#[derive(Clone, Debug)]
pub(super) struct Gradient2 {
    bounds: Bounds,
    tolerance: f64,
    queue: f64,
    smoothing: f64,
    /// How much of a new window goes into the long average.
    weight: f64,
    limit: f64,
    /// The long average of latency, in seconds; zero when unknown.
    long: f64,
    /// The short average of latency, in seconds; zero when unknown.
    short: f64,
    window: Window,
    trouble: Trouble,
    phase: Phase,
    /// How many windows there have been before anything was measured.
    unmeasured: f64,
    /// Whether `long` has been measured.
    measured: bool,
    /// The limit when it was measured last.
    measured_at: f64,
    /// Up to where it may grow until it is measured again.
    cap: f64,
    /// Up to where it may grow at all.
    ceiling: Ceiling,
}

/// How long something waits: so many round trips, but at least so long.
#[derive(Clone, Copy, Debug)]
struct Pause {
    trips: f64,
    least: Duration,
}

impl Pause {
    /// With round trips of so many seconds.
    fn of(self, trip: f64) -> Duration {
        seconds(trip * self.trips).max(self.least)
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Following {
        measure_at: Moment,
        /// Whether that has been put off.
        put_off: bool,
    },
    Measuring(Measurement),
}

impl Gradient2 {
    pub(super) fn new(settings: Gradient2Settings) -> Result<Self, PolicyError> {
        let bounds = settings.validated()?;
        let Gradient2Settings { initial, tolerance, queue, smoothing, long_window, .. } = settings;
        Ok(Self {
            bounds,
            tolerance,
            queue: f64::from(queue),
            smoothing,
            weight: 2.0 / (f64::from(long_window) + 1.0),
            limit: f64::from(initial),
            long: 0.0,
            short: 0.0,
            window: Window::default(),
            trouble: Trouble::new(),
            phase: Phase::Following { measure_at: Moment::NEVER, put_off: false },
            unmeasured: 0.0,
            measured: false,
            measured_at: 0.0,
            cap: f64::from(initial) * FAST,
            ceiling: Ceiling::NONE,
        })
    }

    pub(super) fn record(
        &mut self,
        signal: Signal,
        in_flight: u32,
        now: Moment,
    ) -> Option<LimitCause> {
        self.trouble.completed(now);
        if self.trouble.is_stale(signal, now) {
            return None;
        }
        if signal == Signal::Backpressure {
            if self.trouble.is_recent(now) {
                return None;
            }
            return Some(self.decrease(LOSS, LimitCause::Backpressure, now));
        }
        let gathered = self.window.add(signal, in_flight, now);
        if gathered.is_some_and(|gathered| gathered.lossy) {
            return Some(self.decrease(LOSS, LimitCause::Failures, now));
        }
        match (self.phase, signal) {
            (Phase::Measuring(_), Signal::Success(took)) => self.measure(Some(took), now),
            (Phase::Measuring(_), _) => None,
            (Phase::Following { .. }, _) => {
                let gathered = gathered?;
                self.follow(gathered.latency?, gathered, now)
            }
        }
    }

    pub(super) fn tick(&mut self, oldest: Option<Duration>, now: Moment) -> Option<LimitCause> {
        if self.long > 0.0 && self.trouble.is_hang(oldest, 0.0, now) {
            return Some(self.decrease(HANG, LimitCause::Hang, now));
        }
        match self.phase {
            Phase::Measuring(_) => self.measure(None, now),
            Phase::Following { .. } => None,
        }
    }

    /// A window has closed: moves the averages and the limit.
    fn follow(&mut self, latency: f64, gathered: Gathered, now: Moment) -> Option<LimitCause> {
        self.average(latency, now);
        if gathered.peak * 2.0 < self.limit.floor() {
            return None;
        }
        let least = self.is_least();
        if least {
            self.measure_least(now);
        } else if self.is_time_to_measure(now) {
            self.start_measuring(now);
            return Some(LimitCause::Measuring);
        }
        let before = self.limit;
        let gradient = (self.tolerance * self.long / self.short).max(0.5);
        let room = ((gradient - 1.0) / (self.tolerance - 1.0)).clamp(0.0, 1.0);
        let queue = self.queue.min((before / 4.0).max(1.0));
        // Not in proportion: near the balance noise would raise the limit by more than it lowers it.
        let target = gradient.min(1.0) * before + room.powf(1.5) * queue;
        // Far above the usual it is no noise: few calls make long windows, and time counts, not calls.
        let windows = if gradient < 1.0 / UP { gathered.windows } else { 1.0 };
        let smoothing = 1.0 - (1.0 - self.smoothing).powf(windows);
        let step = before + smoothing * (target - before);
        let fast = if gradient < 1.0 { 0.0 } else { (before * FAST).min(self.trouble.fast_until) };
        if self.ceiling.ends(self.short, now) {
            self.measure_within(USUALLY, now);
        }
        let cap = self.cap.max(FREE).min(self.ceiling.calls()).max(before);
        self.limit = self.bounds.clamp(step.max(fast).min(cap));
        if self.limit < before {
            if gradient < FAR && !least {
                self.trouble.too_much(self.limit);
            }
            return Some(LimitCause::Latency);
        }
        self.trouble.growing();
        Some(LimitCause::Growth)
    }

    fn average(&mut self, latency: f64, now: Moment) {
        if self.long == 0.0 {
            self.long = latency;
            self.follow_on(FIRST, now);
        }
        let weight = if self.short == 0.0 { 1.0 } else { SHORT_WEIGHT };
        self.short += weight * (latency - self.short);
        if self.measured {
            // What is above `long` may be a queue: only a measurement raises it.
            self.long += self.weight * (self.short.min(self.long) - self.long);
        } else {
            self.unmeasured += 1.0;
            self.long += (1.0 / self.unmeasured).max(self.weight) * (latency - self.long);
        }
        if self.long > 2.0 * self.short {
            self.long *= DRIFT;
        }
        self.trouble.usual_is(self.long);
    }

    /// Whether the limit cannot be lowered.
    fn is_least(&self) -> bool {
        self.lowered() == self.limit as u32
    }

    /// At its least, what is seen is latency without a queue.
    fn measure_least(&mut self, now: Moment) {
        if self.measured && self.short > UP * self.long {
            self.trouble.regain(self.measured_at);
        }
        self.long += SHORT_WEIGHT * (self.short - self.long);
        self.trouble.usual_is(self.long);
        self.phase = Phase::Following { measure_at: now + FIRST.of(self.long), put_off: false };
    }

    /// Whether a measurement is due. What is wrong now would be taken for what is usual, so while
    /// latency is far above that, the limit has time to fall first. If it falls while latency is not, it
    /// is time to see whether what is taken for usual is so.
    fn is_time_to_measure(&mut self, now: Moment) -> bool {
        let Phase::Following { measure_at, put_off } = &mut self.phase else { return false };
        let up = self.short > UP * self.long;
        if up && !*put_off {
            *put_off = true;
            *measure_at = (*measure_at).max(now + PUT_OFF.of(self.short));
        }
        now >= *measure_at || (!up && self.limit < FALLEN * self.measured_at)
    }

    /// Leaves a measurement, and sets the time for the next.
    fn follow_on(&mut self, pause: Pause, now: Moment) {
        self.phase = Phase::Following { measure_at: now + pause.of(self.long), put_off: false };
        self.short = 0.0;
        self.window.clear();
    }

    /// Has the next measurement no later than after this.
    fn measure_within(&mut self, pause: Pause, now: Moment) {
        if let Phase::Following { measure_at, .. } = &mut self.phase {
            *measure_at = (*measure_at).min(now + pause.of(self.long));
        }
    }

    fn decrease(&mut self, factor: f64, cause: LimitCause, now: Moment) -> LimitCause {
        self.trouble.decreasing(self.limit, now);
        self.limit = self.bounds.clamp(self.limit * factor);
        self.follow_on(USUALLY, now);
        cause
    }

    pub(super) fn limit(&self) -> u32 {
        match self.phase {
            Phase::Measuring(measurement) if measurement.is_lowered() => self.lowered(),
            Phase::Following { .. } | Phase::Measuring(_) => self.limit as u32,
        }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = self.bounds.clamp(f64::from(limit));
        self.cap = self.limit * FAST;
        self.ceiling = Ceiling::NONE;
        self.window.clear();
    }

    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = bounds.clamp(self.limit);
    }

    pub(super) fn invariants(&self) {
        assert!(self.bounds.holds(self.limit), "out of bounds: {self:?}");
        assert!(self.long >= 0.0 && self.long.is_finite(), "no latency: {self:?}");
    }
}

/// A time of so many seconds, or the longest that there is.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
