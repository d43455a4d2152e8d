//! Forebay's PostgreSQL side: a burst that would knock the database over arrives as a steady flow, and
//! each message has its effect exactly once.
//!
//! ```text
//!                         +-- Gate <= ceiling <--- Budget (leased rows: a fleet's shared number)
//!   queue -> worker ------+
//!                         +-> Inbox::run   one message, its mark and its effect in one transaction
//!                         |   BatchSink    a batch of rows in one transaction, bad rows alone
//!                         |
//!                         +-> PgPool ---> (PgBouncer) ---> PostgreSQL
//! ```
//!
//! ```no_run
//! use forebay::{Failure, Gate, Job, Source, Worker, policy::Concurrency};
//! use forebay_postgres::{Inbox, InboxOptions, PgPool, PoolOptions, Transaction, types::Type};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { customer: String, amount: i64 }
//!
//! async fn book(job: Job<Order, Inbox>) -> Result<(), Failure> {
//!     let Order { customer, amount } = &job.payload;
//!     let inbox = job.state();
//!     inbox.run(&job, async |tx: &Transaction| {
//!         let sql = "INSERT INTO orders (customer, amount) VALUES ($1, $2)";
//!         tx.execute(sql, &[(customer, Type::TEXT), (amount, Type::INT8)]).await
//!     }).await?;
//!     Ok(())
//! }
//!
//! # async fn run(source: impl Source) -> Result<(), Box<dyn std::error::Error>> {
//! let pool = PgPool::connect(PoolOptions::new("postgres://app@db:5432/app").connections(16)).await?;
//! let inbox = Inbox::open(&pool, source.capabilities(), InboxOptions::new("orders")).await?;
//! let gate = Gate::new(Concurrency::fixed(64));
//! pool.bound(&gate); // now 16: no handler starts only to wait for a connection
//! Worker::builder(source).gate(gate).state(inbox).handler(book).run().await?;
//! # Ok(()) }
//! ```
//!
//! # The parts
//!
//! - [`PgPool`]: connections, as many as were agreed on. [`PgPool::bound`] has a gate follow.
//! - [`Inbox`]: what comes again is recognised. [`BatchSink`]: rows in batches, by INSERT or COPY, or by a
//!   [`Statement`] for each.
//! - [`Budget`]: a number of connections that all processes of a fleet share.
//! - [`kind_of`]: what an SQLSTATE means for a message.
//!
//! All of it works behind PgBouncer in transaction mode: nothing is prepared by name, nothing is set
//! beyond a transaction, no lock is held outside of one.
//!
//! Every setting with its default, what is repeated when, sizing and troubleshooting:
//! `docs/postgres.md`.

mod allocate;
mod budget;
mod cancel;
mod custom;
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
mod target;
mod tls;
mod transaction;
mod value;
mod write;

pub use budget::{Budget, BudgetOptions};
pub use custom::Statement;
pub use error::{PoolBusy, SetupError};
pub use inbox::{Inbox, InboxCounts, InboxOptions, Outcome, Seen};
pub use options::PoolOptions;
pub use pool::{Connection, PgPool};
pub use schema::OwnTables;
pub use sink::{BatchSink, SinkCounts, SinkHandler};
pub use sqlstate::{DatabaseError, Kind, failure, kind, kind_of};
pub use table::{Conflict, Method, Table, TableOptions};
pub use target::Target;
/// The driver's types of parameters and columns.
pub use tokio_postgres::types;
pub use transaction::{Parameter, Transaction};
pub use value::{Row, Value};

/// The page whose Rust is to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/postgres.md")]
struct Page;
