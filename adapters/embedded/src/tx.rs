//! The transactions of a writer, one after the other; each is shared by all commands that were ready
//! when it began.
//!
//! Commands note here what is to be told once it is committed (queues to wake), so that nothing is told
//! that did not happen, and what is to be undone if it is not (leases that moved). Statements outlive
//! their transaction: looking one up by its text costs as much as a quarter of running it.

use crate::{Receipt, receipt::Expiry, sql, time};
use rusqlite::{Connection, Params, Statement};
use std::time::Instant;

/// How the counters of a queue change.
#[derive(Clone, Copy, Default)]
pub(crate) struct Change {
    /// Runnable, blocked and leased.
    pub(crate) total: i64,
    /// Dead.
    pub(crate) dead: i64,
}

/// A transaction at a time.
pub(crate) struct Tx<'a> {
    /// For statements that are rarely used.
    pub(crate) conn: &'a Connection,
    /// When it began, by the monotonic clock; read before [`Tx::now`], so a lease that is counted
    /// from here never seems longer than it is.
    pub(crate) instant: Instant,
    /// When it began.
    pub(crate) now: i64,
    statements: Vec<(&'static str, Statement<'a>)>,
    // Lists, since a transaction is about one queue, or a few.
    changes: Vec<(i64, Change)>,
    due: Vec<(i64, i64)>,
    /// Leases that were extended, and when they ended before.
    moved: Vec<(Expiry, i64)>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: &'a Connection) -> Self {
        let (statements, changes, due, moved) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { conn, instant: Instant::now(), now: 0, statements, changes, due, moved }
    }

    /// A transaction begins. Of one before it that was not committed nothing is left.
    pub(crate) fn begin(&mut self) {
        let instant = Instant::now();
        self.begin_at(instant, time::now());
    }

    pub(crate) fn begin_at(&mut self, instant: Instant, now: i64) {
        (self.instant, self.now) = (instant, now);
        self.changes.clear();
        self.due.clear();
        self.moved.drain(..).rev().for_each(|(expiry, before)| expiry.set(before));
    }

    /// A statement, compiled at its first use.
    pub(crate) fn statement(&mut self, sql: &'static str) -> rusqlite::Result<&mut Statement<'a>> {
        let place = match self.statements.iter().position(|(known, _)| *known == sql) {
            Some(place) => place,
            None => {
                self.statements.push((sql, self.conn.prepare(sql)?));
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
    pub(crate) fn numbers(&mut self, count: usize) -> rusqlite::Result<i64> {
        let first: i64 = self.statement(sql::NEXT_NUMBER)?.query_row((), |row| row.get(0))?;
        self.execute(sql::TAKE_NUMBERS, [first.saturating_add(sql::rows(count))])?;
        Ok(first)
    }

    /// A lease was extended.
    pub(crate) fn moved(&mut self, receipt: &Receipt, expires: i64) {
        self.moved.push((receipt.expiry.clone(), receipt.expiry.get()));
        receipt.expiry.set(expires);
    }

    /// Writes the counters; to be committed then.
    pub(crate) fn finish(&mut self) -> rusqlite::Result<()> {
        for (queue, change) in std::mem::take(&mut self.changes) {
            self.execute(sql::COUNT, (queue, change.total, change.dead))?;
        }
        Ok(())
    }

    /// It is committed: leases stay where they have moved. Gives the queues to wake and from when.
    pub(crate) fn committed(&mut self) -> &[(i64, i64)] {
        self.moved.clear();
        &self.due
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
