//! One transaction of the writer, shared by all commands that were ready when it began.
//!
//! Commands note here what is to be told once it is committed (counters, queues to wake), so that
//! nothing is told that did not happen.

use crate::{sql, time};
use rusqlite::{CachedStatement, Connection, Params};
use std::time::Instant;

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
    /// Those used so far. The connection's own cache hashes the text of a statement each time it is
    /// asked for, which costs as much as a quarter of running it.
    statements: Vec<(&'static str, CachedStatement<'a>)>,
    // Lists, since a transaction is about one queue, or a few.
    changes: Vec<(i64, Change)>,
    due: Vec<(i64, i64)>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: &'a Connection) -> Self {
        let instant = Instant::now();
        Self::at(conn, instant, time::now())
    }

    pub(crate) fn at(conn: &'a Connection, instant: Instant, now: i64) -> Self {
        let (statements, changes, due) = (Vec::new(), Vec::new(), Vec::new());
        Self { conn, instant, now, statements, changes, due }
    }

    /// A statement. It is compiled once per connection, and looked up once per transaction.
    pub(crate) fn statement(
        &mut self,
        sql: &'static str,
    ) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let place = match self.statements.iter().position(|(known, _)| *known == sql) {
            Some(place) => place,
            None => {
                self.statements.push((sql, self.conn.prepare_cached(sql)?));
                self.statements.len() - 1
            }
        };
        Ok(&mut self.statements[place].1)
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: impl Params,
    ) -> rusqlite::Result<usize> {
        self.statement(sql)?.execute(params)
    }

    /// The counters of a queue, to be changed.
    pub(crate) fn count(&mut self, queue: i64) -> &mut Change {
        entry(&mut self.changes, queue, Change::default())
    }

    /// Something became claimable, or will be at `due`.
    pub(crate) fn due(&mut self, queue: i64, due: i64) {
        let first = entry(&mut self.due, queue, due);
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
    pub(crate) fn finish(mut self) -> rusqlite::Result<Vec<(i64, i64)>> {
        for (queue, change) in std::mem::take(&mut self.changes) {
            self.execute(sql::COUNT, (queue, change.total, change.leased, change.dead))?;
        }
        Ok(self.due)
    }
}

/// What a list has under a queue; `new`, if nothing.
fn entry<T>(list: &mut Vec<(i64, T)>, queue: i64, new: T) -> &mut T {
    let place = list.iter().position(|(known, _)| *known == queue).unwrap_or_else(|| {
        list.push((queue, new));
        list.len() - 1
    });
    &mut list[place].1
}
