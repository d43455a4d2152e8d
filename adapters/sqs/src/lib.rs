//! Forebay's adapter for Amazon SQS: standard and FIFO queues.

mod api;
mod backlog;
mod connect;
mod core;
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
mod settle;
mod source;
mod text;
mod topology;
mod wire;

pub use error::SqsError;
pub use fault::Fault;
pub use handout::Receipt;
pub use options::{SqsOptions, Topology};
pub use queue::SqsQueue;
pub use source::SqsSource;
