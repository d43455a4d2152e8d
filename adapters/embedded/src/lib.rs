//! The embedded durable queue: one SQLite file, many queues, many processes.

mod backlog;
mod bell;
mod claim;
mod dead;
mod error;
mod headers;
mod inbox;
#[cfg(test)]
mod model;
mod open;
mod options;
mod publish;
mod queue;
mod receipt;
mod schema;
mod settle;
mod source;
mod sql;
mod store;
mod time;
mod tx;
mod wake;
mod writer;

pub use backlog::QueueStatus;
pub use error::{OpenError, QueueError, StoreError};
pub use options::{SourceOptions, StoreOptions};
pub use queue::Queue;
pub use receipt::Receipt;
pub use source::EmbeddedSource;
pub use store::Store;
