//! Carrying out verdicts, and extending leases.

use crate::{
    MemoryReceipt,
    state::State,
    table::{Place, WorkerId},
};
use forebay_contract::{
    DeadOrigin, DeadReason, FailureNote, Lease, LeaseError, SettleError, Settled, Settlement,
    Verdict,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

impl State {
    /// Carries out one verdict of a worker.
    pub(crate) fn settle(
        &mut self,
        id: WorkerId,
        settlement: &Settlement<MemoryReceipt>,
        now: Instant,
    ) -> Result<Settled, SettleError> {
        if let Some(error) = self.faults.settles.next() {
            return Err(error);
        }
        if let Some(why) = &self.faults.down {
            return Err(SettleError::Unavailable(why.clone().into()));
        }
        let receipt = settlement.receipt;
        let Some(entry) = self.table.held(receipt, id) else {
            let unheard = self.unheard.remove(&receipt);
            return if unheard { Ok(Settled::Durable) } else { Err(SettleError::Stale) };
        };
        if self.options.note_verdicts {
            self.notes.push((entry.message.id.clone(), settlement.verdict.clone()));
        }
        self.carry_out(receipt.slot, id, &settlement.verdict, now);
        if self.faults.lost_answers > 0 {
            self.faults.lost_answers -= 1;
            self.unheard.insert(receipt);
            return Err(SettleError::Unavailable("the answer was lost".into()));
        }
        Ok(Settled::Durable)
    }

    fn carry_out(&mut self, slot: u32, worker: WorkerId, verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Ack | Verdict::Drop(_) => self.finish(slot),
            Verdict::Retry { after, note } => {
                self.come_back(slot, now + *after, now, Some(worker), |message| {
                    message.attempt = message.attempt.saturating_add(1);
                    message.history = message.history.with(note.clone());
                });
            }
            Verdict::Postpone { after, note } => {
                self.come_back(slot, now + *after, now, Some(worker), |message| {
                    message.history = message.history.with(note.clone());
                });
            }
            Verdict::Release { after } => {
                self.come_back(slot, now + *after, now, Some(worker), |_| ());
            }
            Verdict::DeadLetter { reason, note } => self.bury(slot, *reason, note, now),
        }
    }

    fn bury(&mut self, slot: u32, reason: DeadReason, note: &FailureNote, now: Instant) {
        if let Some(entry) = self.table.get(slot) {
            let mut message = (*entry.message).clone();
            message.history = message.history.with(note.clone());
            let queue = self.options.name.clone();
            let origin = DeadOrigin { queue, position: entry.seq.to_string() };
            let died_at = self.wall(now);
            self.graveyard.bury(message, reason, origin, died_at);
        }
        self.finish(slot);
    }

    /// Removes a message that is out for good.
    fn finish(&mut self, slot: u32) {
        self.end_hold(slot);
        let Some(entry) = self.table.remove(slot) else { return };
        if let Some(id) = entry.line {
            let line = self.lines.at(id);
            let owned = line.owner.is_some();
            line.free_if_done();
            if line.is_empty() {
                self.lines.tidy(id);
            } else if !(owned && line.owner.is_some()) {
                // In lanes, who owns the line has been offered its next message when it took this one.
                self.promote(id);
            }
        }
        if let (Some(template), Some(replay)) = (entry.template, &mut self.replay) {
            replay.spend(entry.message, template);
        }
    }

    /// Makes a worker's hand-out last for this long from now on.
    pub(crate) fn extend(
        &mut self,
        id: WorkerId,
        receipt: MemoryReceipt,
        time: Duration,
        now: Instant,
    ) -> Result<Lease, LeaseError> {
        if let Some(why) = &self.faults.down {
            return Err(LeaseError::Unavailable(why.clone().into()));
        }
        let leased = self.options.lease.is_some();
        let entry = self.table.held(receipt, id).ok_or(LeaseError::Lost)?;
        let seq = entry.seq;
        let end = now + time;
        if leased && let Place::Out { expires, .. } = &mut entry.place {
            let before = expires.replace(end);
            self.leases.insert((end, seq), receipt.slot);
            if let Some(before) = before.filter(|before| *before != end) {
                self.leases.remove(&(before, seq));
            }
            self.news = true;
        }
        Ok(Lease { expires_at: end.into_std() })
    }

    /// Moves dead letters back into the queue.
    pub(crate) fn redrive(
        &mut self,
        filter: &forebay_contract::DeadFilter,
        limit: usize,
        now: Instant,
    ) -> Vec<forebay_contract::DeadLetter> {
        let letters = self.graveyard.take(filter, limit);
        for letter in &letters {
            let mut message = letter.message.clone();
            (message.attempt, message.interrupted, message.deliveries) = (0, 0, Some(1));
            message.redrives = message.redrives.saturating_add(1);
            let line = self.line_of(&message);
            self.insert(Arc::new(message), line, None, now, now);
        }
        letters
    }
}
