//! A queue as one writes it by hand: one table, two partial indices, three statements.

use crate::PAYLOAD;
use rusqlite::Connection;
use std::{path::Path, time::Instant};

const CREATE: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA wal_autocheckpoint = 4096;
    PRAGMA cache_size = -8192;
    CREATE TABLE message (seq INTEGER PRIMARY KEY, due INTEGER, lease INTEGER, payload BLOB);
    CREATE INDEX ready ON message (due) WHERE lease IS NULL;
    CREATE INDEX leased ON message (lease) WHERE lease IS NOT NULL;";

const INSERT: &str = "INSERT INTO message (due, payload) VALUES (?1, ?2)";
const READY: &str = "SELECT seq, payload FROM message WHERE lease IS NULL AND due <= ?1
    ORDER BY due LIMIT ?2";
const LEASE: &str = "UPDATE message SET lease = ?2 WHERE seq = ?1";
const DELETE: &str = "DELETE FROM message WHERE seq = ?1 AND lease IS NOT NULL";

/// The hand-written queue, with a backlog in it.
pub(crate) struct Bare(Connection);

impl Bare {
    pub(crate) fn open(path: &Path, backlog: usize) -> rusqlite::Result<Self> {
        let conn = Connection::open(path)?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(CREATE)?;
        let bare = Self(conn);
        bare.transaction("FULL", || {
            let mut insert = bare.0.prepare_cached(INSERT)?;
            (0..backlog).try_for_each(|_| insert.execute((0, PAYLOAD)).map(drop))
        })?;
        Ok(bare)
    }

    /// Messages per second.
    pub(crate) fn run(&self, batch: usize, rounds: usize) -> rusqlite::Result<f64> {
        let start = Instant::now();
        for _ in 0..rounds {
            self.transaction("FULL", || {
                let mut insert = self.0.prepare_cached(INSERT)?;
                (0..batch).try_for_each(|_| insert.execute((1, PAYLOAD)).map(drop))
            })?;
            // As with the embedded queue's, a claim that is lost is only a redelivery.
            let leased = self.transaction("NORMAL", || self.lease(batch))?;
            self.transaction("FULL", || {
                let mut delete = self.0.prepare_cached(DELETE)?;
                leased.iter().try_for_each(|(seq, _)| delete.execute([seq]).map(drop))
            })?;
        }
        Ok((batch * rounds) as f64 / start.elapsed().as_secs_f64())
    }

    fn lease(&self, batch: usize) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
        let mut ready = self.0.prepare_cached(READY)?;
        let limit = i64::try_from(batch).unwrap_or(i64::MAX);
        let rows = ready.query_map((2, limit), |row| row.try_into())?;
        let rows = rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?;
        let mut lease = self.0.prepare_cached(LEASE)?;
        rows.iter().try_for_each(|(seq, _)| lease.execute((seq, 3)).map(drop))?;
        Ok(rows)
    }

    fn transaction<T>(
        &self,
        synchronous: &str,
        work: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.0.execute_batch(&format!("PRAGMA synchronous = {synchronous}; BEGIN IMMEDIATE"))?;
        let result = work()?;
        self.0.execute_batch("COMMIT")?;
        Ok(result)
    }
}
