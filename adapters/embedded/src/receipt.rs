//! What settles one hand-out.

use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Settles just the hand-out that it came with: the message's row, and which hand-out it was. Once
/// the message has been handed out again, or is settled, the receipt is stale for ever.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(crate) queue: i64,
    pub(crate) seq: i64,
    /// The lease's epoch: how often the message has been handed out, this time included.
    pub(crate) deliveries: u32,
    /// When it was due, so that a released message gets its place back.
    pub(crate) due: i64,
    pub(crate) attempt: u32,
    pub(crate) interrupted: u32,
    /// Whether there may be a history to remove with it.
    pub(crate) trail: bool,
    pub(crate) key: Option<Bytes>,
    pub(crate) expiry: Expiry,
}

/// When a lease ends, as the file has it: where its row is to be found. All clones of a receipt share
/// it, since extending the lease moves the row. The writer alone looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Expiry(Arc<AtomicI64>);

impl Expiry {
    pub(crate) fn new(at: i64) -> Self {
        Self(Arc::new(AtomicI64::new(at)))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, at: i64) {
        self.0.store(at, Ordering::Release);
    }
}
