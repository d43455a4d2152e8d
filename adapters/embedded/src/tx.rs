//! One transaction of the writer, shared by all commands that were ready when it began.
//!
//! Commands note here what is to be told once it is committed (counters, queues to wake), so that
//! nothing is told that did not happen.

use crate::{sql, time};
use rusqlite::{Connection, Params};
use std::{collections::HashMap, time::Instant};

/// How the counters of a queue change.
#[derive(Clone, Copy, Default)]
pub(crate) struct Change {
    /// Runnable, blocked and leased.
    pub(crate) total: i64,
    /// Leased.
    pub(crate) leased: i64,
    /// Dead.
    pub(crate) dead: i64,
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    /// For statements that [`Tx::execute`] does not cover.
    pub(crate) conn: &'a Connection,
    /// When it began, by the monotonic clock; read before [`Tx::now`], so a lease that is counted
    /// from here never seems longer than it is.
    pub(crate) instant: Instant,
    /// When it began.
    pub(crate) now: i64,
    changes: HashMap<i64, Change>,
    due: HashMap<i64, i64>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: &'a Connection) -> Self {
        let instant = Instant::now();
        Self::at(conn, instant, time::now())
    }

    pub(crate) fn at(conn: &'a Connection, instant: Instant, now: i64) -> Self {
        Self { conn, instant, now, changes: HashMap::new(), due: HashMap::new() }
    }

    /// Runs a statement and says how many rows it changed. It is compiled once per connection.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params)
    }

    /// The counters of a queue, to be changed.
    pub(crate) fn count(&mut self, queue: i64) -> &mut Change {
        self.changes.entry(queue).or_default()
    }

    /// Something became claimable, or will be at `due`.
    pub(crate) fn due(&mut self, queue: i64, due: i64) {
        let first = self.due.entry(queue).or_insert(due);
        *first = due.min(*first);
    }

    /// Takes `count` numbers that were never used, and gives the first.
    pub(crate) fn numbers(&self, count: usize) -> rusqlite::Result<i64> {
        let count = sql::rows(count);
        let next: i64 =
            self.conn.prepare_cached(sql::TAKE_NUMBERS)?.query_row([count], |row| row.get(0))?;
        Ok(next - count)
    }

    /// Writes the counters, and gives the queues to wake and from when.
    pub(crate) fn finish(self) -> rusqlite::Result<HashMap<i64, i64>> {
        for (queue, change) in &self.changes {
            self.execute(sql::COUNT, (queue, change.total, change.leased, change.dead))?;
        }
        Ok(self.due)
    }
}
