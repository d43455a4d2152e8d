//! Taking parked messages out of the lanes other than by starting them.

use super::keyed::{Keyed, Parked, State, Wait};
use crate::arena::{Arena, List, NIL};
use std::hash::Hash;

impl<K: Hash + Eq, Id: Eq, T> Keyed<K, Id, T> {
    pub(super) fn remove_where(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut picked = |parked: &Arena<Parked<Id, T>>, list: &List| -> Vec<u32> {
            parked.walk(list).filter(|&at| which(&parked[at].item)).collect()
        };
        let heads = picked(&self.parked, &self.ready);
        let mut queued = Vec::new();
        for lane in self.lanes.indices() {
            queued.extend(picked(&self.parked, &self.lanes[lane].queue));
        }
        let mut removed = Vec::with_capacity(heads.len() + queued.len());
        let mut headless = Vec::new();
        for at in heads {
            self.parked.unlink(&mut self.ready, at);
            let Parked { lane, item, .. } = self.parked.remove(at);
            removed.push(item);
            headless.extend(Some(lane).filter(|&lane| lane != NIL));
        }
        for at in queued {
            let lane = self.parked[at].lane;
            self.parked.unlink(&mut self.lanes[lane].queue, at);
            removed.push(self.parked.remove(at).item);
        }
        for lane in headless {
            self.go_on(lane);
        }
        self.check();
        removed
    }

    pub(super) fn drain(&mut self) -> Vec<T> {
        let mut drained = Vec::with_capacity(self.len());
        let mut ids = Vec::new();
        while let Some(at) = self.parked.pop_front(&mut self.ready) {
            let Parked { lane, id, item } = self.parked.remove(at);
            drained.push(item);
            if let Some(id) = id {
                self.lanes[lane].state = State::Empty;
                ids.push(id);
                self.drain_queue(lane, &mut ids, &mut drained);
            }
        }
        // What is left is parked behind a message that runs or is awaited.
        let behind: Vec<u32> = self.lanes.indices().collect();
        for lane in behind {
            self.drain_queue(lane, &mut ids, &mut drained);
        }
        self.check();
        drained
    }

    /// Drains a lane's queue. What was drained, `ids` and the queue, is away from now on, before
    /// all that was away already.
    fn drain_queue(&mut self, at: u32, ids: &mut Vec<Id>, drained: &mut Vec<T>) {
        let lane = &mut self.lanes[at];
        while let Some(parked) = self.parked.pop_front(&mut lane.queue) {
            let Parked { id, item, .. } = self.parked.remove(parked);
            drained.push(item);
            ids.extend(id);
        }
        if ids.is_empty() {
            return;
        }
        for id in ids.drain(..).rev() {
            lane.away.push_front(id);
        }
        lane.away.truncate(2 * self.cap);
        self.wait(at, Wait::Unstamped);
    }
}
