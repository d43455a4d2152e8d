//! The lanes' waits: which of them expect something back, and until when.

use super::keyed::{Keyed, State, Wait};
use crate::Moment;
use std::hash::{BuildHasher, Hash};

impl<K: Hash + Eq, Id: Eq, T> Keyed<K, Id, T> {
    pub(super) fn expire_waits(&mut self, now: Moment) -> Vec<T> {
        while let Some(at) = self.unstamped.head() {
            self.wait(at, Wait::Until(now + self.wait_max));
        }
        let mut expired = Vec::new();
        while let Some(at) = self.waits.head() {
            match self.lanes[at].wait {
                Wait::Until(end) if end <= now => self.expire(at, &mut expired),
                _ => break,
            }
        }
        self.check();
        expired
    }

    fn expire(&mut self, at: u32, expired: &mut Vec<T>) {
        self.wait(at, Wait::No);
        let lane = &mut self.lanes[at];
        lane.away.clear();
        if matches!(lane.state, State::Waiting(_) | State::Empty) {
            while let Some(parked) = self.parked.pop_front(&mut lane.queue) {
                expired.push(self.parked.remove(parked).item);
            }
            self.close(at);
        }
    }

    pub(super) fn forget(&mut self, key: &K, which: impl Fn(&Id) -> bool) {
        let hash = self.hasher.hash_one(key);
        let found = self.table.find(hash, |&lane| self.lanes[lane].key == *key);
        let Some(at) = found.copied() else { return };
        let lane = &mut self.lanes[at];
        let before = lane.away.len();
        lane.away.retain(|id| !which(id));
        let (fewer, none) = (lane.away.len() < before, lane.away.is_empty());
        match &lane.state {
            State::Waiting(awaited) if which(awaited) => {
                self.wait(at, if none { Wait::No } else { Wait::Unstamped });
                self.go_on(at);
            }
            State::Empty if none => {
                self.wait(at, Wait::No);
                self.close(at);
            }
            _ if fewer => self.progress(at),
            _ => {}
        }
        self.check();
    }

    pub(super) fn next_expiry(&self) -> Moment {
        if !self.unstamped.is_empty() {
            return Moment::ZERO;
        }
        match self.waits.head().map(|at| self.lanes[at].wait) {
            Some(Wait::Until(end)) => end,
            _ => Moment::NEVER,
        }
    }

    /// Something came back: the rest gets its full time again.
    pub(super) fn progress(&mut self, at: u32) {
        let lane = &self.lanes[at];
        let more = !lane.away.is_empty() || matches!(lane.state, State::Waiting(_));
        self.wait(at, if more { Wait::Unstamped } else { Wait::No });
    }

    /// Moves a lane into the list that `wait` is for.
    pub(super) fn wait(&mut self, at: u32, mut wait: Wait) {
        match self.lanes[at].wait {
            Wait::No => {}
            Wait::Unstamped => self.lanes.unlink(&mut self.unstamped, at),
            Wait::Until(_) => self.lanes.unlink(&mut self.waits, at),
        }
        match &mut wait {
            Wait::No => {}
            Wait::Unstamped => self.lanes.push_back(&mut self.unstamped, at),
            Wait::Until(end) => {
                // All wait equally long, so their order of arrival is the order of their ends, unless
                // the caller's clock went back.
                if let Some(Wait::Until(last)) = self.waits.tail().map(|last| self.lanes[last].wait)
                {
                    *end = last.max(*end);
                }
                self.lanes.push_back(&mut self.waits, at);
            }
        }
        self.lanes[at].wait = wait;
    }
}
