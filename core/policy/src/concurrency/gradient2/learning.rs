//! What Gradient2 learns from a measurement, and what it does then.
//!
//! A measurement holds latency at the lowered limit against that at the whole one, in pairs
//! ([`measurement`](super::measurement)), so that what the system does by itself meanwhile falls into both.
//! Few calls can be lowered by whole ones only, by more than a fifth: what is tolerated is scaled to that.
//!
//! - *Clearly too high*: latency falls by more than is tolerated, beyond the error. The limit stays down,
//!   and is measured again soon.
//! - *Far too low*: it does not even fall by half of that. The limit grows by a step, and is measured again
//!   soon.
//! - *In between*: until the next measurement the limit may grow to a little more where there is room, and
//!   not at all where there is none; twice as far where the error is too large to say.
//!
//! Of few calls, where one is more than a fifth, what was one too many stays out of reach for a while
//! ([`ceiling`](super::ceiling)), whatever is measured below it. And of two numbers of calls that are about as good it is the lesser: the slowest calls become slower
//! by more than the mean does.
//!
//! While latency is far above what is usual, a measurement is put off by a second, and one in which it
//! rises is thrown away: the limit is to fall before trouble is taken for the usual.

use super::{
    FAST, Gradient2, LimitCause, PUT_OFF, Pause, Phase, USUALLY,
    ceiling::Ceiling,
    measurement::{Measured, Measurement, Verdict},
};
use crate::Moment;
use std::time::Duration;

/// When it is measured again where it showed which way to go, and where all is known: there is room, if
/// not for a whole call.
const SOON: Pause = Pause { trips: 12.0, least: Duration::from_millis(250) };
const SELDOM: Pause = Pause { trips: 40.0, least: Duration::from_secs(10) };
/// What is left of the limit in a measurement.
const MEASURED: f64 = 0.8;
/// Below so many calls one of them is more than a fifth.
const FEW: f64 = 5.0;
/// By what the limit may grow until the next measurement, where this one left room.
const ROOM: f64 = 1.25;
/// How much of a measurement is believed, as far as it is within a factor of two of `long`: one that is
/// further off is no noise. At this standard error it is half of that.
const BELIEVED: f64 = 0.5;
const BELIEVED_HALF: f64 = 0.2;

impl Gradient2 {
    pub(super) fn start_measuring(&mut self, now: Moment) {
        self.phase = Phase::Measuring(Measurement::new(self.short, self.tolerated(), now));
    }

    /// Time has passed while the limit is measured, and a call may have succeeded.
    pub(super) fn measure(&mut self, took: Option<Duration>, now: Moment) -> Option<LimitCause> {
        let Phase::Measuring(measurement) = &mut self.phase else { return None };
        let was = measurement.is_lowered();
        if let Some(took) = took {
            measurement.add(took, now);
        }
        if measurement.is_over(now) {
            return self.measured(now);
        }
        (measurement.is_lowered() != was).then_some(LimitCause::Measuring)
    }

    fn measured(&mut self, now: Moment) -> Option<LimitCause> {
        let Phase::Measuring(measurement) = self.phase else { return None };
        let pause = measurement.measured().map_or(USUALLY, |measured| self.learn(measured, now));
        self.follow_on(pause, now);
        Some(LimitCause::Measuring)
    }

    /// Moves the limit, and how far it may grow, by what was measured. Returns when it is to be measured
    /// again.
    fn learn(&mut self, measured: Measured, now: Moment) -> Pause {
        let tolerance = self.tolerated();
        let Some(verdict) = measured.verdict(tolerance) else { return PUT_OFF };
        let Measured { low, error, paired, .. } = measured;
        let few = paired && self.limit < FEW;
        let verdict = if few && verdict == Verdict::Right { Verdict::TooHigh } else { verdict };
        let usual = low * tolerance / self.tolerance;
        let near = (self.long / 2.0..=self.long * 2.0).contains(&usual);
        let believed = BELIEVED / (1.0 + (error / BELIEVED_HALF).powi(2));
        self.long += if near { believed } else { 1.0 } * (usual - self.long);
        (self.measured, self.measured_at) = (true, self.limit);
        self.trouble.usual_is(self.long);
        let whole = self.limit;
        self.cap = match verdict {
            Verdict::TooHigh => {
                self.limit = f64::from(self.lowered());
                if near && few {
                    self.ceiling = Ceiling::of(self.limit, low, now);
                }
                self.limit
            }
            Verdict::Right => whole,
            Verdict::Room => whole * ROOM + 1.0,
            Verdict::Vague => whole * FAST + 1.0,
            Verdict::FarTooLow => {
                let reach = self.ceiling.calls().max(whole);
                self.limit = self.bounds.clamp((whole / MEASURED).min(reach));
                whole * FAST + 1.0
            }
        };
        if self.limit <= whole {
            // What was fine before a trouble is not gone back to from here.
            self.trouble.too_much(self.limit);
        }
        match verdict {
            _ if self.limit != whole => SOON,
            Verdict::Room | Verdict::FarTooLow if self.ceiling.is_there() => SELDOM,
            _ => USUALLY,
        }
    }

    /// By what factor latency may exceed that of the lowered limit. Few calls can be lowered by whole
    /// ones only, and so by more than a fifth.
    pub(super) fn tolerated(&self) -> f64 {
        let left = f64::from(self.lowered()) / self.limit.floor();
        self.tolerance.powf(left.ln() / MEASURED.ln())
    }

    /// The limit while it is lowered: by a fifth, and by one call at least.
    pub(super) fn lowered(&self) -> u32 {
        self.bounds.clamp(self.limit.floor() * MEASURED) as u32
    }
}
