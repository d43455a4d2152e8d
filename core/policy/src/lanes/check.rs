//! What must hold of the lanes at any time.

use super::keyed::{Keyed, State, Wait};
use std::hash::Hash;

impl<K: Hash + Eq, Id: Eq, T> Keyed<K, Id, T> {
    /// What can be checked in O(1); all the rest is in [`Self::invariants`].
    pub(super) fn check(&self) {
        debug_assert!(self.ready.len() <= self.parked.len());
        debug_assert_eq!(self.table.len(), self.lanes.len());
        debug_assert!(
            self.unstamped.len() + self.waits.len() + self.idle.len() <= self.lanes.len()
        );
    }

    pub(super) fn invariants(&self) {
        self.check();
        self.lanes.check(&self.unstamped);
        self.lanes.check(&self.waits);
        self.lanes.check(&self.idle);
        self.parked.check(&self.ready);
        let mut parked = self.ready.len();
        let (mut waiting, mut idle) = (0, 0);
        for at in self.lanes.indices() {
            let lane = &self.lanes[at];
            self.parked.check(&lane.queue);
            parked += lane.queue.len();
            waiting += usize::from(lane.wait != Wait::No);
            assert!(self.parked.walk(&lane.queue).all(|item| self.parked[item].lane == at));
            assert!(lane.away.len() <= 2 * self.cap, "more is remembered than there is room for");
            let found = self.table.find(lane.hash, |&other| self.lanes[other].key == lane.key);
            assert_eq!(found, Some(&at), "a key leads to its own lane");
            match &lane.state {
                State::Ready(first) => assert_eq!(self.parked[*first].lane, at),
                State::Running(_) | State::Waiting(_) => {}
                State::Empty => assert!(lane.queue.is_empty() && !lane.away.is_empty()),
                State::Idle => {
                    assert!(lane.queue.is_empty() && lane.away.is_empty());
                    idle += 1;
                }
            }
            let expects = !lane.away.is_empty() || matches!(lane.state, State::Waiting(_));
            assert_eq!(
                lane.wait != Wait::No,
                expects,
                "a lane waits just when it expects something"
            );
        }
        assert_eq!(parked, self.parked.len(), "every parked message is in one list");
        assert_eq!(idle, self.idle.len());
        assert_eq!(waiting, self.unstamped.len() + self.waits.len());
    }
}
