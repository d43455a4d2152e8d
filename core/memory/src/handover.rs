//! Handing messages out, and taking them back.

use crate::{
    MemoryReceipt,
    lines::Token,
    replay::Replay,
    state::State,
    table::{Entry, Place, WorkerId},
};
use forebay_contract::{Delivery, Lease, Message, OrderSupport, Scope, SourceError, Want};
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

/// One call of `take`: what is the same for all that it hands out.
struct Taking {
    id: WorkerId,
    scope: Scope,
    expires: Option<Instant>,
    /// How many deliveries there were before.
    first: usize,
    /// How many there may be after.
    full: usize,
}

impl Taking {
    fn delivery(&self, message: Arc<Message>, receipt: MemoryReceipt) -> Delivery<MemoryReceipt> {
        let lease = self.expires.map(|end| Lease { expires_at: end.into_std() });
        Delivery { message, receipt, scope: self.scope, lease }
    }
}

impl State {
    /// Hands out what may go now, up to `want`; nothing is no error.
    pub(crate) fn take(
        &mut self,
        id: WorkerId,
        want: Want,
        now: Instant,
        out: &mut Vec<Delivery<MemoryReceipt>>,
    ) -> Result<(), SourceError> {
        self.advance(now);
        let Some(worker) = self.worker(id) else {
            return Err(SourceError::Closed);
        };
        let (scope, revoked) = (worker.scope, worker.revoked_at.is_some());
        if let Some(error) = self.faults.receives.next() {
            return Err(error);
        }
        if let Some(why) = &self.faults.down {
            return Err(SourceError::Unavailable(why.clone().into()));
        }
        if revoked {
            return Ok(());
        }
        let taking = Taking {
            id,
            scope,
            expires: self.options.lease.map(|lease| now + lease),
            full: out.len() + want.messages.max(1),
            first: out.len(),
        };
        let mut room = want.bytes;
        if self.options.order == OrderSupport::None {
            if self.take_turns(&taking, &mut room, out) {
                self.take_made(&taking, &mut room, now, out);
            }
        } else {
            self.make_ahead(want.messages, now);
            self.take_turns(&taking, &mut room, out);
        }
        Ok(())
    }

    /// Hands out what is ready, in turn; whether there is room for more.
    fn take_turns(
        &mut self,
        taking: &Taking,
        room: &mut usize,
        out: &mut Vec<Delivery<MemoryReceipt>>,
    ) -> bool {
        while out.len() < taking.full {
            let Some((token, mine)) = self.next_token(taking.id) else { break };
            if !self.may_go(token, taking.id) {
                continue;
            }
            let Some(entry) = self.table.get(token.0) else { continue };
            let size = entry.message.size();
            if size > *room && out.len() > taking.first {
                self.tokens(taking.id, mine, token).push_front(token);
                return false;
            }
            *room = room.saturating_sub(size);
            let message = self.hand_out(token.0, taking.id, taking.expires);
            out.push(taking.delivery(message, self.table.receipt(token.0)));
        }
        true
    }

    /// Hands out replayed messages that nothing orders: they are made when it is their turn.
    fn take_made(
        &mut self,
        taking: &Taking,
        room: &mut usize,
        now: Instant,
        out: &mut Vec<Delivery<MemoryReceipt>>,
    ) {
        while out.len() < taking.full {
            let Some(replay) = &mut self.replay else { return };
            let size = replay.next_size();
            if size > *room && out.len() > taking.first {
                return;
            }
            let Some((message, template)) = replay.make() else { return };
            *room = room.saturating_sub(size);
            let seq = self.new_seq();
            let (id, expires, template) = (taking.id, taking.expires, Some(template));
            let place = Place::Out { worker: id, expires };
            let entry =
                Entry { message: message.clone(), seq, line: None, template, due: now, place };
            let slot = self.table.insert(entry);
            self.out += 1;
            if let Some(end) = expires {
                self.leases.insert((end, seq), slot);
                self.news = true; // somebody may sleep for longer than that
            }
            out.push(taking.delivery(message, self.table.receipt(slot)));
        }
    }

    /// Makes replayed messages where keys order them, some more than are asked for.
    fn make_ahead(&mut self, wanted: usize, now: Instant) {
        let Some(replay) = &self.replay else { return };
        for _ in 0..replay.missing(self.table.len() - self.out, wanted) {
            let Some((message, template)) = self.replay.as_mut().and_then(Replay::make) else {
                return;
            };
            let line = self.replay.as_ref().and_then(|replay| replay.line(template));
            self.insert(message, line, Some(template), now, now);
        }
    }

    /// The next token, and whether it is of this worker's own: its own and the shared ones take
    /// turns, so that a line that belongs to it does not keep it from all others.
    fn next_token(&mut self, id: WorkerId) -> Option<(Token, bool)> {
        let worker = self.workers.get_mut(id as usize)?.as_mut()?;
        worker.shared_next = !worker.shared_next;
        let shared_first = worker.shared_next;
        if !shared_first && let Some(token) = worker.own.pop_front() {
            return Some((token, true));
        }
        let lines = &mut self.lines;
        if let Some(token) = lines.returned.pop_front().or_else(|| lines.ready.pop_front()) {
            return Some((token, false));
        }
        worker.own.pop_front().map(|token| (token, true))
    }

    /// Where a token came from.
    fn tokens(&mut self, id: WorkerId, mine: bool, token: Token) -> &mut VecDeque<Token> {
        let again = self.table.get(token.0).is_some_and(|entry| entry.message.deliveries > Some(1));
        match self.workers.get_mut(id as usize) {
            Some(Some(worker)) if mine => &mut worker.own,
            _ if again => &mut self.lines.returned,
            _ => &mut self.lines.ready,
        }
    }

    /// Whether a token still tells the truth.
    fn may_go(&self, token: Token, id: WorkerId) -> bool {
        let Some(entry) = self.table.get(token.0) else { return false };
        if entry.seq != token.1 || entry.place != Place::Waiting {
            return false;
        }
        entry.line.is_none_or(|line| self.lines.get(line).may_go(token, id, self.at_source()))
    }

    fn hand_out(&mut self, slot: u32, id: WorkerId, expires: Option<Instant>) -> Arc<Message> {
        let at_source = self.at_source();
        let entry = self.table.get_mut(slot).expect("its token was found to tell the truth");
        entry.place = Place::Out { worker: id, expires };
        let (seq, line, message) = (entry.seq, entry.line, entry.message.clone());
        self.out += 1;
        if let Some(end) = expires {
            self.leases.insert((end, seq), slot);
            self.news = true; // somebody may sleep for longer than that
        }
        if let Some(line_id) = line {
            let line = self.lines.at(line_id);
            line.pop_first(); // only the first of a line is ever handed out
            line.take_returned(seq);
            line.out += 1;
            if !at_source {
                line.owner = Some(id);
                if !line.is_empty() {
                    self.promote(line_id);
                }
            }
        }
        message
    }

    /// Ends a hand-out, whatever ends it. The message is neither out nor waiting after this.
    pub(crate) fn end_hold(&mut self, slot: u32) {
        self.table.end_hand_out(slot);
        let Some(entry) = self.table.get(slot) else { return };
        let Place::Out { expires, .. } = entry.place else { return };
        self.out -= 1;
        if let Some(end) = expires {
            self.leases.remove(&(end, entry.seq));
        }
        if let Some(line) = entry.line {
            self.lines.at(line).out -= 1;
        }
    }

    /// Puts a message that is out back into the queue, changed, to be due at a time; `to`: it goes
    /// to that worker again, where lanes keep order.
    pub(crate) fn come_back(
        &mut self,
        slot: u32,
        due: Instant,
        now: Instant,
        to: Option<WorkerId>,
        change: impl FnOnce(&mut Message),
    ) {
        self.end_hold(slot);
        let Some(entry) = self.table.get_mut(slot) else { return };
        let message = Arc::make_mut(&mut entry.message);
        change(message);
        message.deliveries = message.deliveries.map(|deliveries| deliveries.saturating_add(1));
        entry.due = due;
        let (seq, line) = (entry.seq, entry.line);
        if let Some(line) = line {
            let line = self.lines.at(line);
            if to.is_some() && line.owner == to {
                line.note_returned(seq);
            }
            line.free_if_done();
        }
        self.enter(slot, now);
        if let Some(line) = line {
            self.promote(line);
        }
    }
}
