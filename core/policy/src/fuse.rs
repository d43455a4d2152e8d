//! The dead-letter fuse: tells an outage from poison, and keeps the backlog in an outage.
//!
//! # Why a fuse
//!
//! A message that can never be handled belongs with the dead letters. When *nothing* can be handled,
//! it is not the messages' fault: a bad deploy, a dropped table, a missing permission. A worker that
//! goes on then moves its whole queue, in order and at full speed, to where somebody must sort it by
//! hand. Uber's uForwarder (`DlqDispatchManager`) and Sentry's arroyo (`DlqLimit`) budget their dead
//! letters for this reason; arroyo by ratio and run length, which is what this does.
//!
//! # When it blows
//!
//! On a wanted dead letter, when one of these holds:
//!
//! - **Nearly nothing succeeds.** `min_run` dead letters or more, counted over the window or since the
//!   last success, whichever is more, and they are at least `ratio` of all that ended in the window.
//!   A handful of poison among successes stays below the ratio; ten poison messages at the start of a
//!   fresh worker stay below `min_run`. A queue so slow that the window holds only a few is caught by
//!   the run.
//! - **It has stopped succeeding.** `longest_run` since the last success, whatever the window holds:
//!   a schema change in full flight is noticed at once, not when the successes before it have aged.
//!
//! # States
//!
//! ```text
//!            blows                   `probe_interval` over
//!   Intact ----------> Blown -------------------------------> Probing --+ `probe_interval` over:
//!     ^                 ^                                      |  |  ^  | one more probe
//!     |                 +-------- a dead letter is wanted -----+  |  +--+
//!     +---------------------------- a success --------------------+
//!     +------------- reset, from any state
//! ```
//!
//! | state | dead letters | admits | success | dead letter wanted |
//! |---|---|---|---|---|
//! | Intact | allowed | all | counts | counts; may blow |
//! | Blown | held | one message when the interval is over, to Probing | ignored: its call is older | - |
//! | Probing | held | one more for each interval | mends, all counts at zero | back to Blown |
//!
//! So a queue of nothing but poison is neither lost nor tried in a hot loop: one message per interval.
//! Probes are paced by time alone, so one that never reports holds nothing up.

use crate::{Admission, Moment, PolicyError, counts::SlidingCounts};
use std::{fmt, time::Duration};

/// The settings of a [`Fuse`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FuseSettings {
    /// Over how long outcomes are counted; 10 ms or more. Default: 5 min.
    pub window: Duration,
    /// The share of dead letters at which it blows; above 0, at most 1. Default: 0.9.
    pub ratio: f64,
    /// Dead letters below which their share means nothing; at least 1. Default: 50.
    pub min_run: u32,
    /// Dead letters without a success in between at which it blows in any case; `min_run` or more.
    /// Default: 500.
    pub longest_run: u32,
    /// How long between two probes while it is blown; above zero. Default: 10 s.
    pub probe_interval: Duration,
}

impl Default for FuseSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(5 * 60),
            ratio: 0.9,
            min_run: 50,
            longest_run: 500,
            probe_interval: Duration::from_secs(10),
        }
    }
}

/// Whether a message may go to the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuseAnswer {
    /// It may.
    Allow,
    /// It may not: keep it in its queue.
    Hold,
}

/// What a fuse hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuseEvent {
    /// A message was handled.
    Success,
    /// A message was to go to the dead letters, whether it was allowed or held.
    DeadLetter,
}

/// What a fuse is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuseState {
    /// Dead letters are allowed.
    Intact,
    /// Dead letters are held, and nothing starts before the next probe.
    Blown {
        /// When it blew.
        since: Moment,
    },
    /// As `Blown`, and a probe is out.
    Probing {
        /// When it blew.
        since: Moment,
    },
}

/// A fuse blew or was mended, for telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuseTransition {
    /// It blew.
    Blew {
        /// Dead letters in the window.
        dead: u64,
        /// Successes in the window.
        succeeded: u64,
        /// Dead letters since the last success.
        run: u32,
    },
    /// A probe succeeded.
    Mended {
        /// How long it was blown.
        after: Duration,
    },
    /// An operator mended it.
    Reset {
        /// How long it was blown.
        after: Duration,
    },
}

/// A dead-letter fuse.
#[derive(Clone, Debug)]
pub struct Fuse {
    settings: FuseSettings,
    state: FuseState,
    /// Successes and dead letters while intact; empty in the other states.
    window: SlidingCounts,
    /// Dead letters since the last success while intact.
    run: u32,
    /// When the next probe may start. Set on blowing and by each probe; of no meaning while intact.
    next_probe: Moment,
}

impl Default for Fuse {
    fn default() -> Self {
        Self::from_valid(FuseSettings::default())
    }
}

impl Fuse {
    /// An intact fuse.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense.
    pub fn new(settings: FuseSettings) -> Result<Self, PolicyError> {
        check(&settings)?;
        Ok(Self::from_valid(settings))
    }

    fn from_valid(settings: FuseSettings) -> Self {
        Self {
            settings,
            state: FuseState::Intact,
            window: SlidingCounts::new(settings.window),
            run: 0,
            next_probe: Moment::ZERO,
        }
    }

    /// Whether a message may go to the dead letters. Changes nothing; [`Fuse::record`] it as well.
    #[must_use]
    pub const fn ask(&self, _now: Moment) -> FuseAnswer {
        match self.state {
            FuseState::Intact => FuseAnswer::Allow,
            FuseState::Blown { .. } | FuseState::Probing { .. } => FuseAnswer::Hold,
        }
    }

    /// Takes in how a message ended.
    pub fn record(&mut self, event: FuseEvent, now: Moment) -> Option<FuseTransition> {
        let transition = match (event, self.state) {
            (FuseEvent::Success, FuseState::Intact) => {
                self.window.advance(now);
                self.note_success();
                None
            }
            (FuseEvent::DeadLetter, FuseState::Intact) => {
                self.window.advance(now);
                self.window.bad();
                self.run = self.run.saturating_add(1);
                self.must_blow().then(|| self.blow(now))
            }
            (FuseEvent::Success, FuseState::Probing { since }) => {
                self.mend();
                Some(FuseTransition::Mended { after: now.since(since) })
            }
            (FuseEvent::DeadLetter, FuseState::Probing { since }) => {
                self.state = FuseState::Blown { since };
                None
            }
            (_, FuseState::Blown { .. }) => None,
        };
        self.after_change();
        transition
    }

    /// Counts a success without reading a clock, if the fuse is intact; else returns `false`, and
    /// [`Fuse::record`] must hear of it. It is counted at the time of the last call that had one,
    /// which is that of the last start.
    pub fn note_success(&mut self) -> bool {
        if self.state != FuseState::Intact {
            return false;
        }
        self.window.good();
        self.run = 0;
        true
    }

    /// How many of `want` messages may start: all while intact, else a probe when it is due.
    pub fn admit(&mut self, want: u32, now: Moment) -> Admission {
        let admission = match self.state {
            FuseState::Intact => {
                self.window.advance(now);
                Admission::all(want)
            }
            _ if want == 0 => Admission::all(0),
            FuseState::Blown { since } | FuseState::Probing { since } if now >= self.next_probe => {
                self.state = FuseState::Probing { since };
                self.next_probe = now + self.settings.probe_interval;
                let again_at = if want == 1 { Moment::NEVER } else { self.next_probe };
                Admission { granted: 1, again_at }
            }
            _ => Admission::none_until(self.next_probe),
        };
        self.after_change();
        admission
    }

    /// Gives back a probe that was admitted at `now` and not started, for want of another permit:
    /// it is due again at once.
    pub fn give_back(&mut self, now: Moment) {
        if let FuseState::Probing { since } = self.state {
            self.state = FuseState::Blown { since };
            self.next_probe = now;
        }
    }

    /// Until when nothing may start; `None` if something may start now.
    #[must_use]
    pub fn closed_until(&self, now: Moment) -> Option<Moment> {
        (self.state != FuseState::Intact && self.next_probe > now).then_some(self.next_probe)
    }

    /// Mends it by hand. All counts start from zero.
    pub fn reset(&mut self, now: Moment) -> Option<FuseTransition> {
        match self.state {
            FuseState::Intact => None,
            FuseState::Blown { since } | FuseState::Probing { since } => {
                self.mend();
                Some(FuseTransition::Reset { after: now.since(since) })
            }
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn state(&self) -> FuseState {
        self.state
    }

    fn must_blow(&self) -> bool {
        if self.run >= self.settings.longest_run {
            return true;
        }
        let counts = self.window.total();
        let dead = counts.bad.max(u64::from(self.run));
        dead >= u64::from(self.settings.min_run)
            && dead as f64 >= self.settings.ratio * (dead + counts.good) as f64
    }

    fn blow(&mut self, now: Moment) -> FuseTransition {
        let counts = self.window.total();
        let blew = FuseTransition::Blew { dead: counts.bad, succeeded: counts.good, run: self.run };
        self.window.clear();
        self.run = 0;
        self.state = FuseState::Blown { since: now };
        self.next_probe = now + self.settings.probe_interval;
        blew
    }

    fn mend(&mut self) {
        self.window.clear();
        self.run = 0;
        self.state = FuseState::Intact;
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
        match self.state {
            FuseState::Intact => {
                assert!(self.run < self.settings.longest_run, "overdue to blow: {self:?}");
            }
            FuseState::Blown { .. } | FuseState::Probing { .. } => {
                assert_eq!((self.window.total().sum(), self.run), (0, 0), "counts: {self:?}");
            }
        }
    }
}

fn check(settings: &FuseSettings) -> Result<(), PolicyError> {
    let FuseSettings { window, ratio, min_run, longest_run, probe_interval } = *settings;
    if window < Duration::from_millis(10) {
        return Err(PolicyError::new("window", window, "10 ms or more"));
    }
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(PolicyError::new("ratio", ratio, "above 0 and at most 1"));
    }
    if min_run == 0 {
        return Err(PolicyError::new("min_run", min_run, "at least 1"));
    }
    if longest_run < min_run {
        return Err(PolicyError::new("longest_run", longest_run, "`min_run` or more"));
    }
    if probe_interval.is_zero() {
        return Err(PolicyError::new("probe_interval", probe_interval, "above zero"));
    }
    Ok(())
}

impl fmt::Display for FuseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intact => "intact",
            Self::Blown { .. } => "blown",
            Self::Probing { .. } => "probing",
        })
    }
}

impl fmt::Display for FuseTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blew { dead, succeeded, run } => write!(
                f,
                "blown: {dead} messages were to be dead letters and {succeeded} succeeded, none of \
                 the last {run}; the backlog is kept and probed until one succeeds"
            ),
            Self::Mended { after } => write!(f, "mended after {after:?}: a probe succeeded"),
            Self::Reset { after } => write!(f, "mended after {after:?}, by hand"),
        }
    }
}
