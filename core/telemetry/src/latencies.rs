//! How long messages wait and how long they take, as percentiles of the last minute.
//!
//! A histogram of OpenTelemetry counts from the start of the process, and its buckets are coarse. A
//! page that shows what is going on now wants the last minute, and exact to a percent or so. So this
//! keeps histograms of its own (HdrHistogram, two digits), one for each ten seconds, and forgets the
//! oldest.

use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How far back the percentiles look.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The window is made of so many slices; the oldest is forgotten as a whole.
const SLICES: u32 = 6;
/// What is shorter counts as this long, in nanoseconds: a microsecond.
const SHORTEST: u64 = 1_000;
/// What is longer counts as this long, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;
/// Percentiles are exact to so many digits.
const DIGITS: u8 = 2;

/// Percentiles of durations in the last minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many durations there were.
    pub count: u64,
    /// Half of them were no longer.
    pub p50: Duration,
    /// 95 in 100 were no longer.
    pub p95: Duration,
    /// 99 in 100 were no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// The latencies of one worker.
#[derive(Debug)]
pub struct Latencies {
    wait: Mutex<Slices>,
    handling: Mutex<Slices>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { wait: Mutex::new(Slices::new(now)), handling: Mutex::new(Slices::new(now)) }
    }

    /// How long messages waited in the worker, for others of their key and for a permit, before their
    /// handler was called; `None` if none was in the last minute.
    #[must_use]
    pub fn wait(&self) -> Option<Percentiles> {
        lock(&self.wait).read(Instant::now())
    }

    /// How long calls of the handler took; `None` if none ended in the last minute.
    #[must_use]
    pub fn handling(&self) -> Option<Percentiles> {
        lock(&self.handling).read(Instant::now())
    }

    pub(crate) fn waited(&self, waits: impl Iterator<Item = Duration>) {
        let mut slices = lock(&self.wait);
        slices.turn(Instant::now());
        waits.for_each(|waited| slices.record(waited, 1));
    }

    pub(crate) fn handled(&self, calls: u32, took: Duration) {
        let mut slices = lock(&self.handling);
        slices.turn(Instant::now());
        slices.record(took, calls);
    }
}

fn lock(slices: &Mutex<Slices>) -> MutexGuard<'_, Slices> {
    slices.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ring of histograms, one for each slice of the window.
#[derive(Debug)]
struct Slices {
    ring: Vec<Histogram<u32>>,
    /// Which one is being written.
    current: usize,
    /// When that one began.
    since: Instant,
}

impl Slices {
    fn new(now: Instant) -> Self {
        let empty = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS)
            .expect("bounds apart, and digits below six, make a histogram");
        Self { ring: vec![empty; SLICES as usize], current: 0, since: now }
    }

    /// Goes on to the slice that `now` is in, and empties those on the way.
    fn turn(&mut self, now: Instant) {
        let slice = WINDOW / SLICES;
        let mut turned = 0;
        while now.saturating_duration_since(self.since) >= slice {
            self.current = (self.current + 1) % self.ring.len();
            self.ring[self.current].reset();
            turned += 1;
            // After a whole turn all are empty, however long ago the last was.
            self.since = if turned > SLICES { now } else { self.since + slice };
        }
    }

    fn record(&mut self, duration: Duration, times: u32) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.ring[self.current].saturating_record_n(nanos.max(SHORTEST), times);
    }

    fn read(&mut self, now: Instant) -> Option<Percentiles> {
        self.turn(now);
        let mut all = self.ring[self.current].clone();
        for (at, slice) in self.ring.iter().enumerate() {
            if at != self.current {
                all += slice;
            }
        }
        let at = |quantile| Duration::from_nanos(all.value_at_quantile(quantile));
        (!all.is_empty()).then(|| Percentiles {
            count: all.len(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: Duration::from_nanos(all.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn close(value: Duration, expected: Duration) -> bool {
        value.abs_diff(expected) <= expected / 64
    }

    #[test]
    fn percentiles_are_right_to_two_digits() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        assert_eq!(slices.read(now), None);
        (1..=1000).for_each(|n| slices.record(MILLI * n, 1));
        let read = slices.read(now).unwrap();
        assert_eq!(read.count, 1000);
        assert!(close(read.p50, MILLI * 500) && close(read.p95, MILLI * 950), "{read:?}");
        assert!(close(read.p99, MILLI * 990) && close(read.max, MILLI * 1000), "{read:?}");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let begun = Instant::now();
        let mut slices = Slices::new(begun);
        slices.record(MILLI, 5);
        let later = begun + WINDOW / 2;
        slices.turn(later);
        slices.record(MILLI * 9, 3);
        assert_eq!(slices.read(later).unwrap().count, 8);
        let read = slices.read(begun + WINDOW).unwrap();
        assert_eq!(read.count, 3, "the first slice has gone");
        assert!(close(read.p50, MILLI * 9));
        assert_eq!(slices.read(begun + WINDOW * 100), None);
        slices.record(MILLI, 1);
        assert_eq!(slices.read(begun + WINDOW * 100).unwrap().count, 1);
    }

    #[test]
    fn durations_without_bounds_are_taken_in() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        slices.record(Duration::ZERO, 1);
        slices.record(Duration::MAX, u32::MAX);
        slices.record(Duration::MAX, u32::MAX);
        assert!(slices.read(now).unwrap().max >= Duration::from_secs(3600));
    }
}
