//! How long a failed message waits, and when it has failed too often.
//!
//! # Why a closed formula
//!
//! A message is retried by whichever worker sees it next, perhaps after a crash, perhaps on another
//! machine. So nothing may be kept in memory: the delay follows from the number of failures that is
//! stored with the message, and from a random number. It is
//!
//! ```text
//! delay = random(0 ..= min(cap, base * factor ^ (failed - 1)))
//! ```
//!
//! that is, exponential backoff with *full jitter* (Marc Brooker, "Exponential Backoff And Jitter",
//! AWS Architecture Blog, 2015). Messages that failed together, because their database was away,
//! would otherwise come back together; full jitter spreads them evenly, and of the variants compared
//! there it needs the fewest calls.
//!
//! # What bounds it
//!
//! | a message | is retried until | because |
//! |---|---|---|
//! | that failed ([`RetryPolicy::decide`]) | its attempts or its age are used up | it may be its own fault |
//! | that was throttled ([`RetryPolicy::throttled`]) | its age is used up | it is not at fault |
//!
//! No wait is ever longer than `cap`, whoever asked for it: brokers refuse long delays, and a number
//! sent by a system in distress must not park a message for a year.

use crate::PolicyError;
use std::{fmt, time::Duration};

/// How long a throttled message is retried when no `max_age` is set.
pub const THROTTLE_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest wait that can be set: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether the delay is drawn at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Evenly between zero and the backoff, so that what failed together does not come back together.
    #[default]
    Full,
    /// The backoff itself.
    None,
}

/// The settings of a [`RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// The wait after the first failure, before jitter; above zero, at most `cap`. Default: 1 s.
    pub base: Duration,
    /// By what each further wait grows; 1 or more. Default: 2.
    pub factor: f64,
    /// The longest wait, also for one that a handler asks for; at most a year. Default: 15 min.
    pub cap: Duration,
    /// How often a handler may be called for a message in all; at least 1. Default: 10.
    pub max_attempts: u32,
    /// A message that fails when it is this old is not retried. Default: none.
    pub max_age: Option<Duration>,
    /// Whether the wait is drawn at random. Default: full.
    pub jitter: Jitter,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(15 * 60),
            max_attempts: 10,
            max_age: None,
            jitter: Jitter::Full,
        }
    }
}

/// Decides about messages that failed. Keeps no state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryPolicy {
    settings: RetrySettings,
}

/// What becomes of a message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt, after this wait.
    After(Duration),
    /// No other attempt.
    Exhausted(Exhausted),
}

/// What was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The attempts.
    Attempts {
        /// Failures so far.
        made: u32,
        /// Attempts in all.
        allowed: u32,
    },
    /// The time.
    Age {
        /// How old the message is.
        age: Duration,
        /// How old it may become.
        allowed: Duration,
    },
}

impl RetryPolicy {
    /// A policy with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense.
    pub fn new(settings: RetrySettings) -> Result<Self, PolicyError> {
        let RetrySettings { base, factor, cap, max_attempts, max_age, jitter: _ } = settings;
        if cap.is_zero() || cap > LONGEST {
            return Err(PolicyError::new("cap", cap, "above zero and at most 365 days"));
        }
        if base.is_zero() || base > cap {
            return Err(PolicyError::new("base", base, "above zero and at most `cap`"));
        }
        if !factor.is_finite() || factor < 1.0 {
            return Err(PolicyError::new("factor", factor, "a number of 1 or more"));
        }
        if max_attempts == 0 {
            return Err(PolicyError::new("max_attempts", max_attempts, "at least 1"));
        }
        if max_age.is_some_and(|age| age.is_zero()) {
            return Err(PolicyError::new("max_age", max_age, "above zero, or not set"));
        }
        Ok(Self { settings })
    }

    /// What becomes of a message whose handler failed.
    ///
    /// `failed` counts the failures stored with the message, this one included. `age` is the time
    /// since it was enqueued, if known. `override_after` is the wait that the handler asks for: it
    /// is taken as it is, without jitter, but never above `cap`. `random` is drawn evenly from all
    /// of `u64`.
    ///
    /// Age is looked at now, not at the end of the wait: the last attempt may start up to one wait
    /// after `max_age`.
    #[must_use]
    pub fn decide(
        &self,
        failed: u32,
        age: Option<Duration>,
        override_after: Option<Duration>,
        random: u64,
    ) -> RetryDecision {
        let allowed = self.settings.max_attempts;
        if failed >= allowed {
            return RetryDecision::Exhausted(Exhausted::Attempts { made: failed, allowed });
        }
        if let Some(exhausted) = too_old(age, self.settings.max_age) {
            return RetryDecision::Exhausted(exhausted);
        }
        RetryDecision::After(match override_after {
            Some(after) => after.min(self.settings.cap),
            None => self.jittered(self.backoff(failed), random),
        })
    }

    /// What becomes of a message whose handler was told that the system behind it is overloaded.
    ///
    /// No attempt is charged, so only age bounds it: `max_age`, or [`THROTTLE_MAX_AGE`] if that is
    /// not set. A message of unknown age is retried without end: it is kept, and it is the
    /// concurrency limit that slows the calls.
    ///
    /// `failed` counts the failures stored with the message, which this is not. `after` is the wait
    /// that the overloaded system asks for: it is kept to, raised to `base` (there are no attempts
    /// that would end a hot loop), spread by up to a tenth more (all that were refused together got
    /// the same answer), and never above `cap`.
    #[must_use]
    pub fn throttled(
        &self,
        failed: u32,
        age: Option<Duration>,
        after: Option<Duration>,
        random: u64,
    ) -> RetryDecision {
        let bound = self.settings.max_age.unwrap_or(THROTTLE_MAX_AGE);
        if let Some(exhausted) = too_old(age, Some(bound)) {
            return RetryDecision::Exhausted(exhausted);
        }
        let Some(after) = after else {
            // Between half and all of the backoff: full jitter may say "now" again and again.
            let backoff = self.backoff(failed.saturating_add(1));
            let half = backoff / 2;
            return RetryDecision::After(half + self.jittered(backoff - half, random));
        };
        let after = after.clamp(self.settings.base, self.settings.cap);
        let spread = self.jittered(after / 10, random);
        RetryDecision::After(match self.settings.jitter {
            Jitter::Full => (after + spread).min(self.settings.cap),
            Jitter::None => after,
        })
    }

    /// The longest wait that is ever decided on.
    #[must_use]
    pub const fn longest_delay(&self) -> Duration {
        self.settings.cap
    }

    /// How often a handler may be called for a message in all.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    /// All settings.
    #[must_use]
    pub const fn settings(&self) -> &RetrySettings {
        &self.settings
    }

    /// The wait after this many failures, before jitter.
    fn backoff(&self, failed: u32) -> Duration {
        let RetrySettings { base, factor, cap, .. } = self.settings;
        let growth = factor.powf(f64::from(failed.saturating_sub(1)));
        // Infinity and what no `Duration` holds end in the cap.
        Duration::try_from_secs_f64(base.as_secs_f64() * growth).map_or(cap, |wait| wait.min(cap))
    }

    fn jittered(&self, wait: Duration, random: u64) -> Duration {
        match self.settings.jitter {
            Jitter::None => wait,
            Jitter::Full => {
                // A year is less than 2^55 ns: neither the sum nor the product overflows.
                let spread = ((wait.as_nanos() + 1) * u128::from(random)) >> 64;
                Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX))
            }
        }
    }
}

fn too_old(age: Option<Duration>, allowed: Option<Duration>) -> Option<Exhausted> {
    match (age, allowed) {
        (Some(age), Some(allowed)) if age >= allowed => Some(Exhausted::Age { age, allowed }),
        _ => None,
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts { made, allowed } => {
                write!(f, "failed {made} times, of {allowed} attempts allowed")
            }
            Self::Age { age, allowed } => {
                write!(f, "{age:?} old, of {allowed:?} allowed")
            }
        }
    }
}
