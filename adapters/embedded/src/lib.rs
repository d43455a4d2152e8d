//! The embedded durable queue: one SQLite file on local disk, many named queues in it, many
//! processes at it. No server, nothing to set up; what a publish confirms survives a power cut.
//!
//! ```
//! use forebay_contract::{Outgoing, Settlement, Sink, Source, Verdict, Want};
//! use forebay_embedded::{SourceOptions, Store};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("queues.db");
//! let queue = Store::open(path)?.queue("orders").await?;
//! for confirmed in queue.publish(&[Outgoing::new("17 apples").key("customer-1")]).await {
//!     println!("on disk, as message {}", confirmed?);
//! }
//!
//! let source = queue.source(&SourceOptions::default());
//! let mut out = Vec::new();
//! source.receive(Want { messages: 10, bytes: 1 << 20 }, &mut out).await?;
//! for delivery in out {
//!     let (receipt, message) = (delivery.receipt, delivery.message);
//!     assert_eq!(message.payload, "17 apples");
//!     let ack = Settlement { receipt, message, verdict: Verdict::Ack };
//!     source.settle(&[ack]).await.remove(0)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! | setting | default | unit |
//! |---|---|---|
//! | [`StoreOptions::create`]: make a file that is not there | yes | |
//! | [`StoreOptions::busy_timeout`]: wait for another process that writes | 5 | seconds |
//! | [`StoreOptions::poll`]: look for other processes' writes, should a wake-up be lost | 200 | milliseconds |
//! | [`StoreOptions::max_size`]: grow the file by publishing up to | no limit | bytes |
//! | [`StoreOptions::max_payload`]: refuse larger payloads | 999,000,000 | bytes |
//! | [`SourceOptions::lease`]: a message is ours for this long, unless extended | 30 | seconds |
//!
//! Clone a [`Store`] rather than open its file twice in one process: clones share a writer, and so
//! the syncs of the disk. It needs no particular async runtime: the work is done by threads of its
//! own.
//!
//! # What is promised
//!
//! - **Nothing confirmed is lost.** Publishing, settling and redriving are on disk when they return,
//!   also if the power fails. Only an explicit verdict removes a message.
//! - **Order by key**, always: a later message of a key is not handed out before the earlier one is
//!   acknowledged, dropped or dead; a retry makes its key wait, and nobody else. Messages without a
//!   key have no order, but the oldest due comes first.
//! - **Exact counts**: attempts, hand-outs, interruptions, and the backlog.
//! - **Costs that do not grow with the backlog**: claims and settlements touch only what they move.
//!   Asking for the backlog counts the delayed and the leased messages, not the ready.
//! - **Identity**: the `forebay-id` header, else [`Outgoing::id`](forebay_contract::Outgoing::id),
//!   else a number that is unique in the file. Retries, dead letters and redrives keep it. A
//!   redriven message takes its place at the end of its key.
//!
//! # What is repeated, and when
//!
//! Delivery is at least once. A message comes again when its worker dies or is closed before it has
//! settled it (at the end of the lease; at once if closed; `interrupted` is one higher), when its
//! lease runs out because it was not extended in time, and when a power cut undoes a claim. An
//! acknowledgement that was confirmed is never undone. Leases are counted by the machine's clock:
//! setting it forward ends them early, setting it back makes what is delayed wait longer.
//!
//! # When something is wrong
//!
//! | message | cause, and what to do |
//! |---|---|
//! | locked by another process | A process holds SQLite's write lock: one stopped inside a transaction, a shell, a backup. `fuser queues.db` lists them. |
//! | no room left | The disk is full, or `max_size` is reached. Nothing is lost; work goes on once there is room. A file never shrinks: acknowledged messages leave room in it for new ones, and `VACUUM` in an `sqlite3` shell gives it back. |
//! | is damaged | Stop all users of the file, copy it together with its `-wal`, and save what can be read with `sqlite3 queues.db .recover`. |
//! | no Forebay queue file, or no SQLite database | The path names somebody else's file. It was not touched. |
//! | schema version | A newer version has been here. Update this one; the file was not touched. |
//! | other processes are slow to see messages | The path of `queues.db.wake/…` is longer than a socket's may be (107 bytes), so they poll. Use a shorter path. |
//!
//! The files beside it, `queues.db-wal` and `queues.db-shm`, belong to it: move or copy them together,
//! with no process running. Network file systems do not keep SQLite's locks: use a local disk.

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
mod place;
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
