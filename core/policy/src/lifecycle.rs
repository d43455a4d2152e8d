//! The way out of a worker: from running to stopped, with a deadline on every step.
//!
//! Why phases with duties rather than a shutdown routine: the runtime's loop goes on while it
//! drains (handlers finish, leases are renewed, verdicts are settled), so draining cannot be a
//! function that waits. Each phase says what must be done on entering it, in the order in which
//! messages flow, so that nothing is put where the next step has already been shut
//! (Broadway's terminator shuts its stages in the same order).
//!
//! ```text
//!               signal             signal, or                signal, deadline,
//!                                  deadline                  or idle
//!    Running ------------> Draining ----------> Cancelling -------------------> Stopped
//!                             |                                                    ^
//!                             +------------------------ idle ----------------------+
//! ```
//!
//! | phase      | signal     | deadline passed | idle    | duties on entering                              |
//! |------------|------------|-----------------|---------|-------------------------------------------------|
//! | Running    | Draining   | (has none)      | -       | none                                            |
//! | Draining   | Cancelling | Cancelling      | Stopped | stop receiving, release unstarted               |
//! | Cancelling | Stopped    | Stopped         | Stopped | stop receiving, release unstarted, cancel handlers |
//! | Stopped    | -          | -               | -       | flush the settler, close the source             |
//!
//! The second signal is a person who will not wait: it skips the rest of the drain. The third skips
//! what is left.

use crate::Moment;
use std::time::Duration;

/// How far a worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It works.
    Running,
    /// Nothing new starts; what runs may finish.
    Draining,
    /// What runs is being called off.
    Cancelling,
    /// It is over. What still runs is left behind.
    Stopped,
}

/// Where a worker is on its way out, and when it must go on.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    drain_for: Duration,
    cancel_for: Duration,
    phase: Phase,
    /// When the phase ends if nothing else ends it.
    deadline: Moment,
}

impl Lifecycle {
    /// A running worker that will drain for `drain_for` at most, and then wait `cancel_for` at most
    /// for what it called off.
    #[must_use]
    pub const fn new(drain_for: Duration, cancel_for: Duration) -> Self {
        Self { drain_for, cancel_for, phase: Phase::Running, deadline: Moment::NEVER }
    }

    /// The phase that it is in.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When [`Lifecycle::tick`] must be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        if self.phase == Phase::Stopped { Moment::NEVER } else { self.deadline }
    }

    /// When it will be over at the latest; [`Moment::NEVER`] while it runs. Once stopped, until when
    /// the settler and the source may take their time.
    #[must_use]
    pub fn last_deadline(&self) -> Moment {
        match self.phase {
            Phase::Draining => self.deadline + self.cancel_for,
            _ => self.deadline,
        }
    }

    /// Somebody asks the worker to end, or to make haste. Returns the phase entered.
    pub fn signal(&mut self, now: Moment) -> Option<Phase> {
        // Late, it buys no time: the deadline that has passed counts.
        let now = now.min(self.deadline);
        match self.phase {
            Phase::Running => self.enter(Phase::Draining, now),
            Phase::Draining => self.enter(Phase::Cancelling, now),
            Phase::Cancelling => self.enter(Phase::Stopped, now),
            Phase::Stopped => None,
        }
    }

    /// Time has passed. Returns the last phase entered by it: more than one when it is late, for a
    /// deadline counts from the one before, not from when somebody looked.
    pub fn tick(&mut self, now: Moment) -> Option<Phase> {
        let before = self.phase;
        while now >= self.deadline {
            match self.phase {
                Phase::Draining => self.enter(Phase::Cancelling, self.deadline),
                Phase::Cancelling => self.enter(Phase::Stopped, self.deadline),
                Phase::Running | Phase::Stopped => break,
            };
        }
        Some(self.phase).filter(|&phase| phase != before)
    }

    /// Nothing is in hand any more: all that was received is settled. Means nothing to a worker that
    /// is not draining. Returns the phase entered.
    pub fn idle(&mut self) -> Option<Phase> {
        match self.phase {
            Phase::Draining | Phase::Cancelling => self.enter(Phase::Stopped, self.last_deadline()),
            Phase::Running | Phase::Stopped => None,
        }
    }

    fn enter(&mut self, phase: Phase, from: Moment) -> Option<Phase> {
        debug_assert!(phase > self.phase, "there is no way back");
        self.phase = phase;
        match phase {
            Phase::Running => {}
            Phase::Draining => self.deadline = from + self.drain_for,
            Phase::Cancelling => self.deadline = from + self.cancel_for,
            Phase::Stopped => self.deadline = from,
        }
        if cfg!(debug_assertions) {
            self.invariants();
        }
        Some(phase)
    }

    /// Panics if it contradicts itself.
    pub fn invariants(&self) {
        let running = self.phase == Phase::Running;
        assert!(!running || self.deadline == Moment::NEVER, "a running worker has no deadline");
        assert!(self.last_deadline() >= self.deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Cancelling, Draining, Running, Stopped};
    use proptest::prelude::*;

    const START: Moment = Moment::from_millis(1_000);
    const DRAIN: Duration = Duration::from_secs(30);
    const CANCEL: Duration = Duration::from_secs(3);

    /// A worker that has had this many signals.
    fn after(signals: usize) -> Lifecycle {
        let mut worker = Lifecycle::new(DRAIN, CANCEL);
        for _ in 0..signals {
            worker.signal(START);
        }
        worker
    }

    #[test]
    fn every_transition_of_the_table() {
        let table = [
            (Running, Some(Draining), None, None),
            (Draining, Some(Cancelling), Some(Cancelling), Some(Stopped)),
            (Cancelling, Some(Stopped), Some(Stopped), Some(Stopped)),
            (Stopped, None, None, None),
        ];
        for (signals, (phase, on_signal, on_deadline, on_idle)) in table.into_iter().enumerate() {
            assert_eq!(after(signals).phase(), phase);
            assert_eq!(after(signals).signal(START), on_signal);
            let mut worker = after(signals);
            let deadline = worker.next_deadline();
            assert_eq!(worker.tick(deadline - Duration::from_nanos(1)), None);
            assert_eq!(worker.tick(deadline), on_deadline);
            assert_eq!(after(signals).idle(), on_idle);
        }
    }

    #[test]
    fn deadlines_follow_one_another() {
        let mut worker = after(0);
        assert_eq!(worker.last_deadline(), Moment::NEVER);
        worker.signal(START);
        assert_eq!(worker.next_deadline(), START + DRAIN);
        assert_eq!(worker.last_deadline(), START + DRAIN + CANCEL);
        assert_eq!(worker.tick(START + DRAIN + Duration::from_secs(1)), Some(Cancelling));
        assert_eq!(worker.next_deadline(), START + DRAIN + CANCEL, "being late buys no time");
        assert_eq!(after(1).tick(START + DRAIN + CANCEL), Some(Stopped), "very late");
    }

    #[test]
    fn an_early_end_leaves_its_time_to_the_settler_and_the_source() {
        let mut worker = after(1);
        worker.idle();
        assert_eq!(worker.next_deadline(), Moment::NEVER);
        assert_eq!(worker.last_deadline(), START + DRAIN + CANCEL);
        assert_eq!(after(3).last_deadline(), START, "but not when somebody will not wait");
    }

    proptest! {
        #[test]
        fn it_only_goes_forward_and_ends_in_time(
            steps in prop::collection::vec((0u8..4, 0u64..5_000), 0..60),
        ) {
            let mut worker = after(0);
            let (mut now, mut last) = (START, Moment::NEVER);
            for (kind, millis) in steps {
                now = now + Duration::from_millis(millis);
                let before = worker.phase();
                let entered = match kind {
                    0 => worker.signal(now),
                    1 => worker.idle(),
                    _ => worker.tick(now),
                };
                prop_assert_eq!(entered.unwrap_or(before), worker.phase());
                prop_assert!(worker.phase() >= before);
                prop_assert!(worker.last_deadline() <= last, "a deadline was put off");
                last = worker.last_deadline();
                worker.tick(now);
                prop_assert!(now < last || worker.phase() == Stopped);
                worker.invariants();
            }
        }
    }
}
