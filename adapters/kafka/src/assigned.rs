//! One partition in one assignment: what was read of it, what is out, what waits.
//!
//! ```text
//!   read --> line --------+
//!     |                   +--> out --> done
//!     | not due           |     |
//!     v                   |     | released, or an ordered retry
//!   timer or lane --> back +    |
//!     ^                         |
//!     +-------------------------+
//! ```
//!
//! `line` holds what was never out, in order; `back` what was out before or had to wait, and goes
//! first. Without order, what waits is a timer of its own. With order it waits in its *lane*: while
//! something of a key waits, nothing of that key with a higher offset is handed out, and what finds
//! its lane blocked is put into it. With order per partition, the whole partition is one lane, and
//! one message is out at a time.

mod times;

use crate::{KafkaOptions, Order, copy::Copy, records::Read, topics::TopicIndex};
use bytes::Bytes;
use forebay_contract::Message;
use forebay_policy::{Commit, Done, Ledger, Received};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Instant, SystemTime},
};

/// A message that was read and is not out.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) offset: i64,
    pub(crate) hand: u32,
    pub(crate) message: Arc<Message>,
}

/// Where a message waits for its time.
#[derive(Debug)]
pub(crate) enum Waits {
    /// By itself: the timer has it.
    Alone(Kept),
    /// In this lane.
    Lane(Bytes),
}

/// The log has gone back to where it was read already, and holds other messages from there on.
#[derive(Debug)]
pub(crate) struct Rewound;

/// What a receipt is worth.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// It is of the current hand-out.
    Current,
    /// The message was settled.
    Settled,
    /// The message was handed out again, or is about to be.
    Stale,
    /// A copy is on its way.
    Copying(Arc<Copy>),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) scope: u64,
    pub(crate) topic: TopicIndex,
    pub(crate) partition: i32,
    pub(crate) ledger: Ledger,
    order: Order,
    back: VecDeque<Kept>,
    line: VecDeque<Kept>,
    /// Lanes that are blocked, with what waits in them: until when, or just for its turn.
    lanes: HashMap<Bytes, BTreeMap<i64, (Kept, Option<Instant>)>>,
    /// How many wait, in lanes or by themselves.
    waiting: usize,
    /// Bytes of all that is read and not out.
    bytes: usize,
    /// The current hand of what is not at its first.
    hands: HashMap<i64, u32>,
    /// Copies on their way, by the offset of what they are made of.
    copies: HashMap<i64, Arc<Copy>>,
    /// How many are out.
    pub(crate) out: usize,
    /// Since when each offset has been due, ascending. What is done is in it for a while.
    since: VecDeque<(i64, SystemTime)>,
    /// Whether it is being taken away.
    leaving: bool,
    /// Whether reading has stopped because the done map is nearly full.
    held: bool,
    /// Whether the last commit's done map had no room.
    unmapped: bool,
    /// Whether reading has stopped because enough is read ahead.
    pub(crate) wants_more: bool,
}

impl Assigned {
    pub(crate) fn new(topic: TopicIndex, partition: i32, ledger: Ledger, order: Order) -> Self {
        Self {
            scope: ledger.epoch(),
            topic,
            partition,
            ledger,
            order,
            back: VecDeque::new(),
            line: VecDeque::new(),
            lanes: HashMap::new(),
            waiting: 0,
            bytes: 0,
            hands: HashMap::new(),
            copies: HashMap::new(),
            out: 0,
            since: VecDeque::new(),
            leaving: false,
            held: false,
            unmapped: false,
            wants_more: false,
        }
    }

    /// The same partition, of whose log all is new from `offset` on. Nothing is read of it yet, and
    /// what is out is of a scope that is over.
    pub(crate) fn rewound(mut self, scope: u64, offset: i64) -> Self {
        self.ledger.rewind(scope, offset);
        Self::new(self.topic, self.partition, self.ledger, self.order)
    }

    /// Ready to be handed out, if order allows.
    pub(crate) fn ready(&self) -> usize {
        self.back.len() + self.line.len()
    }

    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many messages may be read now. Once enough is read ahead, none until half of it has gone:
    /// otherwise the thread would come round for each message that goes out, and find one.
    pub(crate) fn room(&mut self, options: &KafkaOptions) -> usize {
        let room = options.buffer_messages.saturating_sub(self.ready());
        let enough = room == 0 || self.bytes >= options.buffer_bytes;
        self.wants_more = enough || (self.wants_more && !self.is_low(options));
        let full = self.wants_more || self.waiting >= options.waiting_messages;
        let held = !self.ledger.may_receive() && !self.leaving;
        if held != self.held {
            self.held = held;
            self.tell_held();
        }
        if full || self.leaving || held { 0 } else { room }
    }

    /// Whether it has come down to half of the messages that are to be read ahead.
    pub(crate) fn is_low(&self, options: &KafkaOptions) -> bool {
        self.ready() <= options.buffer_messages / 2 && self.bytes < options.buffer_bytes
    }

    /// Consumption that stops is what operators want to know about.
    fn tell_held(&self) {
        let (partition, stuck, gap) = (self.partition, self.ledger.next(), self.ledger.gap());
        if self.held {
            tracing::warn!(
                partition,
                offset = stuck,
                gap,
                incomplete = self.ledger.incomplete(),
                "a partition is read no further: its done map is nearly full, or could be too small \
                 for what is in flight, since this offset is not done while {gap} behind it were \
                 received"
            );
        } else {
            tracing::info!(partition, "the partition is read again");
        }
    }

    /// What to commit, if anything has changed.
    pub(crate) fn commit(&mut self) -> Option<Commit> {
        let commit = self.ledger.commit()?;
        let unmapped = self.ledger.is_unmapped(&commit);
        if unmapped && !self.unmapped {
            tracing::warn!(
                partition = self.partition,
                offset = commit.offset,
                gap = self.ledger.gap(),
                "what is done beyond this offset has no room in the commit's metadata: a restart \
                 now would repeat it"
            );
        }
        self.unmapped = unmapped;
        Some(commit)
    }

    /// Takes in what was read. Returns where it waits, if it is not due.
    pub(crate) fn read(
        &mut self,
        read: Read,
        due: Option<Instant>,
        now: Instant,
    ) -> Result<Option<Waits>, Rewound> {
        let Read { offset, message, since, due: due_at, .. } = read;
        if self.leaving {
            return Ok(None);
        }
        match self.ledger.received(offset) {
            Received::Fresh => {}
            Received::AlreadyDone | Received::Fenced => return Ok(None),
            Received::Rewound => return Err(Rewound),
        }
        self.since.extend(due_at.or(since).map(|since| (offset, since)));
        self.forget_times();
        self.bytes += message.size();
        let kept = Kept { offset, hand: 0, message };
        if let Some(due) = due.filter(|due| *due > now) {
            return Ok(Some(self.put_to_wait(kept, due)));
        }
        self.line.push_back(kept);
        Ok(None)
    }

    /// Takes the next message that may go out, if there is one.
    pub(crate) fn take(&mut self) -> Option<Kept> {
        if self.order == Order::Partition && (self.out > 0 || self.is_held()) {
            return None;
        }
        loop {
            let kept =
                if self.back_is_next() { &mut self.back } else { &mut self.line }.pop_front()?;
            if self.order == Order::Key
                && !self.lanes.is_empty()
                && let Some(lane) =
                    kept.message.key.as_ref().and_then(|key| self.lanes.get_mut(key))
                && lane.first_key_value().is_some_and(|(first, _)| *first < kept.offset)
            {
                // Its time has come long ago; its turn has not.
                lane.insert(kept.offset, (kept, None));
                self.waiting += 1;
                continue;
            }
            self.bytes -= kept.message.size();
            self.out += 1;
            return Some(kept);
        }
    }

    /// What comes back goes first; with order, the lower offset does.
    fn back_is_next(&self) -> bool {
        match (self.back.front(), self.line.front()) {
            (Some(back), Some(line)) => self.order == Order::None || back.offset < line.offset,
            (back, _) => back.is_some(),
        }
    }

    /// Whether what waits is to go before all that is ready.
    fn is_held(&self) -> bool {
        let ready = [&self.back, &self.line].into_iter().filter_map(VecDeque::front);
        let first = ready.map(|kept| kept.offset).min();
        let waiting = self.lanes.values().filter_map(BTreeMap::first_key_value).next();
        waiting.is_some_and(|(offset, _)| first.is_none_or(|first| *offset < first))
    }

    /// Puts back what [`Assigned::take`] gave and nobody had room for.
    pub(crate) fn untake(&mut self, kept: Kept) {
        self.bytes += kept.message.size();
        self.out -= 1;
        self.back.push_front(kept);
    }

    /// What a receipt is worth.
    pub(crate) fn standing(&self, offset: i64, hand: u32) -> Standing {
        if !self.hands.is_empty() || hand > 0 {
            let current = self.hands.get(&offset).copied().unwrap_or(0);
            if current != hand {
                return Standing::Stale;
            }
        }
        if self.copies.is_empty() {
            return Standing::Current;
        }
        self.copies.get(&offset).map_or(Standing::Current, |copy| Standing::Copying(copy.clone()))
    }

    /// Notes that a message is done.
    pub(crate) fn done(&mut self, offset: i64) -> Standing {
        match self.ledger.done(self.scope, offset) {
            Done::Noted => {
                self.out -= 1;
                self.hands.remove(&offset);
                Standing::Current
            }
            Done::Already => Standing::Settled,
            Done::Unknown | Done::Fenced => Standing::Stale,
        }
    }

    /// A copy of a message that is out is on its way.
    pub(crate) fn copying(&mut self, offset: i64, copy: Arc<Copy>) {
        self.copies.insert(offset, copy);
    }

    /// It is no longer.
    pub(crate) fn copied(&mut self, offset: i64) {
        self.copies.remove(&offset);
    }

    /// Takes back a message that is out, to be handed out again. Returns where it waits for its
    /// time. On its way out, a partition takes nothing back.
    pub(crate) fn take_back(
        &mut self,
        mut kept: Kept,
        due: Instant,
        now: Instant,
    ) -> Option<Waits> {
        self.out -= 1;
        // From now on its receipt is stale.
        kept.hand = kept.hand.wrapping_add(1);
        self.hands.insert(kept.offset, kept.hand);
        if self.leaving {
            return None;
        }
        self.bytes += kept.message.size();
        let waits = self.put_to_wait(kept, due);
        if due > now {
            return Some(waits);
        }
        self.due(waits, now);
        None
    }

    fn put_to_wait(&mut self, kept: Kept, due: Instant) -> Waits {
        self.waiting += 1;
        let lane = match self.order {
            Order::None => None,
            Order::Key => kept.message.key.clone(),
            Order::Partition => Some(Bytes::new()),
        };
        match lane {
            None => Waits::Alone(kept),
            Some(lane) => {
                let waiting = self.lanes.entry(lane.clone()).or_default();
                waiting.insert(kept.offset, (kept, Some(due)));
                Waits::Lane(lane)
            }
        }
    }

    /// A timer has run out.
    pub(crate) fn due(&mut self, waits: Waits, now: Instant) {
        match waits {
            Waits::Alone(kept) => {
                self.waiting -= 1;
                self.back.push_back(kept);
            }
            Waits::Lane(lane) => self.advance(&lane, now),
        }
    }

    /// Lets go of what may go, from the front of a lane.
    fn advance(&mut self, lane: &Bytes, now: Instant) {
        let Some(waiting) = self.lanes.get_mut(lane) else { return };
        while let Some(first) = waiting.first_entry()
            && first.get().1.is_none_or(|due| due <= now)
        {
            let (kept, _) = first.remove();
            self.waiting -= 1;
            let at = self.back.partition_point(|other| other.offset < kept.offset);
            self.back.insert(at, kept);
        }
        if waiting.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// It is being taken away: what is not out is dropped, since the next owner reads it again.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.back.clear();
        self.line.clear();
        self.lanes.clear();
        (self.waiting, self.bytes) = (0, 0);
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaving
    }
}

#[cfg(test)]
mod tests;
