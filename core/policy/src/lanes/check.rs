//! What must hold of the lanes at any time.

use super::{
    Item,
    keyed::{IDLE_MIN, Keyed, State},
};
use crate::arena::NIL;
use std::collections::HashSet;

impl<T: Item> Keyed<T> {
    /// What can be checked in O(1); all the rest is in [`Self::invariants`].
    pub(super) fn check(&self) {
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
        let heads: Vec<u32> =
            self.ready.iter().map(|(at, _)| *at).filter(|&at| at != NIL).collect();
        let first: HashSet<u32> = heads.iter().copied().collect();
        assert_eq!(first.len(), heads.len(), "one message of a lane is in the line");
        let (mut behind, mut waiting, mut idle) = (0, 0, 0);
        for at in self.lanes.indices() {
            let lane = &self.lanes[at];
            self.behind.check(&lane.queue);
            behind += lane.queue.len();
            let found = self.table.find(lane.hash, |&other| self.lanes[other].key == lane.key);
            assert_eq!(found, Some(&at), "a key leads to its own lane");
            assert_eq!(first.contains(&at), lane.state == State::Ready);
            let (mut awaited, mut away) = (false, false);
            if let Some(absent) = &lane.absent {
                waiting += 1;
                (awaited, away) = (absent.awaited.is_some(), !absent.away.is_empty());
                assert!(awaited || away, "a lane waits just when it expects something");
                assert!(absent.away.len() <= 2 * self.cap, "more is remembered than has room");
            }
            assert_eq!(awaited, lane.state == State::Waiting);
            match lane.state {
                State::Ready | State::Running | State::Waiting => {}
                State::Empty => assert!(lane.queue.is_empty() && away),
                State::Idle => {
                    assert!(lane.queue.is_empty() && lane.absent.is_none());
                    idle += 1;
                }
            }
        }
        assert_eq!(behind, self.behind.len(), "every parked message is in one list");
        assert_eq!(idle, self.idle.len());
        assert!(idle <= IDLE_MIN + self.live_keys(), "more lanes are kept than are of use");
        assert_eq!(waiting, self.unstamped.len() + self.waits.len());
    }
}
