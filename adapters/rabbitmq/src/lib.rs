//! Forebay's adapter for RabbitMQ, on lapin.
//!
//! ```text
//!                 consume                                settle
//!   orders ---------------------> worker ---------------------------> ack
//!     ^                             |  confirm first, then ack
//!     |                             |---> orders.retry.<ms>   (one queue for each delay)
//!     |  expires, goes back         |        |
//!     +-----------------------------|--------+
//!     |  redrive                    +---> orders.dead         (no limit)
//!     +------------------------------------------+
//! ```
//!
//! - [`RabbitQueue`] is the queue: producers publish to it, and it has the dead letters.
//! - [`RabbitSource`] is one worker at it.
//! - [`RabbitOptions`] has every setting with its default.
//!
//! Quorum queues by default. Attempts and history travel in a header of each copy
//! ([`Carried`](forebay_contract::Carried)). What is promised, lost and repeated when, and what the
//! user needs the right to: `docs/rabbitmq.md`.

mod arrive;
mod buffer;
mod consume;
mod dead;
mod demand;
mod error;
mod ladder;
mod ledger;
mod link;
mod memory;
mod options;
mod pace;
mod properties;
mod publisher;
mod queue;
mod renew;
mod returned;
mod session;
mod settle;
mod sink;
mod source;
mod stall;
mod table;
mod tap;
mod topology;

pub use buffer::Receipt;
pub use error::RabbitError;
pub use options::{Identity, QueueKind, RabbitOptions, Topology};
pub use queue::RabbitQueue;
pub use source::RabbitSource;
