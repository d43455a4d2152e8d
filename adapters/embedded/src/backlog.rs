//! How much is in a queue: exact, and cheap at any backlog.
//!
//! The counters are kept by the transactions that change them. What only time changes is counted
//! when asked, over a range of an index: the messages that are not yet due, and the leases that have
//! not run out. So the cost is that of the delayed and leased messages, not of the ready ones; and a
//! claim has nothing to count.

use crate::{sql, time};
use forebay_contract::{Backlog, Count};
use rusqlite::{Connection, OptionalExtension};
use std::time::Duration;

/// A queue of a file, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub backlog: Backlog,
}

/// All queues, by name.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<QueueStatus>> {
    let snapshot = conn.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached("SELECT id, name FROM queue ORDER BY name")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (id, name) = row?;
        Ok(QueueStatus { name, backlog: count(&snapshot, id)? })
    })
    .collect()
}

/// One queue.
pub(crate) fn one(conn: &Connection, queue: i64) -> rusqlite::Result<Backlog> {
    count(&*conn.unchecked_transaction()?, queue)
}

/// Within one snapshot, so that the numbers fit each other.
fn count(conn: &Connection, queue: i64) -> rusqlite::Result<Backlog> {
    let now = time::now();
    let (total, dead): (i64, i64) =
        conn.prepare_cached(sql::COUNTERS)?.query_row([queue], |row| row.try_into())?;
    let number = |sql| -> rusqlite::Result<i64> {
        conn.prepare_cached(sql)?.query_row((queue, now), |row| row.get(0))
    };
    let delayed = number(sql::DELAYED)?;
    let leased = number(sql::LEASED)?;
    let oldest = |sql| -> rusqlite::Result<Option<i64>> {
        let first = conn.prepare_cached(sql)?.query_row([queue], |row| row.get(0)).optional()?;
        Ok(first.flatten())
    };
    let dues = [oldest(sql::NEXT_DUE)?, oldest(sql::OLDEST_BLOCKED)?, oldest(sql::OLDEST_LEASED)?];
    let oldest = dues.into_iter().flatten().filter(|due| *due <= now).min();
    let exact = |number: i64| Some(Count::exact(number.max(0).unsigned_abs()));
    Ok(Backlog {
        ready: exact(total - leased - delayed),
        delayed: exact(delayed),
        leased: exact(leased),
        dead: exact(dead),
        oldest_age: oldest.map(|due| Duration::from_millis((now - due).unsigned_abs())),
    })
}
