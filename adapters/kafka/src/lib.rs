//! Forebay's adapter for Apache Kafka.

mod assigned;
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
