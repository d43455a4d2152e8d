//! A worker framework for queue-based load leveling: bursts arrive on a queue, and the worker takes
//! them at the pace that the system behind it can bear.
//!
//! ```
//! use forebay::{Failure, Job, Worker, testing::MemoryQueue};
//! # #[derive(serde::Deserialize)] struct Order { id: u64 }
//! # async fn book(_: &Order) -> Result<(), std::io::Error> { Ok(()) }
//! async fn handle(job: Job<Order>) -> Result<(), std::io::Error> {
//!     book(&job.payload).await?; // any error is retried; `.permanent()?` would not be
//!     Ok(())
//! }
//!
//! # async fn run(queue: MemoryQueue) -> Result<(), forebay::RunError> {
//! let report = Worker::builder(queue.source()).handler(handle).run().await?;
//! println!("drained: {report}");
//! # Ok(()) }
//! ```
//!
//! # The one path of a message
//!
//! ```text
//!   source.receive -> lane -> gate -> decode -> handler -> verdict -> source.settle -> room in the
//!    (as far as the  (order   (limits, rate,                          (batches of what   window
//!     window has      by key)  breaker, pause)                         is ready)
//!     room)
//! ```
//!
//! 1. **Receive** (`pump/intake.rs`). The pump takes what the window (`window.rs`) has room for:
//!    messages and bytes that are received and not settled. While the gate is closed it takes nothing,
//!    so that the backlog stays in the broker. The keeper (`keeper.rs`) extends the leases of all that
//!    is in hand.
//! 2. **Gate** (`pump/start.rs`, `gate.rs`). The head of a lane starts when the [`Gate`] grants a
//!    permit: concurrency, rate, breaker. A hot key waits in its own lane and takes no permit from
//!    others.
//! 3. **Handle** (`pump/call.rs`, `invoke.rs`, `pump/finish.rs`). The payload is decoded and the
//!    [`Handler`] called; what it came to becomes a [`Verdict`] by one table (`verdict.rs`). Only an
//!    explicit verdict removes a message: a panic, a timeout, a dropped future keep it.
//! 4. **Settle** (`settler.rs`). The settler hands the source all verdicts that are ready, and tries
//!    again what the broker could not take; acknowledgements do not wait for retries and dead letters.
//!    Only then is the message's room in the window free.
//!
//! The decisions on the way are pure policies ([`policy`]); the brokers are behind one contract
//! (re-exported here from `forebay-contract`).

mod backoff;
mod batch;
mod beside;
mod builder;
mod cancel;
mod clock;
mod control;
mod decode;
mod error;
mod gate;
mod handler;
mod invoke;
mod job;
mod keeper;
mod observe;
mod outbox;
mod pump;
mod report;
mod settler;
mod signals;
mod stats;
pub mod testing;
#[cfg(feature = "tower")]
pub mod tower;
mod verdict;
mod window;
mod worker;

pub use batch::BatchOptions;
pub use builder::{Builder, NoHandler};
pub use cancel::Cancellation;
pub use control::{Control, Status, WorkerPhase};
pub use decode::{Decode, DecodeError, Json, Raw};
pub use error::{BuildError, RunError};
pub use forebay_contract::*;
/// What the runtime's parts pass to each other: public only because [`Invoke`] names it.
#[doc(hidden)]
pub mod internal {
    pub use crate::{
        invoke::{Called, Outcomes},
        job::Context,
        verdict::Outcome,
    };
}
/// The policies that limit, retry and break, for use as settings.
pub use forebay_policy as policy;
pub use gate::{Gate, GateStatus};
pub use handler::{BatchHandler, BatchOutcome, Handler};
pub use invoke::Invoke;
pub use job::Job;
pub use observe::{Ending, InHand, ObservedCall, Observer, Settling, Starting};
pub use report::DrainReport;
pub use stats::Counts;
pub use worker::Worker;
