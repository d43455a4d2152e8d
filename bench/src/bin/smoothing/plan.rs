//! What arrives, and when: fixed before anything is sent, by one seed, and the same for every lane.
//!
//! An *open-loop* plan: no arrival waits for an answer to an earlier one, and every time is counted
//! from the instant that stands here, so that who makes his own clients late cannot hide it
//! ("coordinated omission"; Gil Tene, "How NOT to Measure Latency", 2013).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What arrives when there is no burst, as a share of the sustainable rate.
pub(crate) const STEADY: f64 = 0.5;
/// One in so many is poison, in the shower.
pub(crate) const POISON: u64 = 5;
/// How much text is in an order, in bytes: with the other columns a row has some 300.
const NOTE: usize = 200;

/// An order, as clients send it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Counts from 0, in the order of arrival.
    pub(crate) id: i64,
    pub(crate) customer: i32,
    /// In cents. The table refuses what is not above zero.
    pub(crate) amount: i32,
    pub(crate) note: String,
}

/// A stretch of one rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stretch {
    pub(crate) name: &'static str,
    /// Seconds from the start.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Arrivals per second, on average.
    pub(crate) rate: f64,
}

/// All arrivals.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stretches: [Stretch; 3],
    /// When each is due, in microseconds from the start; in order.
    due: Vec<u32>,
    shower_from: u64,
}

impl Plan {
    /// A burst of `times` the sustainable rate, a steady stretch, and a shower of poison.
    /// Arrivals are random (a Poisson process), as those of independent clients are.
    pub(crate) fn new(sustainable: f64, times: f64, lasts: [Duration; 3], seed: u64) -> Self {
        let [burst, steady, shower] = lasts.map(|time| time.as_secs_f64());
        let stretch = |name, from, lasts: f64, share| Stretch {
            name,
            from,
            to: from + lasts,
            rate: share * sustainable,
        };
        let stretches = [
            stretch("burst", 0.0, burst, times),
            stretch("steady", burst, steady, STEADY),
            stretch("poison shower", burst + steady, shower, STEADY),
        ];
        let mut random = fastrand::Rng::with_seed(seed);
        let mut due = Vec::new();
        let mut shower_from = 0;
        for stretch in &stretches {
            shower_from = due.len() as u64;
            let mut at = stretch.from;
            loop {
                // The gap of a Poisson process; `1 - f64()` is never zero.
                at += -(1.0 - random.f64()).ln() / stretch.rate;
                if at >= stretch.to {
                    break;
                }
                due.push((at * 1e6) as u32);
            }
        }
        Self { stretches, due, shower_from }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.due.len() as u64
    }

    /// When one is due, from the start.
    pub(crate) fn due(&self, id: u64) -> Duration {
        let micros = usize::try_from(id).ok().and_then(|id| self.due.get(id));
        Duration::from_micros(micros.copied().unwrap_or_default().into())
    }

    /// How many are due by a time.
    pub(crate) fn due_by(&self, at: Duration) -> u64 {
        self.due.partition_point(|due| u128::from(*due) <= at.as_micros()) as u64
    }

    /// When the last stretch ends.
    pub(crate) fn ends(&self) -> Duration {
        Duration::from_secs_f64(self.stretches[2].to)
    }

    /// Whether the table will refuse it.
    pub(crate) fn is_poison(&self, id: u64) -> bool {
        id >= self.shower_from && id.is_multiple_of(POISON)
    }

    /// How many the table can take.
    pub(crate) fn sound(&self) -> u64 {
        self.len() - (self.shower_from..self.len()).filter(|id| self.is_poison(*id)).count() as u64
    }

    pub(crate) fn order(&self, id: u64) -> Order {
        let order = Order::sound(id);
        Order { amount: if self.is_poison(id) { -order.amount } else { order.amount }, ..order }
    }

    /// An order as it travels.
    pub(crate) fn payload(&self, id: u64) -> Vec<u8> {
        self.order(id).encoded()
    }
}

impl Order {
    /// One that the table takes.
    pub(crate) fn sound(id: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(id);
        let (customer, amount) = (random.i32(1..=50_000), random.i32(1..100_000));
        Self { id: id as i64, customer, amount, note: "n".repeat(NOTE) }
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an order is numbers and text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(1000.0, 10.0, [2, 2, 1].map(Duration::from_secs), 7)
    }

    #[test]
    fn the_burst_is_so_many_times_the_rate_and_all_are_in_order() {
        let plan = plan();
        assert!(plan.due.is_sorted());
        let burst = plan.due_by(Duration::from_secs(2));
        // 20,000 on average; the deviation of a Poisson process is the root of that.
        assert!((19_300..20_700).contains(&burst), "{burst}");
        assert_eq!(plan.due_by(plan.ends()), plan.len());
    }

    #[test]
    fn poison_comes_in_the_shower_alone() {
        let plan = plan();
        let poison = plan.len() - plan.sound();
        let shower = plan.len() - plan.due_by(Duration::from_secs(4));
        assert!((0..plan.due_by(Duration::from_secs(4))).all(|id| !plan.is_poison(id)));
        assert!(poison.abs_diff(shower / POISON) <= 1, "{poison} of {shower}");
        assert!(plan.order(plan.shower_from.next_multiple_of(POISON)).amount < 0);
    }
}
