//! The workers of a queue taken together: what the scaling policy wants to know of them.

use super::{
    pulse::Vital,
    scale::{HeldBy, Worker},
    view::to_handle,
};
use forebay::{
    Backlog,
    policy::{Held, ScaleReading},
};
use std::{collections::HashMap, time::Duration};

/// The workers that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Crew {
    /// How many take messages.
    pub(crate) workers: u32,
    /// How many of them were there, and did not say how they are.
    pub(crate) silent: u32,
    /// Messages that have left the queue by them. Only its growth counts.
    pub(crate) handled: u64,
    /// Messages received and not settled.
    pub(crate) in_hand: u64,
    /// For how long they have been busy, all added up. Only its growth counts.
    pub(crate) busy_for: Duration,
    /// What holds at least half of them down.
    pub(crate) held: Held,
}

impl From<&Vital> for Crew {
    /// A worker by itself.
    fn from(vital: &Vital) -> Self {
        let &Vital { busy_for, held, handled, in_hand, takes, .. } = vital;
        Self { workers: takes.into(), silent: 0, handled, in_hand, busy_for, held }
    }
}

impl Crew {
    /// What the policy is told.
    pub(super) fn reading(&self, backlog: &Backlog) -> ScaleReading {
        ScaleReading {
            backlog: to_handle(backlog, self.in_hand),
            oldest_age: backlog.oldest_age,
            handled: self.handled,
            workers: self.workers,
            busy: self.busy_for,
            held: self.held,
        }
    }
}

/// Adds up what workers say, round by round.
///
/// What each has handled, and how long that took, is counted from when it was first heard, and by
/// process: else the work of a worker that ends would seem to be undone, and that of one that is met
/// late to be done at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Roll {
    seen: HashMap<String, (u64, Duration)>,
    handled: u64,
    busy_for: Duration,
}

impl Roll {
    /// One round: who has answered, and how many are there and have not.
    pub(super) fn call(&mut self, heard: Vec<Worker>, silent: u32) -> Crew {
        let mut seen = HashMap::new();
        let mut in_hand = 0;
        let (mut takes, mut slowed, mut broken) = (0_u32, 0_u32, 0_u32);
        for worker in heard {
            let now = (worker.handled, worker.busy_for());
            let before = self.seen.remove(&worker.instance).unwrap_or(now);
            // The same process may answer at two addresses.
            if seen.insert(worker.instance, now).is_some() {
                continue;
            }
            self.handled += now.0.saturating_sub(before.0);
            self.busy_for += now.1.saturating_sub(before.1);
            in_hand += worker.in_hand;
            if worker.takes {
                takes += 1;
                slowed += u32::from(worker.held == HeldBy::Downstream);
                broken += u32::from(worker.held == HeldBy::Breaker);
            }
        }
        // Who is silent for a while is still known when it speaks again.
        if silent > 0 {
            seen.extend(self.seen.drain());
        }
        self.seen = seen;
        Crew {
            workers: takes + silent,
            silent,
            handled: self.handled,
            in_hand,
            busy_for: self.busy_for,
            held: match () {
                () if broken * 2 >= takes.max(1) => Held::Breaker,
                () if (slowed + broken) * 2 >= takes.max(1) => Held::Downstream,
                () => Held::Free,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(instance: &str, handled: u64) -> Worker {
        let (instance, held) = (instance.to_owned(), HeldBy::Nothing);
        let busy_seconds = Duration::from_millis(handled * 100).as_secs_f64();
        Worker { instance, handled, in_hand: 2, busy: 0.5, busy_seconds, held, takes: true }
    }

    #[test]
    fn work_is_neither_undone_by_who_goes_nor_done_at_once_by_who_comes() {
        let mut roll = Roll::default();
        let crew = roll.call(vec![worker("a", 1_000), worker("b", 50)], 0);
        assert_eq!((crew.workers, crew.handled, crew.in_hand), (2, 0, 4));
        let crew = roll.call(vec![worker("a", 1_010), worker("b", 60)], 0);
        assert_eq!((crew.handled, crew.busy_for), (20, Duration::from_secs(2)));
        let crew = roll.call(vec![worker("b", 65)], 0);
        assert_eq!((crew.workers, crew.handled), (1, 25));
        assert_eq!(roll.call(vec![worker("b", 65), worker("c", 9_000)], 0).handled, 25);
        assert_eq!(roll.call(vec![worker("b", 66), worker("c", 9_001)], 0).handled, 27);
        let none = roll.call(Vec::new(), 0);
        assert_eq!((none.workers, none.handled, none.held), (0, 27, Held::Free));
    }

    #[test]
    fn one_process_at_two_addresses_is_one_worker() {
        let mut roll = Roll::default();
        roll.call(vec![worker("a", 10)], 0);
        let crew = roll.call(vec![worker("a", 20), worker("a", 20)], 0);
        assert_eq!((crew.workers, crew.handled, crew.in_hand), (1, 10, 2));
    }

    #[test]
    fn who_is_there_and_silent_is_a_worker_and_goes_on_where_it_was() {
        let mut roll = Roll::default();
        roll.call(vec![worker("a", 10), worker("b", 10)], 0);
        let crew = roll.call(vec![worker("a", 11)], 1);
        assert_eq!((crew.workers, crew.silent, crew.handled), (2, 1, 1));
        assert_eq!(roll.call(vec![worker("a", 11), worker("b", 15)], 0).handled, 6);
    }

    #[test]
    fn a_crew_is_held_down_when_half_of_it_is_and_who_drains_is_not_of_it() {
        let mut roll = Roll::default();
        let mut call = |held: [HeldBy; 3], takes: bool| {
            let mut crew = held.map(|held| Worker { held, ..worker(&format!("{held:?}"), 0) });
            crew.iter_mut().enumerate().for_each(|(n, worker)| worker.instance = n.to_string());
            crew[2].takes = takes;
            roll.call(crew.into(), 0)
        };
        use HeldBy::{Breaker, Downstream, Nothing};
        assert_eq!(call([Downstream, Nothing, Nothing], true).held, Held::Free);
        assert_eq!(call([Downstream, Downstream, Nothing], true).held, Held::Downstream);
        assert_eq!(call([Downstream, Breaker, Nothing], true).held, Held::Downstream);
        assert_eq!(call([Breaker, Breaker, Nothing], true).held, Held::Breaker);
        let drains = call([Nothing, Nothing, Breaker], false);
        assert_eq!((drains.workers, drains.held), (2, Held::Free));
    }
}
