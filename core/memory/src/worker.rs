//! Open sources: how they come, how they go, and how their scopes are taken from them.

use crate::{lines::Token, state::State, table::WorkerId};
use forebay_contract::{Scope, SourceEvent};
use std::{collections::VecDeque, ops::Range, time::Duration};
use tokio::time::Instant;

/// An open source, as the queue knows it.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    /// What its hand-outs hang on; a new one after each loss.
    pub(crate) scope: Scope,
    /// When the scope goes; set by `revoke`, cleared when it is gone.
    pub(crate) revoked_at: Option<Instant>,
    /// Not fetched yet.
    pub(crate) events: VecDeque<SourceEvent>,
    /// Messages of lines that belong to this worker.
    pub(crate) own: VecDeque<Token>,
    /// Whether the shared messages come first this time: they take turns with its own.
    pub(crate) shared_next: bool,
}

impl State {
    pub(crate) fn open(&mut self) -> WorkerId {
        let scope = self.new_scope();
        let id = self.worker_ids().end;
        self.workers.push(Some(Worker { scope, ..Worker::default() }));
        id
    }

    fn new_scope(&mut self) -> Scope {
        self.next_scope += 1;
        Scope(self.next_scope)
    }

    pub(crate) fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(id as usize)?.as_mut()
    }

    /// All that there ever were.
    pub(crate) fn worker_ids(&self) -> Range<WorkerId> {
        0..WorkerId::try_from(self.workers.len()).expect("nobody opens four billion sources")
    }

    /// Takes leave: whatever the worker still holds goes back at once.
    pub(crate) fn close(&mut self, id: WorkerId, now: Instant) {
        if self.worker(id).is_some() {
            self.workers[id as usize] = None;
            self.take_back(id, now);
            self.news = true;
        }
    }

    /// A worker that is gone without a word: what it held under a lease stays hidden until that ends,
    /// else it goes back at once.
    pub(crate) fn lose_worker(&mut self, id: WorkerId, now: Instant) {
        if self.options.lease.is_none() {
            return self.close(id, now);
        }
        if self.worker(id).is_some() {
            self.workers[id as usize] = None;
            self.free_lines(id);
        }
    }

    /// Cuts every connection for a moment.
    pub(crate) fn sever(&mut self, now: Instant) {
        for id in self.worker_ids() {
            self.tell(id, SourceEvent::Down("the connection was cut".to_owned()));
            self.lose_scope(id, now);
            self.tell(id, SourceEvent::Up);
        }
    }

    /// Tells every worker that its scope goes.
    pub(crate) fn revoke(&mut self, within: Duration, now: Instant) {
        for worker in self.workers.iter_mut().flatten() {
            worker.revoked_at = Some(now + within);
            worker.events.push_back(SourceEvent::Revoking { scope: worker.scope, within });
        }
        self.news = true;
    }

    pub(crate) fn end_revocations(&mut self, now: Instant) {
        for id in self.worker_ids() {
            let revoked_at = self.worker(id).and_then(|worker| worker.revoked_at);
            if revoked_at.is_some_and(|at| at <= now) {
                self.lose_scope(id, now);
            }
        }
    }

    pub(crate) fn tell(&mut self, id: WorkerId, event: SourceEvent) {
        if let Some(worker) = self.worker(id) {
            worker.events.push_back(event);
            self.news = true;
        }
    }

    fn lose_scope(&mut self, id: WorkerId, now: Instant) {
        let scope = self.new_scope();
        let Some(worker) = self.worker(id) else { return };
        let lost = std::mem::replace(&mut worker.scope, scope);
        worker.revoked_at = None;
        self.tell(id, SourceEvent::Lost(lost));
        self.take_back(id, now);
    }

    /// Ends all that a worker holds, without any verdict.
    fn take_back(&mut self, id: WorkerId, now: Instant) {
        for slot in self.table.held_by(id) {
            self.come_back(slot, now, now, None, |message| message.interrupted += 1);
        }
        self.free_lines(id);
    }

    /// Lets go of the lines that a worker owns but holds nothing of.
    fn free_lines(&mut self, id: WorkerId) {
        for line_id in self.lines.owned_by(id) {
            let line = self.lines.at(line_id);
            line.forget_returned();
            line.free_if_done();
            self.promote(line_id);
        }
    }
}
