//! The loops that are measured: the same messages, the same handler, run in different ways.
//!
//! The bare loops get their messages from nowhere: each is a clone of one `Bytes`, and nothing is
//! acknowledged. Forebay's loops take theirs from a queue in memory and settle each with it. So the
//! comparison leans against Forebay, by what [`Loop::Queue`] costs alone.

mod bare;
mod forebay;
mod memory;

pub use self::forebay::{replay, shuffled, until_settled};

use crate::{allocations, cost::Cost, flavor::Flavor};
use bytes::Bytes;
use std::{fmt, io};

/// How many handlers may run at once.
pub const AT_ONCE: usize = 64;
/// How many keys are live where keys are.
pub const KEYS: u64 = 100_000;
/// The payload of every message.
pub const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 100]);

/// A way to run handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Loop {
    /// A permit of a semaphore, and a task for each message: what people write by hand.
    SpawnSemaphore,
    /// Polled once inline, then moved to a `FuturesUnordered`: the floor on one thread.
    InlineUnordered,
    /// Polled once inline, then moved to a task: the floor on several threads.
    InlineSpawn,
    /// Received from the queue in memory and acknowledged, with no handler: the source's own part.
    Queue,
    /// As `Queue`, from a queue that orders by key, with a message of each of [`KEYS`] out.
    QueueByKey,
    /// The same with the keys in no order.
    QueueByShuffledKey,
    /// Forebay with everything on, raw bytes, without order.
    Forebay,
    /// Forebay with everything on, raw bytes, in order by key, with 16 keys.
    ForebayFewKeys,
    /// Forebay with everything on, raw bytes, in order by key, with all of [`KEYS`] live.
    ForebayByKey,
    /// The same with the keys in no order: lanes are not found one behind the other in memory.
    ForebayByShuffledKey,
    /// No messages, but one read from memory in place of each: by how much what lies beyond the
    /// caches waits for the machine.
    MemoryRead,
}

impl Loop {
    /// All that handle messages, in the order of the tables.
    pub const ALL: [Self; 10] = [
        Self::SpawnSemaphore,
        Self::InlineUnordered,
        Self::InlineSpawn,
        Self::Queue,
        Self::QueueByKey,
        Self::QueueByShuffledKey,
        Self::Forebay,
        Self::ForebayFewKeys,
        Self::ForebayByKey,
        Self::ForebayByShuffledKey,
    ];

    /// Handles this many messages, and returns when all are done: acknowledged, where there is
    /// somebody to acknowledge to. Gives what each cost, without what it took to set up and to take
    /// down.
    pub async fn run(self, messages: u64) -> Cost {
        match self {
            Self::SpawnSemaphore => bare::spawn_semaphore(messages).await,
            Self::InlineUnordered => bare::inline_unordered(messages).await,
            Self::InlineSpawn => bare::inline_spawn(messages).await,
            Self::Queue => {
                forebay::queue_alone(messages, forebay::unordered(messages), AT_ONCE).await
            }
            Self::QueueByKey => {
                let queue = replay(messages, forebay::in_turn(KEYS));
                forebay::queue_alone(messages, queue, KEYS as usize).await
            }
            Self::QueueByShuffledKey => {
                let queue = replay(messages, shuffled(forebay::in_turn(KEYS)));
                forebay::queue_alone(messages, queue, KEYS as usize).await
            }
            Self::Forebay => forebay::run_unordered(messages).await,
            Self::ForebayFewKeys => forebay::run_by_key(messages, 16, forebay::in_turn(16)).await,
            Self::ForebayByKey => forebay::run_by_key(messages, KEYS, forebay::in_turn(KEYS)).await,
            Self::ForebayByShuffledKey => {
                forebay::run_by_key(messages, KEYS, shuffled(forebay::in_turn(KEYS))).await
            }
            Self::MemoryRead => memory::reads(messages),
        }
    }

    /// How often a message makes the program allocate: a run of `base` messages subtracted from one
    /// of `messages`, so that the start does not count. For programs with the counting allocator.
    ///
    /// # Errors
    /// When there is no runtime to be had.
    pub fn allocations(self, flavor: Flavor, base: u64, messages: u64) -> io::Result<f64> {
        let count = |messages: u64| {
            let mut outcome = Ok(());
            let count = allocations::during(|| {
                outcome = flavor.run(async move { self.run(messages).await }).map(drop);
            });
            outcome.map(|()| count as f64)
        };
        let (short, long) = (count(base)?, count(messages)?);
        Ok((long - short) / messages.saturating_sub(base).max(1) as f64)
    }
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SpawnSemaphore => "spawn + semaphore",
            Self::InlineUnordered => "inline, then FuturesUnordered",
            Self::InlineSpawn => "inline, then spawn",
            Self::Queue => "the queue in memory alone",
            Self::QueueByKey => "the queue in memory alone, by key",
            Self::QueueByShuffledKey => "the queue in memory alone, by key, shuffled",
            Self::Forebay => "Forebay",
            Self::ForebayFewKeys => "Forebay, by key, 16 keys",
            Self::ForebayByKey => "Forebay, by key, 100,000 keys",
            Self::ForebayByShuffledKey => "Forebay, by key, 100,000 keys, shuffled",
            Self::MemoryRead => "one read from memory",
        })
    }
}
