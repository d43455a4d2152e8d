//! Stops calls to a system that fails, and finds out with a few when it works again.
//!
//! # Why this design
//!
//! The idea is M. Nygard's ("Release It!", 2007): calls to a broken system cost it, and the caller,
//! and teach nothing. For a queue worker an open breaker is cheap, since what is not started stays in
//! the queue, uncharged. So it may open early, but must never count wrongly. Three things go wrong in
//! breakers in the wild, and are ruled out here:
//!
//! - *Counts that never decay*: a hundred failures spread over a month open it. Here they are kept
//!   over a sliding window, and mean nothing below a minimum throughput.
//! - *Late answers taken for probes*: calls started before it opened report, one after the other,
//!   while it probes, and open it again. Here every state that is entered is a new **generation**. A
//!   call carries the generation in which it started, and a report counts only in that same one.
//! - *Probes that never report* (a lost task, a message released) hold their slots for ever, and the
//!   breaker never closes. Here a neutral report gives the slot back, and slots whose calls are silent
//!   for `probe_timeout` are taken back.
//!
//! # States
//!
//! ```text
//!              too many failures                 open long enough
//!   Closed --------------------------> Open ----------------------> HalfOpen --+
//!     ^                                 ^                             |  |  ^  | probes silent:
//!     |                                 +------- a probe failed ------+  |  +--+ new generation
//!     +------------------------ `probes` probes succeeded ---------------+
//! ```
//!
//! | state | admits | a report of this generation | of another |
//! |---|---|---|---|
//! | Closed | all | counts; may open | ignored |
//! | Open | none, until its end | (there is none) | ignored |
//! | HalfOpen | `probes` less those out and those that succeeded | success: counts, may close. Failure: opens. Neutral: slot back | ignored |
//!
//! Each opening that follows on the last without a proper recovery lasts longer, by `growth`, up to
//! `longest_open`. Recovery is proper when it has stayed closed for a whole `window`.
//!
//! [`Signal::Backpressure`] counts as a failure: the concurrency limit answers it first, and a system
//! that refuses half of what a shrunken limit sends is better left alone for a while.

mod settings;

pub use settings::BreakerSettings;

use crate::{Admission, Moment, PolicyError, Signal, counts::SlidingCounts};
use std::{fmt, time::Duration};

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything is let through.
    Closed,
    /// Nothing is let through before `until`.
    Open {
        /// When probing may begin.
        until: Moment,
    },
    /// A few probes are let through.
    HalfOpen,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerCause {
    /// Too large a share of the window failed.
    Failures {
        /// Failures in the window.
        failed: u64,
        /// Outcomes in the window.
        of: u64,
    },
    /// This many failed in a row.
    Consecutive(u32),
    /// It was open for long enough.
    Due,
    /// A probe failed.
    ProbeFailed,
    /// All probes succeeded.
    Recovered,
}

/// A change of state, for telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerTransition {
    /// The state that it left.
    pub from: BreakerState,
    /// The state that it entered.
    pub to: BreakerState,
    /// Why.
    pub cause: BreakerCause,
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
    generation: u64,
    /// Outcomes of this generation while closed; empty in the other states.
    window: SlidingCounts,
    /// Failures since the last success while closed.
    in_a_row: u32,
    /// When it last closed.
    closed_at: Moment,
    /// Openings since the last proper recovery, less the first.
    reopenings: u32,
    probing: Probing,
}

/// The slots of the half-open state. Reset on entering it.
#[derive(Clone, Copy, Debug, Default)]
struct Probing {
    out: u32,
    succeeded: u32,
    /// When the probes that are out count as silent. Set by each grant.
    expires: Moment,
}

impl Breaker {
    /// A closed breaker.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense.
    pub fn new(settings: BreakerSettings) -> Result<Self, PolicyError> {
        settings.check()?;
        Ok(Self {
            settings,
            state: BreakerState::Closed,
            generation: 0,
            window: SlidingCounts::new(settings.window),
            in_a_row: 0,
            closed_at: Moment::ZERO,
            reopenings: 0,
            probing: Probing::default(),
        })
    }

    /// How many of `want` calls may start. Hand [`Breaker::generation`], as it is *after* this call,
    /// to each of them, and back to [`Breaker::record`], or give back what is not started.
    pub fn admit(&mut self, want: u32, now: Moment) -> Admission {
        // Whoever wants to see the transition polls first; then this finds nothing left to do.
        let _ = self.poll(now);
        let admission = match self.state {
            BreakerState::Closed => Admission::all(want),
            BreakerState::Open { until } => Admission::none_until(until),
            BreakerState::HalfOpen => self.admit_probes(want, now),
        };
        self.after_change();
        if want == 0 { Admission::all(0) } else { admission }
    }

    /// Gives back what was admitted in `admitted_generation` and not started: no outcome will be
    /// reported for it. If the breaker has moved on, its slots are gone, and this does nothing.
    pub fn give_back(&mut self, unused: u32, admitted_generation: u64) {
        if admitted_generation == self.generation {
            self.probing.out = self.probing.out.saturating_sub(unused);
        }
    }

    /// Takes in the outcome of a call that started in `started_generation`.
    pub fn record(
        &mut self,
        signal: Signal,
        started_generation: u64,
        now: Moment,
    ) -> Option<BreakerTransition> {
        if started_generation != self.generation {
            return None;
        }
        let transition = match self.state {
            BreakerState::Closed => self.record_closed(signal, now),
            BreakerState::Open { .. } => None,
            BreakerState::HalfOpen => self.record_probe(signal, now),
        };
        self.after_change();
        transition
    }

    /// Takes in successes of calls that started in `started_generation`, as many calls of
    /// [`Breaker::record`] would: one look at the window for all of them. Returns whether it could;
    /// if not, each is to be recorded.
    pub fn record_successes(&mut self, count: u32, started_generation: u64, now: Moment) -> bool {
        if started_generation != self.generation || self.state != BreakerState::Closed {
            return false;
        }
        self.window.advance(now);
        self.window.many_good(u64::from(count));
        self.in_a_row = 0;
        self.after_change();
        true
    }

    /// Does what is due by time alone: begins to probe, or takes back the slots of silent probes.
    ///
    /// [`Breaker::admit`] does the same; call this first in order to see the transition.
    pub fn poll(&mut self, now: Moment) -> Option<BreakerTransition> {
        match self.state {
            BreakerState::Open { until } if now >= until => {
                Some(self.enter(BreakerState::HalfOpen, BreakerCause::Due))
            }
            BreakerState::HalfOpen if self.probing.out > 0 && now >= self.probing.expires => {
                // What has succeeded so far stands; what is silent must not count later.
                self.probing.out = 0;
                self.generation += 1;
                None
            }
            _ => None,
        }
    }

    /// What it is doing. `Open` stays until somebody asks after its end.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// The number of the state that was entered last. Calls started now carry it.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Until when nothing is let through; `None` if something would be let through now. While all
    /// probes are out it is the time when their slots are taken back; a report may come first.
    #[must_use]
    pub fn closed_until(&self, now: Moment) -> Option<Moment> {
        let until = match self.state {
            BreakerState::Closed => return None,
            BreakerState::Open { until } => until,
            BreakerState::HalfOpen if self.free_slots() > 0 => return None,
            BreakerState::HalfOpen => self.probing.expires,
        };
        (until > now).then_some(until)
    }

    fn admit_probes(&mut self, want: u32, now: Moment) -> Admission {
        let granted = want.min(self.free_slots());
        if granted > 0 {
            self.probing.out += granted;
            self.probing.expires = now + self.settings.probe_timeout;
        }
        let again_at = if granted == want { Moment::NEVER } else { self.probing.expires };
        Admission { granted, again_at }
    }

    const fn free_slots(&self) -> u32 {
        self.settings.probes - self.probing.succeeded - self.probing.out
    }

    fn record_closed(&mut self, signal: Signal, now: Moment) -> Option<BreakerTransition> {
        match signal {
            Signal::Neutral => None,
            Signal::Success(_) => {
                self.window.advance(now);
                self.window.good();
                self.in_a_row = 0;
                None
            }
            Signal::Failure(_) | Signal::Backpressure => {
                self.window.advance(now);
                self.window.bad();
                self.in_a_row = self.in_a_row.saturating_add(1);
                let cause = self.trips()?;
                let proper = now.since(self.closed_at) >= self.settings.window;
                self.reopenings = match (self.ever_opened(), proper) {
                    (true, false) => self.reopenings.saturating_add(1),
                    _ => 0,
                };
                Some(self.open(cause, now))
            }
        }
    }

    fn record_probe(&mut self, signal: Signal, now: Moment) -> Option<BreakerTransition> {
        self.probing.out = self.probing.out.saturating_sub(1);
        match signal {
            Signal::Neutral => None,
            Signal::Success(_) => {
                self.probing.succeeded += 1;
                (self.probing.succeeded == self.settings.probes).then(|| {
                    self.closed_at = now;
                    self.enter(BreakerState::Closed, BreakerCause::Recovered)
                })
            }
            Signal::Failure(_) | Signal::Backpressure => {
                self.reopenings = self.reopenings.saturating_add(1);
                Some(self.open(BreakerCause::ProbeFailed, now))
            }
        }
    }

    /// Why it must open, if it must.
    fn trips(&self) -> Option<BreakerCause> {
        if self.settings.consecutive_failures.is_some_and(|limit| self.in_a_row >= limit) {
            return Some(BreakerCause::Consecutive(self.in_a_row));
        }
        let counts = self.window.total();
        let (failed, of) = (counts.bad, counts.sum());
        let enough = of >= u64::from(self.settings.min_throughput);
        let many = failed as f64 >= self.settings.failure_ratio * of as f64;
        (enough && many).then_some(BreakerCause::Failures { failed, of })
    }

    fn open(&mut self, cause: BreakerCause, now: Moment) -> BreakerTransition {
        let BreakerSettings { open_for, growth, longest_open, .. } = self.settings;
        let seconds = open_for.as_secs_f64() * growth.powf(f64::from(self.reopenings));
        let long =
            Duration::try_from_secs_f64(seconds).map_or(longest_open, |it| it.min(longest_open));
        self.enter(BreakerState::Open { until: now + long }, cause)
    }

    /// The only place where the state changes.
    fn enter(&mut self, to: BreakerState, cause: BreakerCause) -> BreakerTransition {
        let from = std::mem::replace(&mut self.state, to);
        self.generation += 1;
        self.window.clear();
        self.in_a_row = 0;
        self.probing = Probing::default();
        BreakerTransition { from, to, cause }
    }

    const fn ever_opened(&self) -> bool {
        self.generation > 0
    }

    fn after_change(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Asserts what must always hold.
    #[doc(hidden)]
    pub fn invariants(&self) {
        self.window.invariants();
        let Probing { out, succeeded, .. } = self.probing;
        if self.state == BreakerState::HalfOpen {
            assert!(out + succeeded <= self.settings.probes, "more probes than slots: {self:?}");
            assert!(succeeded < self.settings.probes, "recovered, and not closed: {self:?}");
        } else {
            assert_eq!(out + succeeded, 0, "probes while not half-open: {self:?}");
        }
        if self.state != BreakerState::Closed {
            assert_eq!(self.window.total().sum(), 0, "counts while not closed: {self:?}");
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

impl fmt::Display for BreakerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failed, of } => write!(f, "{failed} of {of} calls failed"),
            Self::Consecutive(count) => write!(f, "{count} calls failed in a row"),
            Self::Due => f.write_str("it was open for long enough"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::Recovered => f.write_str("all probes succeeded"),
        }
    }
}

impl fmt::Display for BreakerTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from, self.to, self.cause)
    }
}
