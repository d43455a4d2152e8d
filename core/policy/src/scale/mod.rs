//! How many workers the backlog needs, and why.
//!
//! # Why not the length of the queue
//!
//! The usual rule, workers = backlog / threshold, knows neither how fast work arrives nor how fast
//! a worker is. Its threshold must be found by trial, is wrong again when either changes, and
//! asks for most workers just when a struggling database makes the queue long. This policy asks
//! for what is needed to keep up with what arrives, and to work off what is waiting in a stated
//! time:
//!
//! ```text
//! needed = (arrivals / utilisation + backlog / drain time) / rate of a worker
//! ```
//!
//! | input | from |
//! |---|---|
//! | arrivals | what was handled and by how much the backlog changed, as level and trend (C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages", 1957), looked at `start_up` ahead, since that is when a worker asked for now begins |
//! | backlog | what will be waiting by then |
//! | drain time | `target_drain`; less, where the oldest message would get older than `target_age` |
//! | rate of a worker | what a worker handles per second while it is busy, learned |
//!
//! Where the system behind is the bottleneck, more workers would only press harder: the answer is
//! then never more than there are. A single stuck message is one message of backlog, however old.
//!
//! ```text
//!                       needed > workers, and not held
//!   +-------------+  ------------------------------------->  +-------------+
//!   |   enough    |                                          |  scale out  |  at once
//!   +-------------+  <-------------------------------------  +-------------+
//!      |       ^                  workers came
//!      |       |
//!      |       +----------------------------------+
//!      |   the most needed within `hold` is less  |
//!      +------------------------------->  +-------------+   nothing came within `idle`   +------+
//!                                         |  scale in   | -----------------------------> | min  |
//!                                         +-------------+                                +------+
//! ```

mod estimate;

use crate::{Moment, PolicyError};
use estimate::{Arrivals, Pace, Peak};
use std::{fmt, time::Duration};

/// Workers may be fewer or more than needed by this share before their number changes.
const TOLERANCE: f64 = 0.1;
/// What is waiting is to be worked off in no less than this: a shorter time asks for workers that
/// would come too late to help.
const LEAST_DRAIN: Duration = Duration::from_secs(10);

/// The settings of the scaling policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleSettings {
    /// The fewest workers; 0: none when there is nothing to do. Default: 0.
    pub min: u32,
    /// The most workers; at least 1. Default: 32.
    pub max: u32,
    /// In what time a backlog is to be worked off; at least 1 s. Default: 1 minute.
    pub target_drain: Duration,
    /// How old a message may get; at least 1 s. Default: none.
    pub target_age: Option<Duration>,
    /// How busy workers are to be with what arrives; above 0, at most 1. Default: 0.8.
    pub utilisation: f64,
    /// How long it takes from the answer to a new worker at work. Default: 30 s.
    pub start_up: Duration,
    /// For how long fewer workers must have been enough before some go. Default: 2 minutes.
    pub hold: Duration,
    /// After how long without any arrival the number goes to `min`. Default: 1 minute.
    pub idle: Duration,
}

impl Default for ScaleSettings {
    fn default() -> Self {
        Self {
            min: 0,
            max: 32,
            target_drain: Duration::from_secs(60),
            target_age: None,
            utilisation: 0.8,
            start_up: Duration::from_secs(30),
            hold: Duration::from_secs(120),
            idle: Duration::from_secs(60),
        }
    }
}

/// What holds the workers down that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Held {
    /// Nothing: they take as much as they can.
    #[default]
    Free,
    /// The system behind: a limit has fallen below its ceiling on its account, or a rate is used up.
    Downstream,
    /// A breaker is open.
    Breaker,
}

/// What was read of the queue and its workers, all at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScaleReading {
    /// Messages to be handled: ready, or handed out and not settled.
    pub backlog: u64,
    /// Since when the oldest of them has been due.
    pub oldest_age: Option<Duration>,
    /// Messages that have left the queue so far: acknowledged, dead, dropped. Only its growth
    /// counts; where it falls, a worker has started anew.
    pub handled: u64,
    /// Workers at work.
    pub workers: u32,
    /// For how long workers have been busy so far, all added up: one with half of its permits in use
    /// is busy for half of the time. Only its growth counts; where it falls, a worker has started anew.
    pub busy: Duration,
    /// What holds them down.
    pub held: Held,
}

/// Why the answer is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleReason {
    /// Nothing to do, and nothing has come of late.
    Idle,
    /// There are as many as are needed.
    Enough,
    /// There is a backlog to work off.
    Backlog,
    /// More arrives than the workers can handle, or soon will.
    Arrivals,
    /// The oldest message is, or would get, too old.
    OldestAge,
    /// The system behind is the bottleneck: more workers would not help.
    HeldDown,
    /// The breaker is open: more workers would not help.
    BreakerOpen,
    /// Fewer would do, but not for long enough to let some go.
    Hysteresis,
    /// More are needed than are allowed.
    AtMaximum,
    /// How fast a worker is, is not known yet.
    Learning,
}

impl ScaleReason {
    /// Its name in text: `backlog`, `held_down`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Enough => "enough",
            Self::Backlog => "backlog",
            Self::Arrivals => "arrivals",
            Self::OldestAge => "oldest_age",
            Self::HeldDown => "held_down",
            Self::BreakerOpen => "breaker_open",
            Self::Hysteresis => "hysteresis",
            Self::AtMaximum => "at_maximum",
            Self::Learning => "learning",
        }
    }
}

impl fmt::Display for ScaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many workers there should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleAdvice {
    /// This many.
    pub desired_workers: u32,
    /// Why.
    pub because: ScaleReason,
    /// How long the backlog lasts with the workers that there are; `None`: it does not shrink, or
    /// that is not known.
    pub time_to_drain: Option<Duration>,
    /// Messages that arrive per second.
    pub arrival_rate: f64,
    /// Messages that a busy worker handles per second; `None`: not known yet.
    pub worker_rate: Option<f64>,
}

/// The scaling policy. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Scale {
    settings: ScaleSettings,
    last: Option<(Moment, ScaleReading)>,
    arrivals: Arrivals,
    pace: Pace,
    peak: Peak,
    /// When something last arrived or was waiting.
    active_at: Moment,
}

impl Scale {
    /// A policy that knows nothing yet.
    ///
    /// # Errors
    /// [`PolicyError`] names the setting that is out of range.
    pub fn new(settings: ScaleSettings) -> Result<Self, PolicyError> {
        let second = Duration::from_secs(1);
        if settings.max == 0 {
            return Err(PolicyError::new("max", settings.max, "at least 1"));
        }
        if settings.min > settings.max {
            return Err(PolicyError::new("min", settings.min, "at most `max`"));
        }
        if !(settings.utilisation > 0.0 && settings.utilisation <= 1.0) {
            let range = "above 0 and at most 1";
            return Err(PolicyError::new("utilisation", settings.utilisation, range));
        }
        let times = [
            ("target_drain", settings.target_drain),
            ("target_age", settings.target_age.unwrap_or(second)),
        ];
        for (name, time) in times {
            if time < second {
                return Err(PolicyError::new(name, format!("{time:?}"), "at least 1 s"));
            }
        }
        Ok(Self {
            settings,
            last: None,
            arrivals: Arrivals::default(),
            pace: Pace::default(),
            peak: Peak::default(),
            active_at: Moment::ZERO,
        })
    }

    /// Takes a reading, and says how many workers there should be. Every 5 to 30 seconds is fine.
    pub fn observe(&mut self, reading: ScaleReading, now: Moment) -> ScaleAdvice {
        self.learn(&reading, now);
        let (needed, cause) = self.needed(&reading);
        let most = self.peak.push(needed, now, self.settings.hold);
        let idle = reading.backlog == 0 && now.since(self.active_at) >= self.settings.idle;
        let (desired, because) = if idle {
            (self.settings.min, ScaleReason::Idle)
        } else {
            self.decide(&reading, needed, most, cause)
        };
        let time_to_drain = self.time_to_drain(&reading);
        self.last = Some((now, reading));
        ScaleAdvice {
            desired_workers: desired.clamp(self.settings.min, self.settings.max),
            because,
            time_to_drain,
            arrival_rate: self.arrivals.level(),
            worker_rate: self.pace.rate(),
        }
    }

    fn learn(&mut self, reading: &ScaleReading, now: Moment) {
        let Some((at, last)) = self.last else {
            self.active_at = now;
            return;
        };
        let seconds = now.since(at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let handled = reading.handled.checked_sub(last.handled).unwrap_or(reading.handled) as f64;
        let arrived = (handled + reading.backlog as f64 - last.backlog as f64).max(0.0);
        if arrived > 0.0 || reading.backlog > 0 {
            self.active_at = now;
        }
        self.arrivals.push(arrived / seconds, seconds);
        // Held down, a worker is slower than it is, and more of them would be slower still.
        if reading.held == Held::Free && last.held == Held::Free {
            // All the time between the two readings. How busy they are at its ends says little of it:
            // a worker that has just begun would seem twice as fast as it is.
            let busy = reading.busy.checked_sub(last.busy).unwrap_or(reading.busy);
            self.pace.push(handled / seconds, busy.as_secs_f64() / seconds, seconds);
        }
    }

    /// How many workers are needed, as a fraction, and what for; `None` where nobody knows yet how
    /// fast they are.
    fn needed(&self, reading: &ScaleReading) -> (Option<f64>, ScaleReason) {
        let Some(rate) = self.pace.rate() else { return (None, ScaleReason::Learning) };
        let ahead = self.settings.start_up.as_secs_f64();
        let arrivals = self.arrivals.ahead(ahead);
        // What the workers at hand will have left over when others could have come.
        let capacity = match reading.held {
            Held::Free => f64::from(reading.workers) * rate,
            Held::Downstream | Held::Breaker => 0.0,
        };
        let in_hand = f64::from(reading.workers);
        let backlog = reading.backlog as f64;
        let waiting = (backlog + (self.arrivals.level() - capacity) * ahead)
            .clamp(0.0, backlog.max(arrivals * ahead));
        let waiting = (waiting - in_hand).max(0.0);
        let (drain, aged) = self.drain_time(reading);
        let keep_up = arrivals / self.settings.utilisation / rate;
        let catch_up = waiting / drain.as_secs_f64() / rate;
        let cause = match () {
            () if catch_up <= keep_up => ScaleReason::Arrivals,
            () if aged => ScaleReason::OldestAge,
            () => ScaleReason::Backlog,
        };
        (Some(keep_up + catch_up), cause)
    }

    /// In what time the backlog is to be gone, and whether that is on account of its age.
    fn drain_time(&self, reading: &ScaleReading) -> (Duration, bool) {
        let by_age = self.settings.target_age.map(|most| {
            most.saturating_sub(reading.oldest_age.unwrap_or_default()).max(LEAST_DRAIN)
        });
        match by_age {
            Some(left) if left < self.settings.target_drain => (left, true),
            _ => (self.settings.target_drain, false),
        }
    }

    fn decide(
        &self,
        reading: &ScaleReading,
        needed: Option<f64>,
        most: f64,
        cause: ScaleReason,
    ) -> (u32, ScaleReason) {
        let workers = reading.workers;
        let Some(needed) = needed else { return (workers.max(1), ScaleReason::Learning) };
        let wanted = whole(needed);
        if wanted > workers {
            return match reading.held {
                Held::Downstream if workers > 0 => (workers, ScaleReason::HeldDown),
                Held::Breaker if workers > 0 => (workers, ScaleReason::BreakerOpen),
                _ if workers >= self.settings.max => (self.settings.max, ScaleReason::AtMaximum),
                _ if needed <= f64::from(workers) * (1.0 + TOLERANCE) => {
                    (workers, ScaleReason::Enough)
                }
                _ if wanted > self.settings.max => (self.settings.max, ScaleReason::AtMaximum),
                _ => (wanted, cause),
            };
        }
        let kept = whole(most).max(1);
        if kept >= workers || most > f64::from(workers) * (1.0 - TOLERANCE) {
            let hold = wanted < workers && kept >= workers;
            (workers, if hold { ScaleReason::Hysteresis } else { ScaleReason::Enough })
        } else {
            (kept, ScaleReason::Enough)
        }
    }

    fn time_to_drain(&self, reading: &ScaleReading) -> Option<Duration> {
        if reading.backlog == 0 {
            return Some(Duration::ZERO);
        }
        let capacity = match reading.held {
            Held::Free => f64::from(reading.workers) * self.pace.rate()?,
            Held::Downstream => self.pace.total()?,
            Held::Breaker => return None,
        };
        let spare = capacity - self.arrivals.level();
        let seconds = reading.backlog as f64 / spare;
        (spare > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }

    /// Panics if the policy contradicts itself. Looks at everything, so it is for tests.
    pub fn invariants(&self) {
        self.arrivals.invariants();
        self.pace.invariants();
        self.peak.invariants();
    }
}

/// The next whole number of workers, where a hair above one is still that one.
fn whole(workers: f64) -> u32 {
    // Saturates, as float to integer casts do.
    (workers - 0.01).max(0.0).ceil() as u32
}

#[cfg(test)]
mod tests;
