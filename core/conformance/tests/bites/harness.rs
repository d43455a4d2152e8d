//! The faults, and the harness that opens a queue with one of them.

use crate::{
    others::{BrokenDead, BrokenSink},
    source::BrokenSource,
};
use forebay_conformance::{Harness, Setup, Stop, Timing};
use forebay_contract::{MessageId, OrderSupport};
use forebay_memory::{MemoryOptions, MemoryQueue, MemoryReceipt, MemorySource};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// One way to break the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    AcksNothing,
    AcksOnDrop,
    AcksOnHandOver,
    ForgetsAboveGap,
    SpoilsBatch,
    MindsOneCall,
    ObeysStale,
    CopiesTwice,
    SettlesFirst,
    RetriesEarly,
    ForgetsHistory,
    CountsPostponed,
    CountsReleased,
    CountsInMemory,
    WaitsInMemory,
    WaitsInLine,
    TellsLateLease,
    HidesInterruptions,
    ExtendsNothing,
    ExtendsByAdding,
    DiesThrice,
    IgnoresFilter,
    RedrivesRenamed,
    DeletesFirst,
    IgnoresKeys,
    RetriesToTheEnd,
    StopsAtDead,
    StarvesOthers,
    ReturnsNothing,
    SleepsTooLong,
    LosesOnCancel,
    IgnoresWant,
    GivesToEverybody,
    CutsPayload,
    LosesWhenCut,
    SurvivesNothing,
    KeepsOnClose,
    CountsWrongly,
    AnswersInReverse,
    RefusesAll,
    PublishesAtOnce,
}

/// Undoes something when the connection is cut, or the process ends.
pub(crate) type Undo = Box<dyn FnOnce() + Send>;

/// Who has a message, by its newest receipt.
pub(crate) type Holders = HashMap<MessageId, (Arc<MemorySource>, MemoryReceipt)>;

/// A queue, and what its fault needs to remember.
#[derive(Clone)]
pub(crate) struct BrokenQueue {
    pub(crate) main: MemoryQueue,
    /// Gets all that is published too, where everybody gets everything.
    pub(crate) twin: MemoryQueue,
    opened: Arc<AtomicUsize>,
    when_cut: Arc<Mutex<Vec<Undo>>>,
    current: Arc<Mutex<Holders>>,
}

impl BrokenQueue {
    pub(crate) fn when_cut(&self) -> MutexGuard<'_, Vec<Undo>> {
        self.when_cut.lock().expect("nothing panics while it holds this")
    }

    /// The newest receipt of each message, and who has it.
    pub(crate) fn current(&self) -> MutexGuard<'_, Holders> {
        self.current.lock().expect("nothing panics while it holds this")
    }
}

pub(crate) struct Broken {
    fault: Fault,
}

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault }
    }
}

impl Harness for Broken {
    type Queue = BrokenQueue;
    type Source = BrokenSource;
    type Sink = BrokenSink;
    type Dead = BrokenDead;

    fn timing(&self) -> Timing {
        Timing { patience: Duration::from_millis(2500), ..Timing::default() }
    }

    async fn fresh(&self, setup: &Setup) -> Result<BrokenQueue, Stop> {
        let order = match self.fault {
            Fault::IgnoresKeys | Fault::StarvesOthers => OrderSupport::None,
            _ => OrderSupport::KeyAtSource,
        };
        let options = MemoryOptions::default().order(order).lease(setup.lease).max_payload(1 << 20);
        Ok(BrokenQueue {
            main: MemoryQueue::with(options.clone()),
            twin: MemoryQueue::with(options),
            opened: Arc::default(),
            when_cut: Arc::default(),
            current: Arc::default(),
        })
    }

    async fn open(&self, queue: &BrokenQueue, _: &Setup) -> Result<BrokenSource, Stop> {
        let second = queue.opened.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let twin = second && self.fault == Fault::GivesToEverybody;
        let inner = if twin { queue.twin.source() } else { queue.main.source() };
        Ok(BrokenSource::new(self.fault, queue.clone(), inner))
    }

    async fn sink(&self, queue: &BrokenQueue) -> Result<BrokenSink, Stop> {
        Ok(BrokenSink { fault: self.fault, queue: queue.clone() })
    }

    async fn dead(&self, queue: &BrokenQueue) -> Result<BrokenDead, Stop> {
        Ok(BrokenDead { fault: self.fault, queue: queue.clone() })
    }

    async fn restart(&self, queue: BrokenQueue) -> Result<BrokenQueue, Stop> {
        if self.fault == Fault::SurvivesNothing {
            return self.fresh(&Setup::default()).await;
        }
        Ok(queue)
    }

    async fn sever(&self, queue: &BrokenQueue) -> Result<(), Stop> {
        let undo = std::mem::take(&mut *queue.when_cut());
        undo.into_iter().for_each(|undo| undo());
        queue.main.sever();
        Ok(())
    }
}
