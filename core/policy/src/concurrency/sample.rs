//! What the adaptive limits share: outcomes gathered into windows, and the tell-tales of trouble.
//!
//! Windows, because single latencies are noise: of exponential service times every 150th is five
//! times the mean. A window closes after [`SHORT`] if it holds [`ENOUGH`] calls, else after [`LONG`].
//! Adding to one is a few additions; the division is done once when it closes.
//!
//! Losses are not judged window by window: one among ten is chance, and where calls are few, one may
//! be all that a window holds. They are judged by Page's CUSUM (E. S. Page, "Continuous Inspection
//! Schemes", Biometrika, 1954) over all calls since the last decrease: each call adds to a score how
//! much likelier its outcome is in an overloaded system than in a sound one, as a logarithm; the
//! score never falls below zero, and it is overload from [`ALARM`] on. So there is a least number of
//! samples (six losses in a row), and a score that rises only while more than 18.6% are lost. Mean
//! numbers of calls to an alarm, looked at every ten calls (by simulation):
//!
//! | lost | 3% | 5% | 10% | 15% | 20% | 30% | 50% | all |
//! |---|---|---|---|---|---|---|---|---|
//! | calls | over 200,000 | over 150,000 | 11,000 | 500 | 140 | 52 | 20 | 10 |
//!
//! After a decrease the calls that had started before it come back, slow or failed, and tell nothing
//! about what the decrease did. As TCP reacts once per round trip, so a call counts only if it
//! started after the last decrease: [`Trouble::is_stale`].

use crate::{Moment, Signal};
use std::time::Duration;

/// When a window closes that holds [`ENOUGH`].
const SHORT: Duration = Duration::from_millis(50);
/// When a window closes with whatever it holds.
const LONG: Duration = Duration::from_millis(500);
/// Calls whose mean means something.
const ENOUGH: u32 = 10;
/// What a loss adds to the score: ln(0.3 / 0.1). A sound system loses up to a tenth of its calls (a
/// constraint violated now and then, a deadlock), an overloaded one three tenths or more.
const LOST: f64 = 1.098_612_288_668_109_8;
/// What a success adds: ln((1 - 0.3) / (1 - 0.1)).
const KEPT: f64 = -0.251_314_428_280_906_1;
/// The score that speaks of overload.
const ALARM: f64 = 6.0;
/// How long nothing may complete before that is a hang, and how long between two decreases in one.
const SILENCE: Duration = Duration::from_millis(250);
/// For slow calls it is this many times their usual latency.
const SILENCE_FACTOR: f64 = 4.0;
/// Between which bounds two decreases for backpressure are at least apart. It is the usual latency.
const PAUSE: (f64, f64) = (0.1, 1.0);

/// Outcomes that are being gathered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    opened: Moment,
    succeeded: u32,
    lost: u32,
    total_nanos: u64,
    peak: u32,
    /// How far the losses since the last `clear` speak of overload.
    score: f64,
}

/// What a window held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    /// The mean latency of what succeeded, in seconds; `None` if nothing did.
    pub(super) latency: Option<f64>,
    /// Whether more fail than a sound system lets fail.
    pub(super) lossy: bool,
    /// The most that was in flight.
    pub(super) peak: f64,
    /// How many of the shortest windows it lasted; at least one.
    pub(super) windows: f64,
}

impl Window {
    /// Adds an outcome. Returns what was gathered if that closed the window.
    pub(super) fn add(&mut self, signal: Signal, in_flight: u32, now: Moment) -> Option<Gathered> {
        if self.succeeded + self.lost == 0 {
            self.opened = now;
        }
        self.peak = self.peak.max(in_flight);
        match signal {
            Signal::Success(took) => {
                self.succeeded += 1;
                self.score = (self.score + KEPT).max(0.0);
                let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                self.total_nanos = self.total_nanos.saturating_add(nanos);
            }
            Signal::Failure(_) => {
                self.lost += 1;
                self.score += LOST;
            }
            Signal::Backpressure | Signal::Neutral => return None,
        }
        let age = now.since(self.opened);
        let full = self.succeeded + self.lost >= ENOUGH && age >= SHORT;
        (full || age >= LONG).then(|| self.close(age))
    }

    fn close(&mut self, age: Duration) -> Gathered {
        let Self { succeeded, total_nanos, peak, score, .. } = *self;
        let latency = (succeeded > 0).then(|| total_nanos as f64 / 1e9 / f64::from(succeeded));
        *self = Self { score, ..Self::default() };
        let windows = (age.as_secs_f64() / SHORT.as_secs_f64()).max(1.0);
        Gathered { latency, lossy: score >= ALARM, peak: f64::from(peak), windows }
    }

    /// Forgets everything, as after a decrease, which has to show what it does first.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// When the limit was lowered last, and how far it may grow back fast.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    /// When the limit was lowered last for trouble.
    decreased: Option<Moment>,
    /// When anything completed last.
    completed: Moment,
    /// The usual latency, in seconds; zero when unknown.
    usual: f64,
    /// Up to where growth is fast: half of what the limit was when trouble began, as in TCP's slow
    /// start. Beyond it growth feels its way.
    pub(super) fast_until: f64,
    /// Whether the limit has grown since the last decrease.
    grown: bool,
}

impl Trouble {
    pub(super) const fn new() -> Self {
        Self { decreased: None, completed: Moment::ZERO, usual: 0.0, fast_until: 0.0, grown: true }
    }

    /// Whether a call that took this long started before the last decrease.
    pub(super) fn is_stale(&self, signal: Signal, now: Moment) -> bool {
        let (Signal::Success(took) | Signal::Failure(took)) = signal else { return false };
        self.decreased.is_some_and(|decreased| now - took < decreased)
    }

    /// A call completed.
    pub(super) fn completed(&mut self, now: Moment) {
        self.completed = self.completed.max(now);
    }

    /// Whether the last decrease is so recent that another would answer the same trouble.
    pub(super) fn is_recent(&self, now: Moment) -> bool {
        let pause = Duration::from_secs_f64(self.usual.clamp(PAUSE.0, PAUSE.1));
        self.decreased.is_some_and(|decreased| now.since(decreased) < pause)
    }

    /// The limit is about to fall from `limit`.
    pub(super) fn decreasing(&mut self, limit: f64, now: Moment) {
        if self.grown {
            self.fast_until = limit / 2.0;
            self.grown = false;
        }
        self.decreased = Some(now);
    }

    /// Beyond `limit` latency is far above the usual: what was fine once is so no more.
    pub(super) fn too_much(&mut self, limit: f64) {
        self.fast_until = self.fast_until.min(limit);
    }

    /// The limit has fallen from `limit` for what turns out to be the usual latency now.
    pub(super) fn regain(&mut self, limit: f64) {
        self.fast_until = self.fast_until.max(limit / 2.0);
    }

    /// The limit has grown.
    pub(super) fn growing(&mut self) {
        self.grown = true;
    }

    /// The usual latency is this, in seconds.
    pub(super) fn usual_is(&mut self, latency: f64) {
        self.usual = latency;
    }

    /// Whether nothing completes, although the oldest call has been running for long.
    /// `expected` is how long a call may take, in seconds, apart from what is usual.
    pub(super) fn is_hang(&self, oldest: Option<Duration>, expected: f64, now: Moment) -> bool {
        let Some(oldest) = oldest else { return false };
        let patience = (self.usual * SILENCE_FACTOR).max(expected);
        let patience = Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX).max(SILENCE);
        let silent = now.since(self.completed.max(self.decreased.unwrap_or(Moment::ZERO)));
        let lasting = now.since(self.completed) >= patience;
        oldest >= patience && lasting && silent >= SILENCE
    }
}
