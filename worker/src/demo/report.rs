//! The table at the end, and what it comes to in a line.

use super::{
    audit::{Audit, Told},
    plan::Plan,
    sample::{Point, Timeline},
    without::CLIENT_TIMEOUT,
};
use crate::{error::CliError, output};
use hdrhistogram::Histogram;
use std::time::Duration;

/// For times in microseconds, up to ten minutes, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds and digits are in range")
}

/// All that a report is made of.
pub(super) struct Report<'a> {
    pub(super) plan: &'a Plan,
    pub(super) timeline: &'a Timeline,
    pub(super) told: &'a Told,
    pub(super) audit: &'a Audit,
    pub(super) without: bool,
}

impl Report<'_> {
    /// Prints the tables.
    pub(super) fn print(&self) -> Result<(), CliError> {
        output::line("")?;
        output::table(["", "ORDERS", ""], &right(self.orders(), &[1]), None)?;
        output::line("")?;
        output::table(["", "P50", "P95", "P99", "MAX"], &right(self.times(), &[1, 2, 3, 4]), None)?;
        output::line("")?;
        output::table(["", "PER SECOND", ""], &right(self.rates(), &[1]), None)?;
        output::line("")
    }

    fn orders(&self) -> Vec<[String; 3]> {
        let (told, audit) = (self.told, self.audit);
        let row = |name: &str, orders: u64, note: &str| [name.into(), grouped(orders), note.into()];
        let dead = told.dead.len() as u64;
        let poison = if audit.dead_as_injected {
            "just the injected poison"
        } else {
            "NOT the injected poison"
        };
        let mut rows = vec![
            row("sent", told.sent, if self.without { "one client each" } else { "each confirmed" }),
            row("done", audit.done, "have a row in the database"),
        ];
        if self.without {
            let failed = format!("clients that got an error, or no answer in {CLIENT_TIMEOUT:?}");
            rows.extend([
                row("failed", told.failed, &failed),
                row(
                    "in doubt",
                    audit.in_doubt,
                    "of these, done after all: tried again, done twice",
                ),
                row("refused", dead, poison),
            ]);
        } else {
            let retried = format!("done at a later attempt; {} failed", grouped(told.retried));
            rows.extend([
                row("retried", audit.again, &retried),
                row("put off", told.postponed, "times that the database was locked"),
                row(
                    "came back",
                    audit.redelivered,
                    "were with the killed worker, and done by another",
                ),
                row("dead", dead, &format!("dead letters: {poison}")),
            ]);
        }
        rows.extend([
            row("lost", audit.lost, if self.without { "no row" } else { "neither done nor dead" }),
            row("duplicates", audit.duplicates, "rows beyond the first of an order"),
        ]);
        rows
    }

    fn times(&self) -> Vec<[String; 5]> {
        let row = |name: &str, histogram: &Histogram<u64>| {
            let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|at| quantile(histogram, at));
            [name.to_owned(), p50, p95, p99, max]
        };
        match self.without {
            true => vec![row("answered", &self.told.took)],
            false => vec![row("waiting", &self.audit.waited), row("handling", &self.told.took)],
        }
    }

    fn rates(&self) -> Vec<[String; 3]> {
        let points = self.timeline.points();
        let most = |of: fn(&Point) -> f64| points.iter().map(of).fold(0.0, f64::max);
        let burst = self.plan.burst();
        let busy: Vec<_> = points
            .iter()
            .filter(|point| point.at >= burst.starts.as_secs_f64() && point.waiting > 100.0)
            .collect();
        let handled =
            busy.iter().map(|point| point.service).sum::<f64>() / busy.len().max(1) as f64;
        let row = |name: &str, rate: f64, note: String| [name.into(), axis(rate), note];
        vec![
            row("arriving", most(|point| point.arrivals), "at the peak".to_owned()),
            row(
                "handled",
                handled,
                format!("on average while {} waited at most", axis(most(|p| p.waiting))),
            ),
        ]
    }

    /// What it comes to.
    pub(super) fn summary(&self) -> String {
        let (told, audit) = (self.told, self.audit);
        let lasted = self.timeline.samples.last().map_or(0.0, |sample| sample.at.as_secs_f64());
        let [sent, done, lost] = [told.sent, audit.done, audit.lost].map(grouped);
        let dead = told.dead.len();
        if self.without {
            let failed = grouped(told.failed);
            return format!(
                "{sent} clients in {lasted:.0} s: {failed} got an error or no answer; {lost} orders lost"
            );
        }
        format!(
            "{sent} orders in {lasted:.0} s: {done} done, {dead} dead letters, {lost} lost, {} done \
             twice; waited {} at most",
            audit.duplicates,
            quantile(&audit.waited, 1.0),
        )
    }
}

fn quantile(histogram: &Histogram<u64>, at: f64) -> String {
    time(Duration::from_micros(histogram.value_at_quantile(at)))
}

/// The rows with some columns set to the right.
fn right<const N: usize>(mut rows: Vec<[String; N]>, columns: &[usize]) -> Vec<[String; N]> {
    for column in columns {
        let width = rows.iter().map(|row| row[*column].chars().count()).max().unwrap_or(0);
        for row in &mut rows {
            row[*column] = format!("{:>width$}", row[*column]);
        }
    }
    rows
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number at an axis.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, and it is not below zero"
)]
pub(super) fn axis(value: f64) -> String {
    grouped(value.round().max(0.0) as u64)
}

/// A time for people: three digits at most.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        10.0.. => format!("{seconds:.1} s"),
        1.0..10.0 => format!("{seconds:.2} s"),
        0.01..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{:.1} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_time_has_three_digits_at_most() {
        let text = |micros| time(Duration::from_micros(micros));
        assert_eq!(text(1_640), "1.6 ms");
        assert_eq!(text(107_000), "107 ms");
        assert_eq!(text(1_014_000), "1.01 s");
        assert_eq!(text(23_400_000), "23.4 s");
    }
}
