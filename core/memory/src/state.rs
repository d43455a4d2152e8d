//! The queue itself: plain data behind one lock, with the time passed in.
//!
//! ```text
//!   publish --> Delayed --due--> Waiting --take--> Out --ack, drop--> gone
//!                  ^                ^               |---dead letter-> graveyard
//!                  +-- later -------+---- at once --+  (retry, release, lease over, scope lost)
//! ```
//!
//! Nothing here runs by itself: each call first brings the queue up to its `now` ([`State::advance`]),
//! so leases end and delays pass under paused time exactly as under real time.

use crate::{
    MemoryOptions, MemoryReceipt,
    faults::Faults,
    graveyard::Graveyard,
    lines::{LineId, Lines, Token},
    replay::Replay,
    table::{Entry, Place, Table, WorkerId},
    worker::Worker,
};
use forebay_contract::{
    Backlog, Count, Message, MessageId, OrderSupport, Outgoing, PublishError, Verdict,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};
use tokio::time::Instant;

/// All of a queue.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: MemoryOptions,
    pub(crate) table: Table,
    pub(crate) lines: Lines,
    /// What is not due yet, by when it is.
    pub(crate) delayed: BTreeMap<(Instant, u64), u32>,
    /// What is out, by when its lease ends; empty without leases.
    pub(crate) leases: BTreeMap<(Instant, u64), u32>,
    /// How many are out.
    pub(crate) out: usize,
    /// Open sources by their number; `None` once closed.
    pub(crate) workers: Vec<Option<Worker>>,
    pub(crate) graveyard: Graveyard,
    pub(crate) faults: Faults,
    pub(crate) replay: Option<Replay>,
    /// Receipts of settlements that were carried out, but answered as if they were not.
    pub(crate) unheard: HashSet<MemoryReceipt>,
    /// Verdicts in the order in which they were carried out.
    pub(crate) notes: Vec<(MessageId, Verdict)>,
    /// Set when somebody who waits should look again; cleared by whoever tells them.
    pub(crate) news: bool,
    next_seq: u64,
    pub(crate) next_scope: u64,
    /// One moment by both clocks, so that wall times follow paused time.
    origin: (Instant, SystemTime),
}

impl State {
    pub(crate) fn new(options: MemoryOptions, now: Instant) -> Self {
        Self {
            options,
            table: Table::default(),
            lines: Lines::default(),
            delayed: BTreeMap::new(),
            leases: BTreeMap::new(),
            out: 0,
            workers: Vec::new(),
            graveyard: Graveyard::default(),
            faults: Faults::default(),
            replay: None,
            unheard: HashSet::new(),
            notes: Vec::new(),
            news: false,
            next_seq: 0,
            next_scope: 1,
            origin: (now, SystemTime::now()),
        }
    }

    /// The wall clock at this moment.
    pub(crate) fn wall(&self, now: Instant) -> SystemTime {
        self.origin.1 + now.saturating_duration_since(self.origin.0)
    }

    /// Whether the source holds the keys, rather than the worker's lanes.
    pub(crate) fn at_source(&self) -> bool {
        self.options.order == OrderSupport::KeyAtSource
    }

    pub(crate) fn try_publish(
        &mut self,
        outgoing: &Outgoing,
        now: Instant,
    ) -> Result<MessageId, PublishError> {
        if let Some(why) = &self.faults.down {
            return Err(PublishError::Unavailable(why.clone().into()));
        }
        let size = outgoing.payload.len();
        match self.options.max_payload {
            Some(limit) if size > limit => Err(PublishError::Refused(
                format!("its payload of {size} bytes is larger than the {limit} that are allowed")
                    .into(),
            )),
            _ => Ok(self.publish(outgoing, now)),
        }
    }

    fn publish(&mut self, outgoing: &Outgoing, now: Instant) -> MessageId {
        let id = outgoing.id.clone().unwrap_or_else(|| MessageId::from(self.next_seq + 1));
        let message = Message {
            key: outgoing.key.clone(),
            headers: outgoing.headers.clone(),
            deliveries: Some(1),
            enqueued_at: Some(self.wall(now)),
            ..Message::new(id.clone(), outgoing.payload.clone())
        };
        let due = now + outgoing.delay.unwrap_or_default();
        let line = self.line_of(&message);
        self.insert(Arc::new(message), line, None, due, now);
        id
    }

    pub(crate) fn start_replay(&mut self, mut replay: Replay) {
        self.table.iter_mut().for_each(|entry| entry.template = None);
        if let Some(before) = self.replay.take() {
            before.lines().for_each(|line| self.lines.unpin(line));
        }
        if self.options.order != OrderSupport::None {
            replay.enter_lines(|key| self.lines.pin(key));
        }
        self.replay = Some(replay);
    }

    /// The line of a message, where there is order.
    pub(crate) fn line_of(&mut self, message: &Message) -> Option<LineId> {
        match &message.key {
            Some(key) if self.options.order != OrderSupport::None => Some(self.lines.of(key)),
            _ => None,
        }
    }

    pub(crate) fn new_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Puts a message at the end of the queue.
    pub(crate) fn insert(
        &mut self,
        message: Arc<Message>,
        line: Option<LineId>,
        template: Option<u32>,
        due: Instant,
        now: Instant,
    ) {
        let seq = self.new_seq();
        let place = Place::Waiting;
        let slot = self.table.insert(Entry { message, seq, line, template, due, place });
        self.enter(slot, now);
    }

    /// Lets a message that is in the table wait for its time, or its turn.
    pub(crate) fn enter(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let (due, seq, line) = (entry.due, entry.seq, entry.line);
        let delayed = due > now;
        entry.place = if delayed { Place::Delayed } else { Place::Waiting };
        if delayed {
            self.delayed.insert((due, seq), slot);
            self.news = true; // somebody may sleep for longer than that
        }
        if let Some(id) = line {
            let line = self.lines.at(id);
            line.enter((slot, seq));
            if line.first() == Some((slot, seq)) {
                self.promote(id);
            }
        } else if !delayed {
            self.make_ready((slot, seq), None);
        }
    }

    /// Makes the first of a line ready, if it is due and nothing stands in its way.
    pub(crate) fn promote(&mut self, id: LineId) {
        let line = self.lines.get(id);
        let (owner, next) = (line.owner, line.next(self.at_source()));
        let due = |token: &Token| {
            self.table.get(token.0).is_some_and(|entry| entry.place == Place::Waiting)
        };
        if let Some(token) = next.filter(due) {
            self.make_ready(token, owner);
        }
    }

    fn make_ready(&mut self, token: Token, owner: Option<WorkerId>) {
        self.news = true;
        if let Some(worker) = owner.and_then(|owner| self.worker(owner)) {
            return worker.own.push_back(token);
        }
        let again = self.table.get(token.0).is_some_and(|entry| entry.message.deliveries > Some(1));
        if again {
            self.lines.returned.push_back(token);
        } else {
            self.lines.ready.push_back(token);
        }
    }

    /// Brings the queue up to now: leases end, revoked scopes go, delays pass.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some((&(end, _), &slot)) = self.leases.first_key_value() {
            if end > now {
                break;
            }
            self.come_back(slot, now, now, None, |message| message.interrupted += 1);
        }
        self.end_revocations(now);
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((_, seq), slot) = first.remove_entry();
            let Some(entry) = self.table.get_mut(slot) else { continue };
            entry.place = Place::Waiting;
            match entry.line {
                Some(line) => self.promote(line),
                None => self.make_ready((slot, seq), None),
            }
        }
    }

    /// When something will change by the passing of time alone.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        let first = |times: &BTreeMap<(Instant, u64), u32>| Some(times.first_key_value()?.0.0);
        let revoked = self.workers.iter().flatten().filter_map(|worker| worker.revoked_at).min();
        [first(&self.leases), first(&self.delayed), revoked].into_iter().flatten().min()
    }

    /// What is in the queue. Looks at every message: this is for tests.
    pub(crate) fn backlog(&self, now: Instant) -> Backlog {
        let made_later = self.replay.as_ref().map_or(0, Replay::left);
        let ready = self.table.len() - self.out - self.delayed.len();
        let oldest = self.table.iter().map(|(_, entry)| entry.due).min();
        Backlog {
            ready: Some(Count::exact(ready as u64 + made_later)),
            delayed: Some(Count::exact(self.delayed.len() as u64)),
            leased: Some(Count::exact(self.out as u64)),
            dead: Some(Count::exact(self.graveyard.len() as u64)),
            oldest_age: Some(
                oldest.map_or_else(Default::default, |due| now.saturating_duration_since(due)),
            ),
        }
    }
}
