//! How many calls may start per second: a token bucket.
//!
//! # Why a token bucket, and why in integers
//!
//! A bucket that fills at a rate and holds a burst allows at most `burst + rate * t` in any time `t`
//! (J. Turner, "New Directions in Communications", IEEE Communications Magazine 24(10), 1986), which
//! is the promise that owners of databases and remote APIs ask for. A counter per second lets twice
//! the rate through around each full second.
//!
//! A bucket in floating point forgets fractions: at 0.01 per second, asked every millisecond, each
//! step adds 1e-5 of a token to a much larger number, and rounding adds up over days. Here a token is
//! 10^9 * 2^50 *drops*, so that a rate per second is `rate * 2^50` drops per nanosecond; that is
//! rounded once, when the rate is set, by less than a billionth, and all sums are exact in `u128`.
//!
//! Nothing runs in the background: the level is brought up to date when somebody asks.

use crate::{Admission, Moment, PolicyError};

/// Drops per nanosecond for a rate of one token per second.
const PER_NANO: u64 = 1 << 50;
/// Drops in a token.
const TOKEN: u128 = 1_000_000_000 * PER_NANO as u128;
/// The rates that can be kept exactly enough.
const SLOWEST: f64 = 1e-6;
const FASTEST: f64 = 1e9;

/// A token bucket. Starts full.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBucket {
    rate: f64,
    burst: u32,
    /// What flows in, in drops per nanosecond. Follows from `rate`.
    inflow: u128,
    /// What is in the bucket, in drops; at most `burst` tokens.
    level: u128,
    /// Until when the inflow is in `level`. Never moves back.
    filled_to: Moment,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens into which `rate` tokens flow per second.
    ///
    /// # Errors
    ///
    /// If `rate` is not between 0.000001 and 1,000,000,000 per second, or `burst` is zero.
    pub fn new(rate: f64, burst: u32) -> Result<Self, PolicyError> {
        let inflow = inflow(rate)?;
        check_burst(burst)?;
        Ok(Self { rate, burst, inflow, level: tokens(burst), filled_to: Moment::ZERO })
    }

    /// Takes up to `want` tokens. If fewer than `want` are there, `again_at` is when the next one is.
    pub fn admit(&mut self, want: u32, now: Moment) -> Admission {
        self.fill(now);
        // The common case, without a division: there is enough for all.
        let all = tokens(want);
        let admission = if all <= self.level {
            self.level -= all;
            Admission::all(want)
        } else {
            let granted = u32::try_from(self.level / TOKEN).unwrap_or(u32::MAX);
            self.level -= tokens(granted);
            Admission { granted, again_at: self.next_token() }
        };
        self.check();
        admission
    }

    /// Gives back tokens that were taken and not used. What does not fit into the bucket is lost.
    pub fn refund(&mut self, unused: u32) {
        self.level = self.level.saturating_add(tokens(unused)).min(tokens(self.burst));
        self.check();
    }

    /// Changes rate and burst from `now` on. What flowed in until now stays, as far as it fits:
    /// neither a full bucket nor an empty one comes of it.
    ///
    /// # Errors
    ///
    /// As [`TokenBucket::new`]; nothing is changed then.
    pub fn set_rate(&mut self, rate: f64, burst: u32, now: Moment) -> Result<(), PolicyError> {
        let inflow = inflow(rate)?;
        check_burst(burst)?;
        self.fill(now);
        self.level = self.level.min(tokens(burst));
        (self.rate, self.burst, self.inflow) = (rate, burst, inflow);
        self.check();
        Ok(())
    }

    /// Tokens per second.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Tokens that the bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Adds what flowed in since the last time. Time that went backwards adds nothing.
    fn fill(&mut self, now: Moment) {
        let nanos = now.as_nanos().saturating_sub(self.filled_to.as_nanos());
        if nanos > 0 {
            let inflow = self.inflow.saturating_mul(u128::from(nanos));
            self.level = self.level.saturating_add(inflow).min(tokens(self.burst));
            self.filled_to = now;
        }
    }

    /// When the level reaches the next whole token.
    fn next_token(&self) -> Moment {
        let missing = TOKEN - self.level % TOKEN;
        let nanos = u64::try_from(missing.div_ceil(self.inflow)).unwrap_or(u64::MAX);
        Moment::from_nanos(self.filled_to.as_nanos().saturating_add(nanos))
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Asserts what must always hold.
    #[doc(hidden)]
    pub fn invariants(&self) {
        assert!(self.level <= tokens(self.burst), "more than a burst in the bucket: {self:?}");
        assert!(self.inflow > 0 && self.burst > 0, "a bucket that never grants: {self:?}");
    }
}

fn tokens(count: u32) -> u128 {
    u128::from(count) * TOKEN
}

fn inflow(rate: f64) -> Result<u128, PolicyError> {
    if (SLOWEST..=FASTEST).contains(&rate) {
        Ok((rate * PER_NANO as f64).round() as u128)
    } else {
        Err(PolicyError::new("rate", rate, "between 0.000001 and 1000000000 per second"))
    }
}

fn check_burst(burst: u32) -> Result<(), PolicyError> {
    if burst == 0 { Err(PolicyError::new("burst", burst, "at least 1")) } else { Ok(()) }
}
