//! Forebay's PostgreSQL side: what stands between a queue and a database.

mod error;
mod inbox;
mod name;
mod options;
mod pool;
mod prune;
mod retention;
mod schema;
mod seats;
mod sqlstate;
mod tls;
mod transaction;

pub use error::{PoolBusy, SetupError};
pub use inbox::{Inbox, InboxCounts, InboxOptions, Outcome, Seen};
pub use options::PoolOptions;
pub use pool::{Connection, PgPool};
pub use sqlstate::{DatabaseError, Kind, failure, kind, kind_of};
pub use tokio_postgres::types;
pub use transaction::{Parameter, Transaction};
