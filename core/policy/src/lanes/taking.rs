//! Taking parked messages out of the lanes other than by starting them.

use super::{
    Item,
    keyed::{Keyed, State},
};
use crate::arena::NIL;

impl<T: Item> Keyed<T> {
    pub(super) fn remove_where(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        let mut headless = Vec::new();
        for (at, item) in std::mem::take(&mut self.ready) {
            if which(&item) {
                removed.push(item);
                headless.extend(Some(at).filter(|&at| at != NIL));
            } else {
                self.ready.push_back((at, item));
            }
        }
        let mut queued = Vec::new();
        for at in self.lanes.indices() {
            let queue = self.behind.walk(&self.lanes[at].queue);
            queued.extend(queue.filter(|&item| which(&self.behind[item])).map(|item| (at, item)));
        }
        for (at, item) in queued {
            self.behind.unlink(&mut self.lanes[at].queue, item);
            removed.push(self.behind.remove(item));
        }
        for at in headless {
            self.go_on(at);
        }
        self.check();
        removed
    }

    pub(super) fn drain(&mut self) -> Vec<T> {
        let mut drained = Vec::with_capacity(self.len());
        let mut ids = Vec::new();
        while let Some((at, item)) = self.ready.pop_front() {
            if at == NIL {
                drained.push(item);
            } else {
                ids.push(item.id());
                drained.push(item);
                self.lanes[at].state = State::Empty;
                self.drain_queue(at, &mut ids, &mut drained);
            }
        }
        // What is left is parked behind a message that runs or is awaited.
        let behind: Vec<u32> = self.lanes.indices().collect();
        for at in behind {
            self.drain_queue(at, &mut ids, &mut drained);
        }
        self.check();
        drained
    }

    /// Drains a lane's queue. What was drained, `ids` and the queue, is away from now on, before
    /// all that was away already.
    fn drain_queue(&mut self, at: u32, ids: &mut Vec<T::Id>, drained: &mut Vec<T>) {
        let lane = &mut self.lanes[at];
        while let Some(parked) = self.behind.pop_front(&mut lane.queue) {
            let item = self.behind.remove(parked);
            ids.push(item.id());
            drained.push(item);
        }
        if ids.is_empty() {
            return;
        }
        let most = 2 * self.cap;
        let absent = self.expect(at, None);
        for id in ids.drain(..).rev() {
            absent.away.push_front(id);
        }
        absent.away.truncate(most);
    }
}
