//! What will be sent, and when: fixed before anything is sent, by one seed.
//!
//! An *open-loop* plan: the time of each arrival is set in advance and does not depend on how fast
//! anything is handled. Waiting is counted from that time, so a system that makes its own producer
//! late cannot hide it ("coordinated omission"; Gil Tene, "How NOT to Measure Latency", 2013).

use serde::{Deserialize, Serialize};
use std::{f64::consts, time::Duration};

/// How many times the sustainable rate the burst is.
pub(super) const BURST: f64 = 10.0;
/// How many times it is before the burst and after it.
const CALM: [f64; 2] = [0.4, 0.2];
/// How long it is calm before the burst and after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(6);
/// The share of orders whose first attempts fail, and of those that can never succeed.
const FLAKY: f64 = 0.03;
const POISON: f64 = 0.005;

/// An order, as it travels through the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Counts from 0.
    pub(super) id: u64,
    /// What it is about; below zero it is refused for good.
    pub(super) cents: i64,
    /// When it was due to be sent, in microseconds since 1970.
    pub(super) sent_us: i64,
    /// How many first attempts are made to fail.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) fails: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is wrong with an order from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Sound,
    /// Its first attempts fail, this many.
    Flaky(u32),
    /// Its payload is no JSON.
    Undecodable,
    /// The handler refuses it for good.
    Refused,
}

impl Fate {
    /// Whether it can never be done.
    pub(super) fn is_poison(self) -> bool {
        matches!(self, Self::Undecodable | Self::Refused)
    }
}

/// A time of one rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) starts: Duration,
    pub(super) lasts: Duration,
    /// Arrivals per second, on average.
    pub(super) rate: f64,
}

impl Phase {
    pub(super) fn ends(&self) -> Duration {
        self.starts + self.lasts
    }
}

/// All arrivals.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) phases: [Phase; 3],
    seed: u64,
    due: Vec<Duration>,
}

impl Plan {
    /// Calm, a burst of [`BURST`] times `sustainable` orders per second for as long as `burst`, and
    /// calm again. Arrivals are random (a Poisson process), as those of independent clients are.
    pub(super) fn new(seed: u64, sustainable: f64, burst: Duration) -> Self {
        let phase =
            |name, starts, lasts, times| Phase { name, starts, lasts, rate: times * sustainable };
        let phases = [
            phase("calm", Duration::ZERO, BEFORE, CALM[0]),
            phase("burst", BEFORE, burst, BURST),
            phase("calm", BEFORE + burst, AFTER, CALM[1]),
        ];
        let mut random = fastrand::Rng::with_seed(seed);
        let mut due = Vec::new();
        for phase in &phases {
            let mut at = phase.starts;
            loop {
                // The gap of a Poisson process; `1 - f64()` is never zero.
                at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / phase.rate);
                if at >= phase.ends() {
                    break;
                }
                due.push(at);
            }
        }
        Self { phases, seed, due }
    }

    /// How many orders there are.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// The name of what is going on at a time: a phase, or the drain after the last.
    pub(super) fn phase_at(&self, at: Duration) -> &'static str {
        self.phases.iter().find(|phase| at < phase.ends()).map_or("drain", |phase| phase.name)
    }

    /// The burst.
    pub(super) fn burst(&self) -> &Phase {
        &self.phases[1]
    }

    /// When each is due, counted from the start; in order.
    pub(super) fn due(&self) -> &[Duration] {
        &self.due
    }

    /// What is wrong with an order: by a hash of its id, so that anyone can find out afterwards.
    pub(super) fn fate(&self, id: u64) -> Fate {
        // The golden ratio spreads neighbouring ids over the seeds.
        let step = (consts::GOLDEN_RATIO.fract() * 2f64.powi(64)) as u64 | 1;
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ id.wrapping_add(1).wrapping_mul(step));
        let share = random.f64();
        if share < POISON / 2.0 {
            Fate::Undecodable
        } else if share < POISON {
            Fate::Refused
        } else if share < POISON + FLAKY {
            Fate::Flaky(random.u32(1..=2))
        } else {
            Fate::Sound
        }
    }

    /// An order, if it is due at `sent_us`.
    pub(super) fn order(&self, id: u64, sent_us: i64) -> Order {
        let cents = 100 + i64::from(fastrand::Rng::with_seed(id).u16(..));
        let (cents, fails) = match self.fate(id) {
            Fate::Refused => (-cents, 0),
            Fate::Flaky(fails) => (cents, fails),
            Fate::Sound | Fate::Undecodable => (cents, 0),
        };
        Order { id, cents, sent_us, fails }
    }

    /// Its payload.
    pub(super) fn payload(&self, id: u64, sent_us: i64) -> Vec<u8> {
        let mut json =
            serde_json::to_vec(&self.order(id, sent_us)).expect("an order has only numbers in it");
        if self.fate(id) == Fate::Undecodable {
            json.truncate(json.len() / 2);
        }
        json
    }

    /// The ids of all orders with such a fate.
    pub(super) fn ids(&self, with: impl Fn(Fate) -> bool) -> impl Iterator<Item = u64> {
        (0..self.len() as u64).filter(move |id| with(self.fate(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(7, 200.0, Duration::from_secs(2))
    }

    #[test]
    fn the_burst_is_ten_times_what_is_sustained_and_arrivals_are_in_order() {
        let plan = plan();
        assert!(plan.due().is_sorted());
        let burst = plan.burst();
        let within = plan.due().iter().filter(|at| (burst.starts..burst.ends()).contains(*at));
        // 4000 on average; the deviation of a Poisson process is the root of that.
        assert!((3700..4300).contains(&within.count()));
        assert_eq!(plan.phase_at(burst.starts), "burst");
        assert_eq!(plan.phase_at(burst.ends() + AFTER), "drain");
    }

    #[test]
    fn one_seed_makes_one_plan() {
        assert_eq!(plan().due(), plan().due());
        let fates = |plan: Plan| (0..1000).map(move |id| plan.fate(id));
        assert!(fates(plan()).eq(fates(plan())));
        assert!(!fates(plan()).eq(fates(Plan::new(8, 200.0, Duration::from_secs(2)))));
    }

    #[test]
    fn as_many_are_flaky_and_poison_as_it_says() {
        let plan = plan();
        let share = |of: fn(Fate) -> bool| {
            f64::from((0..20_000).filter(|id| of(plan.fate(*id))).count() as u32) / 20_000.0
        };
        assert!((share(|fate| matches!(fate, Fate::Flaky(_))) - FLAKY).abs() < 0.005);
        assert!((share(Fate::is_poison) - POISON).abs() < 0.002);
    }

    #[test]
    fn only_what_is_undecodable_is_no_order() {
        let plan = plan();
        for id in 0..2000 {
            let decoded = serde_json::from_slice::<Order>(&plan.payload(id, 5));
            match plan.fate(id) {
                Fate::Undecodable => assert!(decoded.is_err()),
                fate => assert_eq!(decoded.unwrap().cents < 0, fate == Fate::Refused),
            }
        }
    }
}
