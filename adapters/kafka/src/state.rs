//! All that a source knows: its partitions, what is ready, what waits, what has happened.
//!
//! One lock, held for moments and never over I/O. The thread that owns the consumer puts in what it
//! has read; `receive` takes out; `settle` and the delivery reports of copies mark what is done. Time
//! is passed in.

use crate::{
    KafkaError, KafkaOptions, Order, Receipt,
    assigned::{Assigned, Kept, Rewound, Standing, Waits},
    copy::{Copy, Outcome},
    records::Read,
};
use forebay_contract::{Delivery, Message, Scope, SourceEvent, Want};
use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::Thread,
    time::Instant,
};
use tokio::sync::{Notify, watch};

/// How many messages a partition gives before it is another's turn.
const TURN: usize = 16;

/// What the source, its thread and the delivery reports have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something is ready, or the source is closed.
    pub(crate) ready: Notify,
    /// An event is there.
    pub(crate) happened: Notify,
    /// The group has given or taken partitions.
    pub(crate) assigned: Notify,
    /// The thread that owns the consumer.
    pub(crate) thread: OnceLock<Thread>,
    /// Whether that thread has left the group and ended.
    pub(crate) finished: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at once.
    pub(crate) fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Tells the runtime.
    pub(crate) fn tell(&self, event: SourceEvent) {
        self.lock().events.push_back(event);
        self.happened.notify_one();
    }

    /// The source is of no more use.
    pub(crate) fn fail(&self, error: KafkaError) {
        tracing::error!("{error}");
        self.lock().failed.get_or_insert(error);
        self.ready.notify_waiters();
        self.ready.notify_one();
        self.assigned.notify_waiters();
    }

    /// Nothing more is handed out; the thread commits what is done, and leaves until then.
    pub(crate) fn close(&self, deadline: Instant) {
        {
            let mut state = self.lock();
            state.closed = true;
            state.close_by.get_or_insert(deadline);
        }
        self.ready.notify_waiters();
        self.ready.notify_one();
        self.wake_thread();
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By ascending scope.
    pub(crate) partitions: Vec<Assigned>,
    timers: BinaryHeap<Timer>,
    pub(crate) events: VecDeque<SourceEvent>,
    /// Whose turn it is.
    turn: usize,
    /// Nothing more is handed out or settled.
    pub(crate) closed: bool,
    pub(crate) failed: Option<KafkaError>,
    /// When the thread is to be gone, once the source is closed.
    pub(crate) close_by: Option<Instant>,
    /// How many rebalances have given or taken partitions, empty ones included.
    pub(crate) rebalances: u64,
}

/// When something of a partition falls due.
#[derive(Debug)]
struct Timer {
    due: Instant,
    scope: u64,
    waits: Waits,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest: what a heap gives first.
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

/// What was taken in of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// Whether anything became ready.
    pub(crate) ready: bool,
    /// The offset that the log has gone back to. It was not taken in, nor was what came behind it:
    /// [`Poller::rewind`](crate::poller::Poller::rewind) has it read again.
    pub(crate) rewound: Option<i64>,
}

/// What is to be done about a settlement.
pub(crate) enum Begun {
    /// Nothing more: it is carried out, or was before.
    Over,
    /// The receipt is stale.
    Stale,
    /// A copy is on its way already.
    Wait(Arc<Copy>),
    /// A copy is to be made.
    Make(Arc<Copy>),
}

impl State {
    pub(crate) fn partition(&mut self, scope: u64) -> Option<&mut Assigned> {
        let at = self.partitions.binary_search_by_key(&scope, |assigned| assigned.scope).ok()?;
        self.partitions.get_mut(at)
    }

    /// Takes in what was read of a partition, in order.
    pub(crate) fn read(
        &mut self,
        scope: u64,
        batch: Vec<(Read, Option<Instant>)>,
        now: Instant,
    ) -> Took {
        let Some(partition) = self.partition(scope) else { return Took::default() };
        let (mut timers, mut rewound) = (Vec::new(), None);
        let before = partition.ready();
        for (read, due) in batch {
            let offset = read.offset;
            match partition.read(read, due, now) {
                Ok(None) => {}
                Ok(Some(waits)) => timers.push(Timer { due: due.unwrap_or(now), scope, waits }),
                Err(Rewound) => {
                    rewound = Some(offset);
                    break;
                }
            }
        }
        let ready = partition.ready() > before;
        self.timers.extend(timers);
        Took { ready, rewound }
    }

    /// Hands out what is wanted, partition by partition in turn.
    pub(crate) fn hand_out(&mut self, want: Want, out: &mut Vec<Delivery<Receipt>>) -> usize {
        let (mut messages, mut bytes) = (0, 0);
        let count = self.partitions.len();
        let mut dry = 0;
        while dry < count && messages < want.messages {
            self.turn = (self.turn + 1) % count;
            let partition = &mut self.partitions[self.turn];
            let turn = TURN.min(want.messages - messages);
            let mut given = 0;
            while given < turn
                && let Some(kept) = partition.take()
            {
                let size = kept.message.size();
                if messages + given > 0 && bytes + size > want.bytes {
                    partition.untake(kept);
                    return messages + given;
                }
                bytes += size;
                given += 1;
                let Kept { offset, hand, message } = kept;
                let receipt = Receipt { scope: partition.scope, offset, hand };
                let scope = Scope(partition.scope);
                out.push(Delivery { message, receipt, scope, lease: None });
            }
            messages += given;
            dry = if given == 0 { dry + 1 } else { 0 };
        }
        messages
    }

    /// Marks a message as done.
    pub(crate) fn done(&mut self, receipt: Receipt) -> Begun {
        let Some(partition) = self.partition(receipt.scope) else { return Begun::Stale };
        match partition.standing(receipt.offset, receipt.hand) {
            Standing::Current => match partition.done(receipt.offset) {
                Standing::Stale => Begun::Stale,
                _ => Begun::Over,
            },
            Standing::Copying(copy) => Begun::Wait(copy),
            Standing::Settled => Begun::Over,
            Standing::Stale => Begun::Stale,
        }
    }

    /// Begins a settlement that needs a copy first.
    pub(crate) fn begin_copy(&mut self, receipt: Receipt) -> Begun {
        let Some(partition) = self.partition(receipt.scope) else { return Begun::Stale };
        match partition.standing(receipt.offset, receipt.hand) {
            Standing::Current if !partition.ledger.is_open(receipt.offset) => Begun::Over,
            Standing::Current => {
                let copy = Arc::new(Copy::default());
                partition.copying(receipt.offset, copy.clone());
                Begun::Make(copy)
            }
            Standing::Copying(copy) => Begun::Wait(copy),
            Standing::Settled => Begun::Over,
            Standing::Stale => Begun::Stale,
        }
    }

    /// A copy has come to an end: the message is done, or waits again with `kept`.
    pub(crate) fn copied(
        &mut self,
        receipt: Receipt,
        outcome: Outcome,
        again: Option<(Arc<Message>, Instant)>,
        now: Instant,
    ) -> Outcome {
        let Some(partition) = self.partition(receipt.scope) else {
            return if matches!(outcome, Outcome::Confirmed { .. }) {
                Outcome::TooLate
            } else {
                outcome
            };
        };
        partition.copied(receipt.offset);
        if !matches!(outcome, Outcome::Confirmed { .. }) {
            return outcome;
        }
        match again {
            None => {
                if matches!(partition.done(receipt.offset), Standing::Stale) {
                    return Outcome::TooLate;
                }
            }
            Some((message, due)) => {
                let kept = Kept { offset: receipt.offset, hand: receipt.hand, message };
                if let Some(waits) = partition.take_back(kept, due, now) {
                    self.timers.push(Timer { due, scope: receipt.scope, waits });
                }
            }
        }
        outcome
    }

    /// Takes back a message, with nothing recorded.
    pub(crate) fn release(
        &mut self,
        receipt: Receipt,
        message: &Arc<Message>,
        due: Instant,
        now: Instant,
    ) -> Begun {
        let Some(partition) = self.partition(receipt.scope) else { return Begun::Stale };
        match partition.standing(receipt.offset, receipt.hand) {
            Standing::Current if partition.ledger.is_open(receipt.offset) => {
                let message = message.clone();
                let kept = Kept { offset: receipt.offset, hand: receipt.hand, message };
                if let Some(waits) = partition.take_back(kept, due, now) {
                    self.timers.push(Timer { due, scope: receipt.scope, waits });
                }
                Begun::Over
            }
            Standing::Copying(copy) => Begun::Wait(copy),
            Standing::Current | Standing::Settled => Begun::Over,
            Standing::Stale => Begun::Stale,
        }
    }

    /// Lets go of what has fallen due. Returns when the next does.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Instant> {
        while self.timers.peek().is_some_and(|timer| timer.due <= now) {
            let Some(Timer { scope, waits, .. }) = self.timers.pop() else { break };
            if let Some(partition) = self.partition(scope).filter(|p| !p.is_leaving()) {
                partition.due(waits, now);
            }
        }
        self.timers.peek().map(|timer| timer.due)
    }

    /// Whether anything could be handed out.
    pub(crate) fn has_ready(&self) -> bool {
        self.partitions.iter().any(|partition| partition.ready() > 0)
    }

    /// A partition is ours.
    pub(crate) fn assign(&mut self, assigned: Assigned) {
        self.partitions.push(assigned);
        self.partitions.sort_by_key(|assigned| assigned.scope);
    }

    /// A partition begins to leave: what is not out is dropped.
    pub(crate) fn leave(&mut self, scope: u64) {
        if let Some(partition) = self.partition(scope) {
            partition.leave();
        }
        self.timers.retain(|timer| timer.scope != scope);
    }

    /// A partition is gone: what comes late settles nothing.
    pub(crate) fn lose(&mut self, scope: u64) {
        self.timers.retain(|timer| timer.scope != scope);
        self.partitions.retain(|partition| partition.scope != scope);
    }

    /// The log of a partition has gone back: it is taken over anew, in a scope of its own, and the old
    /// one is lost. Returns what it is now, and the last offset that was read before.
    pub(crate) fn rewind(
        &mut self,
        scope: u64,
        again: u64,
        offset: i64,
    ) -> Option<(&mut Assigned, i64)> {
        let at = self.partitions.binary_search_by_key(&scope, |assigned| assigned.scope).ok()?;
        let before = self.partitions.remove(at);
        self.lose(scope);
        self.events.push_back(SourceEvent::Lost(Scope(scope)));
        let last = before.ledger.last();
        self.assign(before.rewound(again, offset));
        self.partition(again).map(|partition| (partition, last))
    }

    /// The partition with this place, if it is ours.
    pub(crate) fn scope_of(&self, topic: usize, partition: i32) -> Option<u64> {
        let here =
            |assigned: &&Assigned| assigned.topic == topic && assigned.partition == partition;
        self.partitions.iter().find(here).map(|assigned| assigned.scope)
    }

    /// Whether a partition that was full has come down to half of what is to be read ahead.
    pub(crate) fn is_thirsty(&self, options: &KafkaOptions) -> bool {
        self.partitions.iter().any(|partition| partition.wants_more && partition.is_low(options))
    }
}

/// Whether a settlement lets the next message of its partition go.
pub(crate) const fn settling_makes_ready(order: Order) -> bool {
    matches!(order, Order::Partition)
}
