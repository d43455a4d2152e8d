//! What an adapter supplies to be tested: queues that nobody else uses, and the ways to hurt them.
//!
//! The suite knows a broker only through the contract and through this trait. What a harness cannot
//! do it answers with [`Stop::skip`], so that a case that was not run is reported as just that, with
//! its reason, and never counts as passed.

use crate::Stop;
use forebay_contract::{DeadLetters, Sink, Source};
use std::{future::Future, time::Duration};

/// How a queue is to be set up and opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Whether messages with one key must come in order. A harness may keep order even if not asked.
    pub ordered: bool,
    /// How long a hand-out is to last. Where the broker has a coarser grain, the next longer one;
    /// where hand-outs do not expire, it is ignored. The cases go by what the source's
    /// [`capabilities`](Source::capabilities) say.
    pub lease: Duration,
}

impl Default for Setup {
    /// No order asked for, and a lease that no case outlives.
    fn default() -> Self {
        Self { ordered: false, lease: Duration::from_secs(60) }
    }
}

impl Setup {
    /// With order within a key.
    #[must_use]
    pub fn ordered() -> Self {
        Self { ordered: true, ..Self::default() }
    }

    /// With a lease that a case can wait out many times.
    #[must_use]
    pub fn short_lease() -> Self {
        Self { lease: Duration::from_millis(400), ..Self::default() }
    }

    /// With a lease that outlasts a moment's quiet, but not a case's patience: for what may come back
    /// by a close or, where the broker cannot do that, by the end of its lease.
    #[must_use]
    pub fn medium_lease() -> Self {
        Self { lease: Duration::from_secs(2), ..Self::default() }
    }
}

/// How long the cases wait. The defaults suit a broker on the same machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For something that must happen: when this has passed, the case fails.
    pub patience: Duration,
    /// For something that must not happen: when this has passed, it is taken not to.
    pub quiet: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { patience: Duration::from_secs(8), quiet: Duration::from_millis(250) }
    }
}

/// A broker under test. Cases run at the same time, each on a queue of its own; errors become a
/// failure of the case by `?`.
pub trait Harness: Send + Sync {
    /// A queue and whatever keeps it alive: a directory, a container, a name. Dropped at the end of
    /// a case, when it should clean up.
    type Queue: Send + Sync;
    /// The adapter's source.
    type Source: Source;
    /// The adapter's sink.
    type Sink: Sink;
    /// The adapter's dead letters.
    type Dead: DeadLetters;

    /// How long to wait.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// Whether headers of different names arrive in the order in which they were sent. Values under
    /// one name always do. AMQP's tables, for one, are sorted by name.
    fn header_order(&self) -> bool {
        true
    }

    /// A new, empty queue with a name that nobody else uses.
    fn fresh(&self, setup: &Setup) -> impl Future<Output = Result<Self::Queue, Stop>> + Send;

    /// Opens the queue to take messages from. Called more than once, each is a worker of its own.
    fn open(
        &self,
        queue: &Self::Queue,
        setup: &Setup,
    ) -> impl Future<Output = Result<Self::Source, Stop>> + Send;

    /// Opens the queue to put messages into.
    fn sink(&self, queue: &Self::Queue) -> impl Future<Output = Result<Self::Sink, Stop>> + Send;

    /// Opens the queue's dead letters.
    fn dead(&self, queue: &Self::Queue) -> impl Future<Output = Result<Self::Dead, Stop>> + Send;

    /// Forgets all that this process holds of the queue in memory (shared writers, pools, caches),
    /// as if a new process came to it. The case has closed or dropped its sources, sinks and dead
    /// letters. By default there is nothing to forget.
    fn restart(
        &self,
        queue: Self::Queue,
    ) -> impl Future<Output = Result<Self::Queue, Stop>> + Send {
        async { Ok(queue) }
    }

    /// Cuts every connection to the broker once, while sources are open; they are to recover by
    /// themselves.
    fn sever(&self, _queue: &Self::Queue) -> impl Future<Output = Result<(), Stop>> + Send {
        async { Err(Stop::skip("this harness has no connection that it could cut")) }
    }

    /// Redrives all dead letters in a process that is killed (really killed) about half-way.
    fn redrive_killed_halfway(
        &self,
        _queue: &Self::Queue,
    ) -> impl Future<Output = Result<(), Stop>> + Send {
        async { Err(Stop::skip("this harness has no process that it could kill")) }
    }
}
