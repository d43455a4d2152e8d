//! How many calls may run at once: fixed, or found out from how the system behind behaves.
//!
//! # Why adapt
//!
//! A database has a knee: beyond some number of concurrent calls, more of them add latency and no
//! throughput, and far beyond it throughput falls. Where the knee is changes with the query, the data
//! and the neighbours, so a number in a file is wrong most of the time. TCP solved the same problem
//! with a window that follows what comes back; so do these.
//!
//! | limit | goes by | for |
//! |---|---|---|
//! | [fixed](Concurrency::fixed) | nothing | a known pool |
//! | [AIMD](Concurrency::aimd) | losses, and latency above a threshold that you know | most databases |
//! | [Gradient2](Concurrency::gradient2) | losses, and latency against its own long average | an unknown system |
//!
//! What they have in common is here and in `sample.rs`: counting permits; outcomes gathered into
//! windows, so that one slow call decides nothing; and what counts as a *hang*.
//!
//! A system that hangs completes nothing, so nothing could be measured and a limit that learns from
//! completions would stay where it is, with a full load on a system that tries to recover.
//! [`Concurrency::tick`] brings a *censored* sample instead: the age of the oldest call, which is less
//! than its latency will be. It counts only if nothing at all has completed for a while, since one
//! stuck call among many that complete is that call's own trouble.

mod aimd;
mod fixed;
mod gradient2;
mod sample;

pub use aimd::AimdSettings;
pub use gradient2::Gradient2Settings;

use crate::{Admission, Moment, PolicyError, Signal};
use aimd::Aimd;
use fixed::Fixed;
use gradient2::Gradient2;
use std::{fmt, time::Duration};

/// Why a limit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitCause {
    /// There was room for more.
    Growth,
    /// Latency had risen.
    Latency,
    /// Too many calls failed.
    Failures,
    /// The system said that it is overloaded.
    Backpressure,
    /// Nothing completed any more.
    Hang,
    /// The limit was lowered for a moment, to see what latency is without a queue, or put back.
    Measuring,
}

/// A limit changed, for telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChange {
    /// What it was.
    pub from: u32,
    /// What it is.
    pub to: u32,
    /// Why.
    pub cause: LimitCause,
}

/// A concurrency limit: permits, and the algorithm that says how many there are.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// Permits taken. Raised by `admit`, lowered by `record` and `give_back`.
    in_flight: u32,
    /// What `algorithm` says, as a whole number: it is asked again whenever it has moved.
    limit: u32,
    algorithm: Algorithm,
}

#[derive(Clone, Debug)]
enum Algorithm {
    Fixed(Fixed),
    Aimd(Aimd),
    Gradient2(Box<Gradient2>),
}

impl Concurrency {
    /// A limit that stays as it is. Zero is raised to one: to stop a worker, pause it.
    #[must_use]
    pub fn fixed(limit: u32) -> Self {
        Self::of(Algorithm::Fixed(Fixed::new(limit)))
    }

    /// A limit that rises step by step, and falls by a factor on trouble.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense.
    pub fn aimd(settings: AimdSettings) -> Result<Self, PolicyError> {
        Ok(Self::of(Algorithm::Aimd(Aimd::new(settings)?)))
    }

    /// A limit that follows latency against its own long average.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense.
    pub fn gradient2(settings: Gradient2Settings) -> Result<Self, PolicyError> {
        Ok(Self::of(Algorithm::Gradient2(Box::new(Gradient2::new(settings)?))))
    }

    fn of(algorithm: Algorithm) -> Self {
        Self { in_flight: 0, limit: algorithm.limit(), algorithm }
    }

    /// Takes up to `want` permits. Only a completion can free another, so `again_at` is always
    /// [`Moment::NEVER`].
    pub fn admit(&mut self, want: u32, _now: Moment) -> Admission {
        let granted = want.min(self.limit.saturating_sub(self.in_flight));
        self.in_flight += granted;
        self.check();
        Admission { granted, again_at: Moment::NEVER }
    }

    /// Gives back permits that were taken and not used: nothing is learned from them.
    pub fn give_back(&mut self, unused: u32) {
        self.in_flight = self.in_flight.saturating_sub(unused);
        self.check();
    }

    /// Takes in how a call ended, and gives its permit back.
    pub fn record(&mut self, signal: Signal, now: Moment) -> Option<LimitChange> {
        let in_flight = self.in_flight;
        self.in_flight = in_flight.saturating_sub(1);
        let cause = match &mut self.algorithm {
            Algorithm::Fixed(_) => return None,
            Algorithm::Aimd(aimd) => aimd.record(signal, in_flight, now),
            Algorithm::Gradient2(gradient) => gradient.record(signal, in_flight, now),
        };
        self.moved(cause)
    }

    /// Looks at work that has not ended; call this about ten times a second. `oldest_in_flight` is
    /// how long the oldest running call has been running, `None` if nothing runs.
    pub fn tick(&mut self, now: Moment, oldest_in_flight: Option<Duration>) -> Option<LimitChange> {
        let cause = match &mut self.algorithm {
            Algorithm::Fixed(_) => return None,
            Algorithm::Aimd(aimd) => aimd.tick(oldest_in_flight, now),
            Algorithm::Gradient2(gradient) => gradient.tick(oldest_in_flight, now),
        };
        self.moved(cause)
    }

    /// Sets the limit from now on, within its bounds. An adaptive limit goes on from there. What runs
    /// above a lower limit runs on.
    pub fn set_limit(&mut self, limit: u32) {
        match &mut self.algorithm {
            Algorithm::Fixed(fixed) => fixed.set_limit(limit),
            Algorithm::Aimd(aimd) => aimd.set_limit(limit),
            Algorithm::Gradient2(gradient) => gradient.set_limit(limit),
        }
        self.limit = self.algorithm.limit();
        self.check();
    }

    /// Sets between what bounds an adaptive limit moves, and moves it between them. A fixed limit has
    /// none until they are set; from then on it is what it was set to, as far as they allow.
    ///
    /// # Errors
    ///
    /// If `min` is zero or above `max`; nothing is changed then.
    pub fn set_bounds(&mut self, min: u32, max: u32) -> Result<(), PolicyError> {
        let bounds = Bounds::new(min, max)?;
        match &mut self.algorithm {
            Algorithm::Fixed(fixed) => fixed.set_bounds(bounds),
            Algorithm::Aimd(aimd) => aimd.set_bounds(bounds),
            Algorithm::Gradient2(gradient) => gradient.set_bounds(bounds),
        }
        self.limit = self.algorithm.limit();
        self.check();
        Ok(())
    }

    /// How many calls may run at once.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// How many run. More than the limit for a while after it fell.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn moved(&mut self, cause: Option<LimitCause>) -> Option<LimitChange> {
        let change = cause.and_then(|cause| {
            let (from, to) = (self.limit, self.algorithm.limit());
            self.limit = to;
            (from != to).then_some(LimitChange { from, to, cause })
        });
        self.check();
        change
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Asserts what must always hold.
    #[doc(hidden)]
    pub fn invariants(&self) {
        assert!(self.limit >= 1, "a limit that lets nothing through: {self:?}");
        assert_eq!(self.limit, self.algorithm.limit(), "moved without a cause: {self:?}");
        match &self.algorithm {
            Algorithm::Fixed(fixed) => fixed.invariants(),
            Algorithm::Aimd(aimd) => aimd.invariants(),
            Algorithm::Gradient2(gradient) => gradient.invariants(),
        }
    }
}

impl Algorithm {
    fn limit(&self) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.limit(),
            Self::Aimd(aimd) => aimd.limit(),
            Self::Gradient2(gradient) => gradient.limit(),
        }
    }
}

/// Between what an adaptive limit moves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    min: f64,
    max: f64,
}

impl Bounds {
    fn new(min: u32, max: u32) -> Result<Self, PolicyError> {
        if min == 0 {
            return Err(PolicyError::new("min", min, "at least 1"));
        }
        if max < min {
            return Err(PolicyError::new("max", max, "`min` or more"));
        }
        Ok(Self { min: f64::from(min), max: f64::from(max) })
    }

    fn clamp(self, limit: f64) -> f64 {
        limit.clamp(self.min, self.max)
    }

    fn holds(self, limit: f64) -> bool {
        (self.min..=self.max).contains(&limit)
    }
}

impl fmt::Display for LimitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Growth => "room for more",
            Self::Latency => "latency has risen",
            Self::Failures => "calls failed",
            Self::Backpressure => "the system said that it is overloaded",
            Self::Hang => "nothing completes",
            Self::Measuring => "measuring latency without a queue",
        })
    }
}

impl fmt::Display for LimitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from, self.to, self.cause)
    }
}
