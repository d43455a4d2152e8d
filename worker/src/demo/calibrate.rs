//! What the orders database sustains, measured before the demo, so that its burst is as large as it
//! says on any machine.
//!
//! More writers at once bring little beyond some number, and each of them waits longer: that is what
//! is shown. On a disk so fast that an order would take no time, an order also reads a ledger.

use super::{
    database::{Execution, LEDGER, book, connect, is_locked},
    plan::Order,
};
use rusqlite::Connection;
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// So many writers at once, for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) writers: usize,
    pub(super) per_second: f64,
    /// The slowest but one in a hundred.
    pub(super) p99: Duration,
}

/// Orders per second that the database sustains: the best of the trials.
pub(super) fn sustainable(trials: &[Trial]) -> f64 {
    trials.iter().map(|trial| trial.per_second).fold(1.0, f64::max)
}

/// How long one order is to take at the least: on a fast disk it reads the ledger for as long.
const TAKES: Duration = Duration::from_millis(5);
/// With how many writers at once it is tried, and for how long each.
const WRITERS: [usize; 5] = [1, 2, 4, 8, 32];
const TRIAL: Duration = Duration::from_millis(600);

/// Sizes an order's work, then measures what the database bears. Leaves no rows.
pub(super) fn calibrate(path: &Path) -> rusqlite::Result<Vec<Trial>> {
    let bare = time(path, 0)?;
    let reading = time(path, LEDGER)?.saturating_sub(bare).max(Duration::from_micros(1));
    let missing = TAKES.saturating_sub(bare);
    let share = (missing.as_secs_f64() / reading.as_secs_f64()).min(1.0);
    let lines = (share * f64::from(LEDGER)) as u32;
    let conn = connect(path)?;
    conn.execute("UPDATE load SET lines = ?1", [lines])?;
    let trials = WRITERS.map(|writers| trial(path, writers)).into_iter().collect();
    conn.execute_batch("DELETE FROM effects; UPDATE account SET cents = 0, orders = 0;")?;
    trials
}

/// How long an order takes alone that reads so much of the ledger: the median.
fn time(path: &Path, lines: u32) -> rusqlite::Result<Duration> {
    let mut conn = connect(path)?;
    conn.execute("UPDATE load SET lines = ?1", [lines])?;
    let mut took = Vec::new();
    for _ in 0..15 {
        took.push(one(&mut conn)?);
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

fn one(conn: &mut Connection) -> rusqlite::Result<Duration> {
    let (order, started) = (Order { id: 0, cents: 1, sent_us: 0, fails: 0 }, Instant::now());
    let execution = Execution { attempt: 1, redelivered: false, started_us: 0 };
    book(conn, &order, execution)?;
    Ok(started.elapsed())
}

fn trial(path: &Path, writers: usize) -> rusqlite::Result<Trial> {
    let started = Instant::now();
    let outcomes = thread::scope(|scope| {
        let write = || -> rusqlite::Result<Vec<Duration>> {
            let (mut conn, mut took) = (connect(path)?, Vec::new());
            while started.elapsed() < TRIAL {
                match one(&mut conn) {
                    // Those who wait at the end would make the trial longer than it was.
                    Ok(time) if started.elapsed() <= TRIAL => took.push(time),
                    Ok(_) => {}
                    Err(error) if is_locked(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(took)
        };
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<rusqlite::Result<Vec<_>>>()
    })?;
    let mut took: Vec<_> = outcomes.into_iter().flatten().collect();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(TRIAL);
    Ok(Trial { writers, per_second: took.len() as f64 / TRIAL.as_secs_f64(), p99 })
}
