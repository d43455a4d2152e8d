//! Forebay's adapter for Amazon SQS: standard and FIFO queues.
//!
//! ```no_run
//! use forebay_contract::{Outgoing, Settlement, Sink, Source, Verdict, Want};
//! use forebay_sqs::{SqsOptions, SqsQueue, Topology};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = SqsOptions::new("orders").topology(Topology::Create);
//! let queue = SqsQueue::open(options).await?; // credentials and region by the SDK's own chain
//! for confirmed in queue.publish(&[Outgoing::new("17 apples")]).await {
//!     println!("in the queue, as message {}", confirmed?);
//! }
//!
//! let source = queue.source().await?;
//! let mut out = Vec::new();
//! source.receive(Want { messages: 10, bytes: 1 << 20 }, &mut out).await?;
//! for delivery in out {
//!     let (receipt, message) = (delivery.receipt, delivery.message);
//!     let ack = Settlement { receipt, message, verdict: Verdict::Ack };
//!     source.settle(&[ack]).await.remove(0)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ```text
//!  poller ---- ReceiveMessage, 10 at a time, more at once on demand ----> inbox --> receive
//!                                                                          |  the next of a FIFO group
//!  settle --+- ack, drop ------- DeleteMessageBatch ---------------------> done
//!           +- retry, release -- ChangeMessageVisibilityBatch (delay) ---> hidden, then again
//!           |    worn by many receives: SendMessageBatch, confirmed; DeleteMessageBatch
//!           `- dead letter ----- SendMessageBatch to <queue>-dead, confirmed; DeleteMessageBatch
//!  extend ---- ChangeMessageVisibilityBatch, with those behind in the group
//! ```
//!
//! One file for each step: `poller`, `inbox`, `settle`, `refresh`, `letter`, `dead`; `wear` says when a
//! message has been received too often, `handout` is the book of what is ours and for how long, `memo`
//! what SQS has no place for, `wire` how a message is written, `fault` what AWS's errors mean,
//! `credentials` what those of their providers do. What is promised, what is repeated when, and what it
//! takes to run it is in `docs/sqs.md`.

mod api;
mod backlog;
mod connect;
mod core;
mod credentials;
mod dead;
mod error;
mod fault;
mod handout;
mod inbox;
mod letter;
mod memo;
mod options;
mod poller;
mod publish;
mod queue;
mod refresh;
mod settle;
mod source;
mod text;
mod topology;
mod wear;
mod wire;

pub use error::SqsError;
pub use fault::Fault;
pub use handout::Receipt;
pub use options::{SqsOptions, Topology};
pub use queue::SqsQueue;
pub use source::SqsSource;
