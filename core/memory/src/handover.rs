//! Handing messages out, and taking them back.

use crate::{
    MemoryReceipt,
    lines::Token,
    state::State,
    table::{Place, WorkerId},
};
use forebay_contract::{Delivery, Lease, Message, SourceError, Want};
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

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
        let Some(worker) = self.workers.get(id).and_then(Option::as_ref) else {
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
        self.refill(want.messages.max(1), now);
        let expires = self.options.lease.map(|lease| now + lease);
        let lease = expires.map(|end| Lease { expires_at: end.into_std() });
        let (mut left, mut room) = (want.messages.max(1), want.bytes);
        let before = out.len();
        while left > 0 {
            let Some((token, mine)) = self.next_token(id) else { break };
            if !self.may_go(token, id) {
                continue;
            }
            let Some(entry) = self.table.get(token.0) else { continue };
            let size = entry.message.size();
            if size > room && out.len() > before {
                self.tokens(id, mine, token).push_front(token);
                break;
            }
            room = room.saturating_sub(size);
            left -= 1;
            let message = self.hand_out(token.0, id, expires);
            out.push(Delivery { message, receipt: self.table.receipt(token.0), scope, lease });
        }
        Ok(())
    }

    /// Makes replayed messages, as many as are asked for.
    fn refill(&mut self, wanted: usize, now: Instant) {
        let Some(replay) = &self.replay else { return };
        let waiting = self.table.len() - self.out;
        let ordered = self.options.order != forebay_contract::OrderSupport::None;
        for _ in 0..replay.missing(waiting, wanted, ordered) {
            let Some(message) = self.replay.as_mut().map(crate::replay::Replay::make) else {
                return;
            };
            self.insert(message, now, now);
        }
    }

    /// The next token, and whether it is of this worker's own: its own and the shared ones take
    /// turns, so that a line that belongs to it does not keep it from all others.
    fn next_token(&mut self, id: WorkerId) -> Option<(Token, bool)> {
        let worker = self.workers.get_mut(id)?.as_mut()?;
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
        match self.workers.get_mut(id) {
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
            line.waiting.pop_front(); // only the first of a line is ever handed out
            line.returned.remove(&seq);
            line.out += 1;
            if !at_source {
                line.owner = Some(id);
                self.promote(line_id);
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
                line.returned.insert(seq);
            }
            line.free_if_done();
        }
        self.enter(slot, now);
        if let Some(line) = line {
            self.promote(line);
        }
    }
}
