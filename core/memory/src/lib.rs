//! A queue in memory that keeps the whole contract: for tests, and for measuring the runtime.
//!
//! ```
//! use forebay_contract::{Outgoing, Settlement, Sink, Source, Verdict, Want};
//! use forebay_memory::MemoryQueue;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let queue = MemoryQueue::new();
//! queue.publish(&[Outgoing::new("hello")]).await;
//!
//! let worker = queue.source();
//! let mut out = Vec::new();
//! worker.receive(Want { messages: 10, bytes: 1 << 20 }, &mut out).await.unwrap();
//! let delivery = out.remove(0);
//! let (receipt, message) = (delivery.receipt, delivery.message);
//! worker.settle(&[Settlement { receipt, message, verdict: Verdict::Ack }]).await;
//! assert_eq!(queue.verdicts().len(), 1);
//! # });
//! ```
//!
//! A fake that is kinder than a broker hides bugs. So this one passes the same conformance suite as
//! every adapter: leases expire, order holds across retries, a stale receipt settles nothing. On top
//! it can be told to be unkind ([`MemoryQueue::sever`], [`MemoryQueue::fail_settles`], …), and it
//! honours tokio's paused time, so that a test of an hour's retries takes a millisecond.
//!
//! What it does not do is survive its process: drop the last handle, and all is gone.
//!
//! ```text
//!  MemoryQueue (Sink, DeadLetters, faults)      MemorySource (Source), one for each worker
//!                  \                               /
//!                   State: one lock, no I/O, time passed in
//!                  /            |            \
//!     Table (entries, receipts)  Lines (who may go next)  Graveyard (dead letters)
//! ```

mod faults;
mod graveyard;
mod handover;
#[cfg(test)]
mod invariants;
mod lines;
#[cfg(test)]
mod model;
mod options;
mod queue;
mod replay;
mod settle;
mod source;
mod state;
mod table;
mod worker;

pub use options::MemoryOptions;
pub use queue::MemoryQueue;
pub use source::MemorySource;
pub use table::MemoryReceipt;
