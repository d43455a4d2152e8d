//! What a worker's own state says about it: how busy it is, what holds it down, whether it gets
//! through to its broker, whether it is stuck. Pure: time is passed in.
//!
//! Counts say that something failed, not that it still does. So a failure counts as trouble until a
//! success of its kind comes, or until the runtime's longest pause between two tries has passed without
//! another: on an empty queue no success may ever come.

use forebay::{
    Status, WorkerPhase,
    policy::{BreakerState, Held, Moment},
};
use std::{fmt, time::Duration};

/// Longer than the runtime's longest pause between two tries, which is 10 s with its jitter.
const QUIET: Duration = Duration::from_secs(11);
/// A loop that has not come round for so long is stuck: handlers have a timeout and run elsewhere.
const STUCK: Duration = Duration::from_secs(30);
/// Over how many seconds it is averaged what a worker does now: some looks.
const NOW_SPAN: f64 = 1.0;
/// A limit below this share of the highest that it has had has fallen. At four fifths an adaptive one may
/// just be measuring.
const FALLEN: f64 = 0.75;
/// Of a limit, or a rate, this share in use is all of it.
const USED_UP: f64 = 0.9;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    receive_errors: u64,
    received: u64,
    settle_errors: u64,
    settled: u64,
    handled: u64,
    away: bool,
    beats: u64,
    in_flight: u32,
    in_hand: u64,
    limit: u32,
    rate: Option<f64>,
    breaker_open: bool,
    takes: bool,
    ended: bool,
}

impl From<&Status> for Look {
    fn from(status: &Status) -> Self {
        let (counts, gate) = (&status.counts, &status.gate);
        let handled = counts.acked + counts.dead + counts.dropped;
        Self {
            receive_errors: counts.receive_errors,
            received: counts.received,
            settle_errors: counts.settle_errors,
            settled: handled + counts.retried + counts.postponed + counts.released,
            handled,
            away: status.away,
            beats: status.beats,
            in_flight: gate.in_flight,
            in_hand: status.in_hand as u64,
            limit: gate.limit,
            rate: gate.rate,
            breaker_open: !matches!(gate.breaker, None | Some(BreakerState::Closed)),
            takes: status.phase == WorkerPhase::Running,
            ended: status.phase == WorkerPhase::Stopped,
        }
    }
}

impl Look {
    /// The share of its permits in use. More than all are when a limit has just fallen.
    fn share(&self) -> f64 {
        (f64::from(self.in_flight) / f64::from(self.limit.max(1))).min(1.0)
    }
}

/// What a worker does not get through to its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The source says that the broker is away.
    Away,
    /// Nothing can be received.
    Receive,
    /// Nothing can be settled.
    Settle,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "the broker is away",
            Self::Receive => "messages cannot be received: the log says why",
            Self::Settle => "messages cannot be settled: the log says why",
        })
    }
}

/// What came of a look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Vital {
    /// The share of its permits in use now, averaged over a second.
    pub(crate) busy: f64,
    /// For how long it has been busy so far: a second counts as much as the share of permits in use. It
    /// is to `handled` as time is to work, and what both have grown by says how fast a worker is; how
    /// busy it is now does not, where it has just begun.
    pub(crate) busy_for: Duration,
    /// What holds it down.
    pub(crate) held: Held,
    /// Messages that have left the queue by it.
    pub(crate) handled: u64,
    /// Messages received and not settled.
    pub(crate) in_hand: u64,
    /// Why it does not get through to its broker, if so.
    pub(crate) trouble: Option<Trouble>,
    /// Whether it takes messages: not while it drains, nor after.
    pub(crate) takes: bool,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// For how long its loop has not come round, if that is too long.
    pub(crate) stuck: Option<Duration>,
}

/// Failures of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    errors: u64,
    successes: u64,
    since: Option<Moment>,
}

impl Failing {
    fn look(&mut self, errors: u64, successes: u64, now: Moment) -> bool {
        if errors > self.errors {
            self.since = Some(now);
        } else if successes > self.successes {
            self.since = None;
        }
        (self.errors, self.successes) = (errors, successes);
        self.since.is_some_and(|since| now.since(since) < QUIET)
    }
}

/// Follows one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse {
    last: Option<(Look, Moment)>,
    busy: f64,
    busy_for: Duration,
    /// Messages handled per second, averaged.
    pace: f64,
    highest: u32,
    receiving: Failing,
    settling: Failing,
    /// When its loop last came round, by the count of its beats.
    beat: Option<(u64, Moment)>,
}

impl Pulse {
    /// Takes in a look at the worker.
    pub(crate) fn look(&mut self, look: &Look, now: Moment) -> Vital {
        self.average(look, now);
        self.highest = self.highest.max(look.limit);
        let receives = self.receiving.look(look.receive_errors, look.received, now);
        let settles = self.settling.look(look.settle_errors, look.settled, now);
        let trouble = match () {
            () if look.away => Some(Trouble::Away),
            () if receives => Some(Trouble::Receive),
            () if settles => Some(Trouble::Settle),
            () => None,
        };
        Vital {
            busy: self.busy,
            busy_for: self.busy_for,
            held: self.held(look),
            handled: look.handled,
            in_hand: look.in_hand,
            trouble,
            takes: look.takes,
            ended: look.ended,
            stuck: self.stuck(look, now),
        }
    }

    /// Whether the last ping has been answered, so that another is worth sending.
    pub(crate) fn is_answered(&self, beats: u64) -> bool {
        self.beat.is_none_or(|(seen, _)| beats > seen)
    }

    fn average(&mut self, look: &Look, now: Moment) {
        let share = look.share();
        let Some((last, at)) = self.last.replace((*look, now)) else {
            self.busy = share;
            return;
        };
        let passed = now.since(at);
        let seconds = passed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        self.busy_for += passed.mul_f64(f64::midpoint(last.share(), share));
        let weight = 1.0 - (-seconds / NOW_SPAN).exp();
        self.busy += (share - self.busy) * weight;
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let pace = look.handled.saturating_sub(last.handled) as f64 / seconds;
        self.pace += (pace - self.pace) * weight;
    }

    fn held(&self, look: &Look) -> Held {
        if look.breaker_open {
            return Held::Breaker;
        }
        let fallen = f64::from(look.limit) < f64::from(self.highest) * FALLEN;
        let rate_used_up = look.rate.is_some_and(|rate| self.pace >= rate * USED_UP);
        if rate_used_up || fallen && self.busy >= USED_UP { Held::Downstream } else { Held::Free }
    }

    fn stuck(&mut self, look: &Look, now: Moment) -> Option<Duration> {
        let (beats, at) = self.beat.get_or_insert((look.beats, now));
        // A worker that drains may have left its loop for good.
        if look.beats > *beats || !look.takes {
            (*beats, *at) = (look.beats, now);
        }
        Some(now.since(*at)).filter(|silence| *silence >= STUCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::crew::Crew;
    use forebay::{
        Backlog,
        policy::{Scale, ScaleSettings},
    };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn works() -> Look {
        Look { limit: 10, takes: true, ..Look::default() }
    }

    #[test]
    fn a_failure_is_trouble_until_a_success_or_a_long_silence() {
        let mut pulse = Pulse::default();
        let mut look = works();
        assert_eq!(pulse.look(&look, at(0)).trouble, None);
        look.receive_errors = 1;
        assert_eq!(pulse.look(&look, at(250)).trouble, Some(Trouble::Receive));
        assert_eq!(pulse.look(&look, at(11_000)).trouble, Some(Trouble::Receive));
        assert_eq!(pulse.look(&look, at(11_300)).trouble, None);
        (look.settle_errors, look.received) = (5, 1);
        assert_eq!(pulse.look(&look, at(11_500)).trouble, Some(Trouble::Settle));
        // Something fails and something succeeds: it is not over.
        (look.settle_errors, look.settled) = (6, 1);
        assert_eq!(pulse.look(&look, at(11_750)).trouble, Some(Trouble::Settle));
        look.settled = 2;
        assert_eq!(pulse.look(&look, at(12_000)).trouble, None);
        look.away = true;
        assert_eq!(pulse.look(&look, at(12_250)).trouble, Some(Trouble::Away));
    }

    #[test]
    fn a_loop_that_does_not_answer_is_stuck_unless_it_drains() {
        let mut pulse = Pulse::default();
        let mut look = works();
        assert!(pulse.is_answered(0));
        assert_eq!(pulse.look(&look, at(0)).stuck, None);
        assert!(!pulse.is_answered(0) && pulse.is_answered(1));
        assert_eq!(pulse.look(&look, at(29_900)).stuck, None);
        assert_eq!(pulse.look(&look, at(30_000)).stuck, Some(STUCK));
        look.beats = 1;
        assert_eq!(pulse.look(&look, at(31_000)).stuck, None);
        look.takes = false;
        assert_eq!(pulse.look(&look, at(99_000)).stuck, None);
    }

    #[test]
    fn what_holds_a_worker_down_is_a_breaker_a_limit_that_fell_or_a_rate_used_up() {
        let mut pulse = Pulse::default();
        let mut look = works();
        look.in_flight = 10;
        // At its limit, and the limit is what it has been: nothing but a busy worker.
        assert_eq!(pulse.look(&look, at(0)).held, Held::Free);
        (look.limit, look.in_flight) = (5, 5);
        assert_eq!(pulse.look(&look, at(5_000)).held, Held::Downstream);
        // It has fallen, and not even that is used.
        look.in_flight = 1;
        assert_eq!(pulse.look(&look, at(30_000)).held, Held::Free);
        (look.limit, look.rate) = (10, Some(100.0));
        look.handled = 4_000;
        assert_eq!(pulse.look(&look, at(70_000)).held, Held::Downstream);
        look.breaker_open = true;
        assert_eq!(pulse.look(&look, at(71_000)).held, Held::Breaker);
    }

    #[test]
    fn how_busy_a_worker_is_now_is_an_average_and_for_how_long_a_sum() {
        let mut pulse = Pulse::default();
        let mut look = works();
        pulse.look(&look, at(0));
        look.in_flight = 10;
        let soon = pulse.look(&look, at(250));
        assert!(soon.busy < 0.5 && soon.busy_for < Duration::from_millis(250), "{soon:?}");
        for n in 2..=80 {
            pulse.look(&look, at(n * 250));
        }
        // More than all of its permits: its limit has fallen.
        (look.limit, look.in_flight) = (5, 10);
        let late = pulse.look(&look, at(20_250));
        assert!(late.busy > 0.95 && late.busy <= 1.0, "{late:?}");
        assert_eq!(late.busy_for, Duration::from_millis(20_125));
    }

    /// The worker's rate was learned from how busy it was at two moments, and the first was before it
    /// had begun: it seemed to do 46 messages a second, at 50 ms each.
    #[test]
    fn a_worker_is_learned_to_be_as_fast_as_it_is_from_the_first_reading_on() {
        // Busy all the time; for three quarters of it; in bursts, with a second's rest between.
        let loads: [fn(u64) -> bool; 3] = [|_| true, |ms| ms % 71 < 52, |ms| ms / 1_000 % 2 == 0];
        for is_at_work in loads {
            let (mut pulse, mut scale) =
                (Pulse::default(), Scale::new(ScaleSettings::default()).unwrap());
            let (mut look, mut worked) = (Look { limit: 1, takes: true, ..Look::default() }, 0);
            let mut rates = Vec::new();
            for ms in 0..=60_000 {
                // It begins right after the first reading. A message takes 52 ms.
                look.in_flight = u32::from(ms > 0 && is_at_work(ms));
                worked += u64::from(look.in_flight);
                look.handled = worked / 52;
                if ms % 250 != 0 {
                    continue;
                }
                let vital = pulse.look(&look, at(ms));
                if ms % 5_000 == 0 {
                    let (crew, backlog) = (Crew::from(&vital), Backlog::default());
                    let advice = scale.observe(crew.reading(&backlog), at(ms));
                    rates.extend(advice.worker_rate);
                }
            }
            let real = 1_000.0 / 52.0;
            // Looks are samples: the first few may miss by a quarter.
            assert_eq!(rates.len(), 12);
            assert!(rates.iter().all(|rate| (rate / real - 1.0).abs() < 0.25), "{rates:?}");
            assert!((rates[11] / real - 1.0).abs() < 0.05, "{rates:?}");
        }
    }
}
