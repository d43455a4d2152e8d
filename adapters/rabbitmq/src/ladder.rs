//! The steps of delay: which delays there are, and which of them serves a wish.
//!
//! RabbitMQ delays a message by letting it expire in a queue, and a queue expires its messages in
//! order. So each delay has a queue of its own, and there are only as many delays as there are
//! queues. A wish is rounded **up** to the next step: what comes back is never early, and with the
//! default steps, which double, at most as late again as it was to wait.

use std::time::Duration;

/// The delays that a queue has, shortest first. Never empty; whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ladder(Vec<u64>);

/// The shortest step of the default ladder.
const FIRST: u64 = 100;

/// How many steps the default ladder has: the last is 100 ms * 2^17, about 3 hours 38 minutes.
const STEPS: u32 = 18;

/// The longest TTL that RabbitMQ takes, in milliseconds.
const LONGEST: u64 = u32::MAX as u64;

impl Default for Ladder {
    fn default() -> Self {
        Self((0..STEPS).map(|step| FIRST << step).collect())
    }
}

impl Ladder {
    /// A ladder of these steps; the error says what is wrong with them.
    pub(crate) fn new(steps: &[Duration]) -> Result<Self, String> {
        let millis: Vec<u64> = steps.iter().map(|step| ceil_millis(*step)).collect();
        match millis.first() {
            None => return Err("there is no step: name at least one delay".into()),
            Some(0) => return Err("a step of 0 is no delay: the shortest is 1 ms".into()),
            Some(_) => {}
        }
        if let Some(pair) = millis.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("{} ms does not come before {} ms: sort them", pair[0], pair[1]));
        }
        match millis.last() {
            Some(last) if *last > LONGEST => {
                Err(format!("{last} ms is more than RabbitMQ's longest TTL, {LONGEST} ms"))
            }
            _ => Ok(Self(millis)),
        }
    }

    /// The step for a delay, in milliseconds: the shortest that is not too short. `None` where the
    /// longest is.
    pub(crate) fn step(&self, delay: Duration) -> Option<u64> {
        let wanted = ceil_millis(delay);
        self.0.iter().copied().find(|step| *step >= wanted)
    }

    /// All steps, in milliseconds, shortest first.
    pub(crate) fn steps(&self) -> &[u64] {
        &self.0
    }

    /// The longest delay that there is a step for.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_millis(self.0.last().copied().unwrap_or(0))
    }
}

/// Whole milliseconds, rounded up, so that nothing is early.
fn ceil_millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_delay_is_rounded_up_and_never_down() {
        let ladder = Ladder::default();
        for (wish, step) in [(1, 100), (100, 100), (101, 200), (250, 400), (900_000, 1_638_400)] {
            assert_eq!(ladder.step(ms(wish)), Some(step), "{wish} ms");
        }
        assert_eq!(ladder.step(Duration::from_micros(100_001)), Some(200));
        assert_eq!(ladder.longest(), ms(100 << 17));
        assert_eq!(ladder.step(ladder.longest()), Some(100 << 17));
        assert_eq!(ladder.step(ladder.longest() + Duration::from_nanos(1)), None);
    }

    #[test]
    fn steps_that_make_no_ladder_are_refused() {
        for (steps, says) in [
            (vec![], "no step"),
            (vec![ms(0), ms(5)], "no delay"),
            (vec![ms(5), ms(5)], "sort"),
            (vec![ms(u64::from(u32::MAX) + 1)], "longest TTL"),
        ] {
            let said = Ladder::new(&steps).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(Ladder::new(&[ms(5), ms(7)]).unwrap().steps(), [5, 7]);
    }
}
