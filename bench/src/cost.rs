//! What one run cost: the time that passed, and the time that processors spent on it.
//!
//! On a machine that others use too, the first says more about them. The second is this program's
//! own, if not undisturbed either: a cache is shared, and so is a core's other half.

use crate::{flavor::Flavor, median::median, table::Table};
use rustix::time::{ClockId, clock_gettime};
use std::{
    ops::{Add, Div},
    time::{Duration, Instant},
};

/// The cost of one message, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Time that passed.
    pub wall: f64,
    /// Processor time, of all threads together.
    pub cpu: f64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

impl Div<f64> for Cost {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { wall: self.wall / by, cpu: self.cpu / by }
    }
}

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self { begun: Instant::now(), cpu: process_time() }
    }

    /// What each of so many messages cost since the start.
    #[must_use]
    pub fn each(&self, messages: u64) -> Cost {
        let (wall, cpu) = (self.begun.elapsed(), process_time().saturating_sub(self.cpu));
        let each = |time: Duration| time.as_nanos() as f64 / messages.max(1) as f64;
        Cost { wall: each(wall), cpu: each(cpu) }
    }
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is ever negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A table of what was run in turn, `runs[i][pair]` under `names[i]`: medians, and the medians of the
/// ratios to the first row within each pair, which hold where the nanoseconds drift.
#[must_use]
pub fn table(names: &[String], flavor: Flavor, runs: &[Vec<Cost>]) -> Table {
    let first = names.first().map(String::as_str).unwrap_or_default();
    let ratio = format!("of {first}");
    let columns = ["", "runtime", "ns a message", "best", &ratio, "ns of CPU", &ratio];
    let mut table = Table::new(&columns);
    for (name, own) in names.iter().zip(runs) {
        let middle = |of: fn(&Cost) -> f64| median(own.iter().map(of).collect());
        let ratio = |of: fn(&Cost) -> f64| {
            median(own.iter().zip(&runs[0]).map(|(own, first)| of(own) / of(first)).collect())
        };
        let best = own.iter().map(|cost| cost.wall).reduce(f64::min);
        let whole = |value: Option<f64>| format!("{:.0}", value.unwrap_or(f64::NAN));
        let part = |value: Option<f64>| format!("{:.2}", value.unwrap_or(f64::NAN));
        table.row([
            name.clone(),
            flavor.to_string(),
            whole(middle(|cost| cost.wall)),
            whole(best),
            part(ratio(|cost| cost.wall)),
            whole(middle(|cost| cost.cpu)),
            part(ratio(|cost| cost.cpu)),
        ]);
    }
    table
}
