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
//!   grows without end. So every [`MEASURE_EVERY`], the limit is halved for a moment, and the latency
//!   seen then, mostly without a queue, is taken as `long`. TCP's BBR does the same (`ProbeRTT`;
//!   N. Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016). The cost is a few percent
//!   of throughput at most.
//! - *It takes a slower system for a crowded one.* When each call takes longer for good, whatever the
//!   limit, the original stays small until `long` has caught up. The same measurement tells: latency
//!   that does not fall when the load is halved is no queue.
//!
//! Between measurements `long` only falls: slowly on average, faster when it is more than twice what is
//! seen. `short` is an average too, over a few windows, since a gradient that is cut off at 1 turns all
//! noise into decreases.
//!
//! ```text
//!              MEASURE_EVERY is over, limit in use
//!   Following ------------------------------------> Measuring (half of the limit)
//!       ^                                                 |
//!       +-- enough calls that started in it, or too long -+
//!       +-- losses, backpressure, a hang (nothing learned)
//! ```
//!
//! Losses, backpressure and hangs lower the limit as in AIMD. Failures bring no latency: a system that
//! refuses quickly is not a fast one.

use super::{
    Bounds, LimitCause,
    sample::{Trouble, Window},
};
use crate::{Moment, PolicyError, Signal};
use std::time::Duration;

/// What is left of the limit after a loss or backpressure, and in a hang.
const LOSS: f64 = 0.75;
const HANG: f64 = 0.5;
/// By what the limit grows where it is known to have been fine.
const FAST: f64 = 2.0;
/// How often latency without a queue is measured; for slow calls, this many round trips.
const MEASURE_EVERY: Duration = Duration::from_secs(3);
const MEASURE_EVERY_TRIPS: f64 = 40.0;
/// How many calls make a measurement, and how many round trips it may last.
const MEASURE_CALLS: u32 = 100;
const MEASURE_TRIPS: f64 = 3.0;
const MEASURE_AT_LEAST: Duration = Duration::from_millis(250);
/// How much of a measurement is believed, as far as it is within a factor of two of `long`; one that
/// is further off is no noise.
const BELIEVED: f64 = 0.5;
/// How much of a new window goes into the short average.
const SHORT_WEIGHT: f64 = 0.4;
/// What is left of `long` at each window while it is more than twice `short`.
const DRIFT: f64 = 0.9;

/// The settings of a Gradient2 limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient2Settings {
    /// Where it starts, between `min` and `max`. Default: 8.
    pub initial: u32,
    /// Its least; at least 1. Default: 1.
    pub min: u32,
    /// Its most. Default: 256.
    pub max: u32,
    /// By what factor latency may exceed its long average before the limit falls; 1 to 10.
    /// Default: 1.5.
    pub tolerance: f64,
    /// How many calls may wait at the system behind: by how much it grows per step; at least 1.
    /// Default: 4.
    pub queue: u32,
    /// How much of each step is taken; above 0, at most 1. Default: 0.2.
    pub smoothing: f64,
    /// Over how many windows, of 50 ms or more, the long average falls; at least 10. Default: 600.
    pub long_window: u32,
}

impl Default for Gradient2Settings {
    fn default() -> Self {
        Self {
            initial: 8,
            min: 1,
            max: 256,
            tolerance: 1.5,
            queue: 4,
            smoothing: 0.2,
            long_window: 600,
        }
    }
}

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
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Following { measure_at: Moment },
    Measuring { from: Moment, until: Moment, calls: u32, total: f64 },
}

impl Gradient2 {
    pub(super) fn new(settings: Gradient2Settings) -> Result<Self, PolicyError> {
        let Gradient2Settings { initial, min, max, tolerance, queue, smoothing, long_window } =
            settings;
        let bounds = Bounds::new(min, max)?;
        if !bounds.holds(f64::from(initial)) {
            return Err(PolicyError::new("initial", initial, "between `min` and `max`"));
        }
        if !(1.0..=10.0).contains(&tolerance) {
            return Err(PolicyError::new("tolerance", tolerance, "between 1 and 10"));
        }
        if queue == 0 {
            return Err(PolicyError::new("queue", queue, "at least 1"));
        }
        if !(smoothing > 0.0 && smoothing <= 1.0) {
            return Err(PolicyError::new("smoothing", smoothing, "above 0 and at most 1"));
        }
        if long_window < 10 {
            return Err(PolicyError::new("long_window", long_window, "at least 10"));
        }
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
            phase: Phase::Following { measure_at: Moment::NEVER },
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
            (Phase::Measuring { .. }, Signal::Success(took)) => self.measure(took, now),
            (Phase::Measuring { .. }, _) => None,
            (Phase::Following { measure_at }, _) => {
                let gathered = gathered?;
                self.follow(gathered.latency?, gathered.peak, measure_at, now)
            }
        }
    }

    pub(super) fn tick(&mut self, oldest: Option<Duration>, now: Moment) -> Option<LimitCause> {
        if self.long > 0.0 && self.trouble.is_hang(oldest, 0.0, now) {
            return Some(self.decrease(HANG, LimitCause::Hang, now));
        }
        match self.phase {
            Phase::Measuring { until, .. } if now >= until => self.measured(now),
            _ => None,
        }
    }

    /// A window has closed: moves the averages and the limit.
    fn follow(
        &mut self,
        latency: f64,
        peak: f64,
        measure_at: Moment,
        now: Moment,
    ) -> Option<LimitCause> {
        self.average(latency, now);
        if peak * 2.0 < self.limit.floor() {
            return None;
        }
        if now >= measure_at {
            self.start_measuring(now);
            return Some(LimitCause::Measuring);
        }
        let before = self.limit;
        let gradient = (self.tolerance * self.long / self.short).clamp(0.5, 1.0);
        let target = gradient * before + self.queue;
        let step = before + self.smoothing * (target - before);
        let fast = if gradient < 1.0 { 0.0 } else { (before * FAST).min(self.trouble.fast_until) };
        self.limit = self.bounds.clamp(step.max(fast));
        if self.limit < before {
            return Some(LimitCause::Latency);
        }
        self.trouble.growing();
        Some(LimitCause::Growth)
    }

    fn average(&mut self, latency: f64, now: Moment) {
        if self.long == 0.0 {
            self.long = latency;
            self.follow_on(now);
        }
        let weight = if self.short == 0.0 { 1.0 } else { SHORT_WEIGHT };
        self.short += weight * (latency - self.short);
        // What is above `long` may be a queue: only a measurement raises it.
        self.long += self.weight * (self.short.min(self.long) - self.long);
        if self.long > 2.0 * self.short {
            self.long *= DRIFT;
        }
        self.trouble.usual_is(self.long);
    }

    fn start_measuring(&mut self, now: Moment) {
        // What starts before the queue has shrunk, a round trip later, tells nothing.
        let from = now + seconds(self.short);
        let until = from + seconds(self.short * MEASURE_TRIPS).max(MEASURE_AT_LEAST);
        self.phase = Phase::Measuring { from, until, calls: 0, total: 0.0 };
    }

    /// A call succeeded while the limit is halved.
    fn measure(&mut self, took: Duration, now: Moment) -> Option<LimitCause> {
        let Phase::Measuring { from, until, calls, total } = &mut self.phase else { return None };
        if now - took >= *from {
            *calls += 1;
            *total += took.as_secs_f64();
        }
        if *calls >= MEASURE_CALLS || now >= *until { self.measured(now) } else { None }
    }

    fn measured(&mut self, now: Moment) -> Option<LimitCause> {
        if let Phase::Measuring { calls, total, .. } = self.phase
            && calls > 0
        {
            let seen = total / f64::from(calls);
            let near = (self.long / 2.0..=self.long * 2.0).contains(&seen);
            self.long += if near { BELIEVED } else { 1.0 } * (seen - self.long);
            self.trouble.usual_is(self.long);
        }
        self.follow_on(now);
        Some(LimitCause::Measuring)
    }

    /// Leaves a measurement, and sets the time for the next.
    fn follow_on(&mut self, now: Moment) {
        let measure_at = now + seconds(self.long * MEASURE_EVERY_TRIPS).max(MEASURE_EVERY);
        self.phase = Phase::Following { measure_at };
        self.short = 0.0;
        self.window.clear();
    }

    fn decrease(&mut self, factor: f64, cause: LimitCause, now: Moment) -> LimitCause {
        self.trouble.decreasing(self.limit, now);
        self.limit = self.bounds.clamp(self.limit * factor);
        self.follow_on(now);
        cause
    }

    pub(super) fn limit(&self) -> u32 {
        match self.phase {
            Phase::Following { .. } => self.limit as u32,
            Phase::Measuring { .. } => self.bounds.clamp(self.limit / 2.0) as u32,
        }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = self.bounds.clamp(f64::from(limit));
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

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
