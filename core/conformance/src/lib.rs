//! The suite that every adapter runs against its real broker: the contract, case by case.
//!
//! An adapter implements [`Harness`], and one line makes a test of every case, so that a failure
//! carries the case's name. In the adapter's `tests/conformance.rs`:
//!
//! ```
//! use forebay_conformance::{Harness, Setup, Stop};
//! use forebay_memory::{MemoryOptions, MemoryQueue, MemorySource};
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     type Queue = MemoryQueue;
//!     type Source = MemorySource;
//!     type Sink = MemoryQueue;
//!     type Dead = MemoryQueue;
//!
//!     async fn fresh(&self, setup: &Setup) -> Result<MemoryQueue, Stop> {
//!         if setup.ordered {
//!             return Err(Stop::skip("opened without order"));
//!         }
//!         Ok(MemoryQueue::with(MemoryOptions::default().lease(setup.lease)))
//!     }
//!
//!     async fn open(&self, queue: &MemoryQueue, _: &Setup) -> Result<MemorySource, Stop> {
//!         Ok(queue.source())
//!     }
//!
//!     async fn sink(&self, queue: &MemoryQueue) -> Result<MemoryQueue, Stop> {
//!         Ok(queue.clone())
//!     }
//!
//!     async fn dead(&self, queue: &MemoryQueue) -> Result<MemoryQueue, Stop> {
//!         Ok(queue.clone())
//!     }
//! }
//!
//! forebay_conformance::conformance_tests!(Memory);
//! ```
//!
//! A program runs them with [`run_all`] instead, and gets a [`Report`].
//!
//! Each case proves one of the numbered MUSTs below, and says which in its documentation. A case that
//! a broker cannot be held to (by its [capabilities](forebay_contract::Capabilities), or by what the
//! harness says it cannot do) is reported as skipped, with the reason, never as passed.
//!
//! Why ordinary functions over a trait: a case can be read top to bottom as the story of a few
//! messages, is run alone by its name, and can itself be tested: this crate's own tests break a
//! source in one way after the other, and assert that the matching case notices.
//!
#![doc = include_str!("../MUSTS.md")]

mod broker;
pub mod cases;
mod cluster;
mod halfway;
mod harness;
mod kills;
mod list;
mod process;
pub mod proxy;
mod run;
mod stage;
mod stop;

pub use broker::Broker;
pub use cluster::Cluster;
pub use halfway::{kill_redrive_halfway, queue_to_redrive, redrive_slowly};
pub use harness::{Harness, Setup, Timing};
pub use kills::nothing_is_lost_when_killed;
pub use list::{CASES, run_all};
pub use process::Process;
pub use run::{CaseReport, Report, run_case, run_test};
pub use stop::{CaseResult, Stop};
