//! What is seen of a run, five times a second: the numbers behind live line, plot and SVG.

use crate::{output, terminal};
use rusqlite::{Connection, OpenFlags};
use std::{path::Path, time::Duration};

/// How often one looks.
pub(super) const EVERY: Duration = Duration::from_millis(200);
/// Over how many samples to each side rates are taken: single ones are noise.
const AROUND: usize = 1;
/// Every which sample is a plain line; rates that are shown live are those since the last.
const PLAIN: usize = 5;

/// What was seen at one moment. Counts are since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    /// Orders sent.
    pub(super) sent: u64,
    /// Rows in the database.
    pub(super) rows: u64,
    /// Orders that wait: in the queue, or as clients.
    pub(super) waiting: u64,
    /// Calls that may run at once.
    pub(super) limit: u32,
    /// Clients that were told of a failure, or nothing at all.
    pub(super) failed: u64,
}

/// What was seen so far, and what happened beside it.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) samples: Vec<Sample>,
    /// When a worker was killed, and when another took its place.
    pub(super) killed: Option<Duration>,
    pub(super) restarted: Option<Duration>,
}

/// A moment of a timeline, in rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Seconds since the start.
    pub(super) at: f64,
    /// Arrivals per second.
    pub(super) arrivals: f64,
    /// Orders carried out per second.
    pub(super) service: f64,
    /// Orders that wait.
    pub(super) waiting: f64,
    /// Calls that may run at once.
    pub(super) limit: f64,
    /// Clients that were told of a failure so far, or nothing at all.
    pub(super) failed: f64,
}

impl Timeline {
    /// Its moments, with rates over the time around each.
    pub(super) fn points(&self) -> Vec<Point> {
        (0..self.samples.len()).filter_map(|index| self.point(index)).collect()
    }

    fn point(&self, index: usize) -> Option<Point> {
        let around = index.saturating_sub(AROUND)..index + AROUND;
        let now = self.samples.get(index)?;
        let (arrivals, service) = self.rates(around.start, around.end)?;
        Some(Point {
            at: now.at.as_secs_f64(),
            arrivals,
            service,
            waiting: now.waiting as f64,
            limit: f64::from(now.limit),
            failed: now.failed as f64,
        })
    }

    /// Arrivals and orders carried out, per second, between two samples; the last if there are fewer.
    fn rates(&self, from: usize, to: usize) -> Option<(f64, f64)> {
        let before = self.samples.get(from)?;
        let after = self.samples.get(to).or(self.samples.last())?;
        let over = (after.at - before.at).max(EVERY).as_secs_f64();
        Some(((after.sent - before.sent) as f64 / over, (after.rows - before.rows) as f64 / over))
    }

    /// Takes a sample in, and shows it: as a live line, or once a second as a plain one.
    pub(super) fn push(&mut self, sample: Sample, phase: &str) {
        self.samples.push(sample);
        let last = self.samples.len() - 1;
        let Some((arrivals, service)) = self.rates(last.saturating_sub(PLAIN), last) else {
            return;
        };
        let Sample { at, waiting, limit, rows, failed, .. } = sample;
        let held = if failed > 0 { format!("failed {failed}") } else { format!("limit {limit}") };
        let line = format!(
            "{:5.1} s  {phase:<5}  arriving {arrivals:4.0}/s  handled {service:3.0}/s  \
             waiting {waiting:5}  {held:8}  done {rows}",
            at.as_secs_f64(),
        );
        if terminal::is_live() {
            terminal::show(Some(line));
        } else if last.is_multiple_of(PLAIN) {
            terminal::error_line(&line);
        }
    }

    /// Says something about the run, above the live line.
    pub(super) fn say(&self, text: &str) {
        let at = self.samples.last().map_or(0.0, |sample| sample.at.as_secs_f64());
        terminal::error_line(&format!("{at:5.1} s  {}", output::one_line(text)));
    }
}

/// Reads the database beside those who write to it.
pub(super) struct Reader(Connection);

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.pragma_update(None, "query_only", true)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        Ok(Self(conn))
    }

    /// How many rows there are. They are numbered, and none is ever deleted.
    pub(super) fn rows(&self) -> rusqlite::Result<u64> {
        let mut last = self.0.prepare_cached("SELECT coalesce(max(seq), 0) FROM effects")?;
        last.query_row((), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    }
}
