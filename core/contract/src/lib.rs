//! All that a broker adapter needs to know of Forebay, and nothing of how messages are handled.
//!
//! ```text
//!              Sink::publish                      Source::receive -> Delivery
//!   producer ----------------->  [ the queue ]  ----------------------------->  runtime
//!                                      ^                                           |
//!                                      +----- Source::settle <- Verdict -----------+
//!                                      |
//!                                [ dead letters ]  <- DeadLetters::list, redrive, purge
//! ```
//!
//! An adapter implements [`Source`] and [`Sink`], and [`DeadLetters`] where its broker lets dead
//! letters be looked at. It depends on this crate alone, so the runtime can change without it. What
//! each method promises is written at the method, and held by the conformance suite
//! (`forebay-conformance`), which every adapter runs against its real broker.
//!
//! The rule that all of it serves: **only an explicit verdict removes a message**. A receipt that is
//! dropped, a future that is cancelled, a process that dies: each leaves the message in its queue.

mod any;
mod backlog;
mod capabilities;
mod carried;
mod dead;
mod delivery;
mod error;
mod failure;
mod headers;
mod history;
mod message;
mod sink;
mod source;
mod verdict;

pub use any::{AnyDeadLetters, AnyReceipt, AnySink, AnySource};
pub use backlog::{Backlog, Count};
pub use capabilities::{Capabilities, Exactness, LeaseTerms, OrderSupport};
pub use carried::{Carried, CarriedFault, Death, FOREBAY_KEY, FOREBAY_STATE};
pub use dead::{DeadFilter, DeadId, DeadLetter, DeadLetters, DeadOrigin, Redriven};
pub use delivery::{Delivery, Lease, Scope};
pub use error::{DeadLettersError, LeaseError, PublishError, SettleError, SourceError};
pub use failure::{BoxError, Failure, FailureExt};
pub use headers::Headers;
pub use history::{FailureKind, FailureNote, History, HistoryError};
pub use message::{FOREBAY_ID, Message, MessageId};
pub use sink::{Outgoing, Sink};
pub use source::{Source, SourceEvent, Want};
pub use verdict::{DeadReason, Settled, Settlement, Verdict};

/// Bytes that are cheap to clone and to slice; from the `bytes` crate.
pub use bytes::Bytes;
