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
//! where `short` is the mean latency of the last window and `long` an average over many. Averages
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
//! Between measurements `long` moves as in the original, and falls faster when it is more than twice
//! what is seen.
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
    sample::{Gathered, Trouble, Window},
};
use crate::{Moment, PolicyError, Signal};
use std::time::Duration;

/// What is left of the limit after a loss or backpressure, and in a hang.
const LOSS: f64 = 0.75;
const HANG: f64 = 0.5;
/// By what the limit grows where it is known to have been fine.
const FAST: f64 = 1.5;
/// How often latency without a queue is measured; for slow calls, this many round trips.
const MEASURE_EVERY: Duration = Duration::from_secs(3);
const MEASURE_EVERY_TRIPS: f64 = 40.0;
/// How many calls make a measurement, and how many round trips it may last.
const MEASURE_CALLS: u32 = 20;
const MEASURE_TRIPS: f64 = 6.0;
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
    /// Over how many windows, of 50 ms or more, the long average goes; at least 10. Default: 600.
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
    window: Window,
    trouble: Trouble,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Following { measure_at: Moment },
    Measuring { since: Moment, until: Moment, calls: u32, total: f64 },
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
            window: Window::default(),
            trouble: Trouble::new(),
            phase: Phase::Following { measure_at: Moment::ZERO },
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
        if let Phase::Measuring { .. } = self.phase
            && let Signal::Success(took) = signal
        {
            return self.measure(took, now);
        }
        let gathered = self.window.add(signal, in_flight, now)?;
        if gathered.lossy {
            return Some(self.decrease(LOSS, LimitCause::Failures, now));
        }
        let short = gathered.latency?;
        self.follow(short, gathered, now)
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

    /// A window has closed: moves the long average and the limit.
    fn follow(&mut self, short: f64, gathered: Gathered, now: Moment) -> Option<LimitCause> {
        if self.long == 0.0 {
            self.long = short;
        }
        // One window of horror, such as the end of a hang, must not pass for the long run.
        self.long += self.weight * (short.min(self.long * 2.0) - self.long);
        if self.long > 2.0 * short {
            self.long *= DRIFT;
        }
        self.trouble.usual_is(self.long);
        if gathered.peak * 2.0 < self.limit.floor() {
            return None;
        }
        let before = self.limit;
        let gradient = (self.tolerance * self.long / short).clamp(0.5, 1.0);
        let target = gradient * self.limit + self.queue;
        let step = self.limit + self.smoothing * (target - self.limit);
        let fast =
            if gradient < 1.0 { 0.0 } else { (self.limit * FAST).min(self.trouble.fast_until) };
        self.limit = self.bounds.clamp(step.max(fast));
        if self.limit > before {
            self.trouble.growing();
        }
        if let Phase::Following { measure_at } = self.phase
            && now >= measure_at
        {
            self.start_measuring(now);
            return Some(LimitCause::Measuring);
        }
        Some(if self.limit < before { LimitCause::Latency } else { LimitCause::Growth })
    }

    fn start_measuring(&mut self, now: Moment) {
        let until = now + trips(self.long, MEASURE_TRIPS).max(Duration::from_millis(250));
        self.phase = Phase::Measuring { since: now, until, calls: 0, total: 0.0 };
    }

    /// A call succeeded while the limit is halved.
    fn measure(&mut self, took: Duration, now: Moment) -> Option<LimitCause> {
        let settled = trips(self.long, 1.0);
        let Phase::Measuring { since, until, calls, total } = &mut self.phase else { return None };
        // What started earlier, or while the queue from before was still there, tells nothing.
        if now - took >= *since + settled {
            *calls += 1;
            *total += took.as_secs_f64();
        }
        if *calls >= MEASURE_CALLS || now >= *until {
            return self.measured(now);
        }
        None
    }

    fn measured(&mut self, now: Moment) -> Option<LimitCause> {
        if let Phase::Measuring { calls, total, .. } = self.phase
            && calls > 0
        {
            self.long = total / f64::from(calls);
            self.trouble.usual_is(self.long);
        }
        self.follow_on(now);
        Some(LimitCause::Measuring)
    }

    /// Leaves a measurement, and sets the time for the next.
    fn follow_on(&mut self, now: Moment) {
        let measure_at = now + trips(self.long, MEASURE_EVERY_TRIPS).max(MEASURE_EVERY);
        self.phase = Phase::Following { measure_at };
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

fn trips(latency: f64, count: f64) -> Duration {
    Duration::try_from_secs_f64(latency * count).unwrap_or(Duration::MAX)
}
