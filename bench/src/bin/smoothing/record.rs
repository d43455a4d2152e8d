//! What a lane's own code says of each arrival: written, refused, failed; when, and how long it took.

use crate::plan::Plan;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The width of a column in the record of what happened when.
pub(crate) const COLUMN: Duration = Duration::from_millis(100);
/// Columns of a record: half an hour.
const COLUMNS: usize = 18_000;

/// What happened in a run so far.
pub(crate) struct Record {
    plan: Arc<Plan>,
    start: Instant,
    /// Which arrivals have ended, so that each is counted once.
    ended: Vec<AtomicBool>,
    done: AtomicU64,
    refused: Vec<AtomicU64>,
    written: Vec<AtomicU64>,
    failed: Vec<AtomicU64>,
    statement: Mutex<Histogram<u64>>,
    end_to_end: Mutex<Histogram<u64>>,
    errors: Mutex<BTreeMap<String, u64>>,
}

/// Percentiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Times {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |share| histogram.value_at_quantile(share) as f64 / 1e3;
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// For times in microseconds, up to an hour, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds and digits are in range")
}

impl Record {
    /// Of a run that starts at an instant.
    pub(crate) fn new(plan: Arc<Plan>, start: Instant) -> Self {
        let counters = |n| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self {
            start,
            ended: (0..plan.len()).map(|_| AtomicBool::new(false)).collect(),
            plan,
            done: AtomicU64::new(0),
            refused: counters(COLUMNS),
            written: counters(COLUMNS),
            failed: counters(COLUMNS),
            statement: Mutex::new(histogram()),
            end_to_end: Mutex::new(histogram()),
            errors: Mutex::default(),
        }
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// The arrival's row is committed, as far as its client knows.
    pub(crate) fn written(&self, id: u64) {
        if self.ends(id) {
            let now = self.start.elapsed();
            count(&self.written, now);
            let took = now.saturating_sub(self.plan.due(id));
            lock(&self.end_to_end).saturating_record(micros(took));
        }
    }

    /// The database has refused its row for good.
    pub(crate) fn refused(&self, id: u64) {
        if self.ends(id) {
            count(&self.refused, self.start.elapsed());
        }
    }

    /// Its client got an error, and nobody tries again.
    pub(crate) fn failed(&self, id: u64, error: &str) {
        if self.ends(id) {
            count(&self.failed, self.start.elapsed());
            self.error(error);
        }
    }

    /// An error that somebody saw, whatever came of it.
    pub(crate) fn error(&self, error: &str) {
        let mut errors = lock(&self.errors);
        match errors.get_mut(error) {
            Some(times) => *times += 1,
            None => drop(errors.insert(error.to_owned(), 1)),
        }
    }

    /// How long the database took for these rows, as its caller saw it: a statement, or a transaction.
    /// It counts once for each row.
    pub(crate) fn statement(&self, took: Duration, rows: usize) {
        lock(&self.statement).saturating_record_n(micros(took), rows as u64);
    }

    /// Whether this arrival ends only now.
    fn ends(&self, id: u64) -> bool {
        let ended = usize::try_from(id).ok().and_then(|id| self.ended.get(id));
        let first = ended.is_some_and(|ended| !ended.swap(true, Ordering::Relaxed));
        if first {
            self.done.fetch_add(1, Ordering::Release);
        }
        first
    }

    /// How many arrivals have ended, in whatever way.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refused.iter().map(|column| column.load(Ordering::Relaxed)).sum()
    }

    /// Also those of after the end of the run: clients may wait for longer than it lasts.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.iter().map(|column| column.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    pub(crate) fn statement_times(&self) -> Times {
        Times::of(&lock(&self.statement))
    }

    pub(crate) fn end_to_end_times(&self) -> Times {
        Times::of(&lock(&self.end_to_end))
    }

    /// Written in each column, up to a time.
    pub(crate) fn written_by_column(&self, until: Duration) -> Vec<u64> {
        read(&self.written, until)
    }

    /// Failed in each column, up to a time.
    pub(crate) fn failed_by_column(&self, until: Duration) -> Vec<u64> {
        read(&self.failed, until)
    }

    /// Refused in each column, up to a time.
    pub(crate) fn refused_by_column(&self, until: Duration) -> Vec<u64> {
        read(&self.refused, until)
    }
}

fn count(columns: &[AtomicU64], at: Duration) {
    let column = (at.as_micros() / COLUMN.as_micros()) as usize;
    if let Some(column) = columns.get(column).or(columns.last()) {
        column.fetch_add(1, Ordering::Relaxed);
    }
}

fn read(columns: &[AtomicU64], until: Duration) -> Vec<u64> {
    let n = until.as_micros().div_ceil(COLUMN.as_micros()) as usize;
    columns.iter().take(n).map(|column| column.load(Ordering::Relaxed)).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_counts_once_and_from_when_it_was_due() {
        let plan = Arc::new(Plan::new(100.0, 10.0, [1, 1, 1].map(Duration::from_secs), 1));
        let start = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let record = Record::new(plan, start);
        record.written(3);
        record.written(3);
        record.failed(3, "too late");
        assert_eq!((record.done(), record.errors().len()), (1, 0));
        assert_eq!(record.written_by_column(Duration::from_secs(60)).iter().sum::<u64>(), 1);
        // It was due at the very beginning.
        assert!(record.end_to_end_times().p50 > 4900.0);
    }
}
