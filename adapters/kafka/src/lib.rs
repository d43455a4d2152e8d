//! Forebay's adapter for Apache Kafka: a topic as a queue, with retries, dead letters and order.
//!
//! ```no_run
//! use forebay_contract::{Outgoing, Settlement, Sink, Source, Verdict, Want};
//! use forebay_kafka::{Create, KafkaOptions, KafkaQueue};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = KafkaOptions::new("localhost:9092", "orders");
//! options.create = Some(Create { partitions: 12, replication: 3 });
//! let queue = KafkaQueue::open(options).await?;
//! for confirmed in queue.publish(&[Outgoing::new("17 apples").key("customer-1")]).await {
//!     println!("confirmed by all replicas in sync, as message {}", confirmed?);
//! }
//!
//! let source = queue.source().await?; // a member of the group
//! let mut out = Vec::new();
//! source.receive(Want { messages: 10, bytes: 1 << 20 }, &mut out).await?;
//! for delivery in out {
//!     let (receipt, message) = (delivery.receipt, delivery.message);
//!     source.settle(&[Settlement { receipt, message, verdict: Verdict::Ack }]).await.remove(0)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!   KafkaQueue (Sink, DeadLetters)            KafkaSource (Source), one for each worker
//!     producer   inspector   graveyard          producer      State: one lock, no I/O
//!        |           |           |                  |              |   Assigned, one for each
//!        |           |           |                  |              |   partition: ledger, line,
//!        |           |           |                  |              |   lanes, receipts
//!        v           v           v                  v              |
//!      topics     offsets     <topic>.dead       copies    Poller: the thread that owns the
//!                                                          consumer; Committer: the one that waits
//!                                                          for commits
//! ```
//!
//! What is promised, what is repeated when, options and troubleshooting: `docs/kafka.md`. Why it is
//! built as it is: `docs/decisions/0006-kafka-attempts-topic-and-split-queues.md`.

mod assigned;
mod attempts;
mod backlog;
mod commit;
mod committed;
mod config;
mod context;
mod copy;
mod dead;
mod error;
mod options;
mod poller;
mod producer;
mod publish;
mod queue;
mod reader;
mod rebalance;
mod receipt;
mod records;
mod retention;
mod rewind;
mod settle;
mod source;
mod state;
mod topics;
mod topology;

pub use error::KafkaError;
pub use options::{Create, GroupProtocol, KafkaOptions, Mechanism, Order, Sasl, Security, Tls};
pub use queue::KafkaQueue;
pub use receipt::Receipt;
pub use source::{KafkaSource, PartitionStatus};
