//! Forebay's PostgreSQL side: what stands between a queue and a database.

mod allocate;
mod budget;
mod error;
mod inbox;
mod ledger;
mod name;
mod options;
mod pool;
mod prune;
mod retention;
mod schema;
mod seats;
mod sink;
mod sqlstate;
mod statement;
mod table;
mod tls;
mod transaction;
mod value;
mod write;

pub use budget::{Budget, BudgetOptions};
pub use error::{PoolBusy, SetupError};
pub use inbox::{Inbox, InboxCounts, InboxOptions, Outcome, Seen};
pub use options::PoolOptions;
pub use pool::{Connection, PgPool};
pub use sink::{BatchSink, SinkCounts, SinkHandler};
pub use sqlstate::{DatabaseError, Kind, failure, kind, kind_of};
pub use table::{Conflict, Method, Table, TableOptions};
pub use tokio_postgres::types;
pub use transaction::{Parameter, Transaction};
pub use value::{Row, Value};
