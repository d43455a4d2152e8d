//! Many runs of a lane in a few figures: medians, with quartiles beside them.

use crate::{copy::Pair, lanes::Lane, run::Run};
use forebay_bench::median::median;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// A median with its quartiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Middle {
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
}

impl Middle {
    /// Of some values; the quartiles are the medians of the lower and the upper half (J. Tukey's
    /// hinges).
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let half = values.len().div_ceil(2);
        let upper = values.len() - half;
        let of = |values: &[f64]| median(values.to_vec()).unwrap_or(f64::NAN);
        Self {
            q1: of(values.get(..half).unwrap_or_default()),
            median: of(&values),
            q3: of(values.get(upper..).unwrap_or_default()),
        }
    }

    /// With as many digits as are worth reading.
    pub(crate) fn text(&self, digits: usize) -> String {
        let Self { q1, median, q3 } = self;
        format!("{median:.digits$} [{q1:.digits$}, {q3:.digits$}]")
    }
}

impl fmt::Display for Middle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = self.q3.abs().max(self.median.abs());
        f.write_str(&self.text(match largest {
            x if x < 10.0 => 2,
            x if x < 100.0 => 1,
            _ => 0,
        }))
    }
}

/// All runs of a lane.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) lane: Lane,
    pub(crate) runs: usize,
    /// Over all runs.
    pub(crate) arrivals: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) recognised: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Shares of the arrivals of each run.
    pub(crate) failed: Middle,
    pub(crate) in_doubt: u64,
    pub(crate) waiting: Middle,
    pub(crate) per_second: Middle,
    /// Seconds, of the runs that were drained, and how many those were.
    pub(crate) drained_after: Middle,
    pub(crate) drained: usize,
    /// p50, p95 and p99, in milliseconds.
    pub(crate) statement: [Middle; 3],
    /// As `statement`; of the full runs alone, where there are any: in the others, those that waited
    /// for longest are not in it.
    pub(crate) end_to_end: [Middle; 3],
    pub(crate) bystander: [Middle; 3],
    pub(crate) bystander_done: Middle,
    /// The share of all processors that others used just before the runs.
    pub(crate) others: Middle,
}

impl Summary {
    /// Of a lane's runs; `None` without any.
    pub(crate) fn of(lane: Lane, all: &[Run]) -> Option<Self> {
        let runs: Vec<&Run> = all.iter().filter(|run| run.lane == lane).collect();
        if runs.is_empty() {
            return None;
        }
        let middle =
            |of: &dyn Fn(&Run) -> f64| Middle::of(runs.iter().map(|run| of(run)).collect());
        let sum = |of: &dyn Fn(&Run) -> u64| runs.iter().map(|run| of(run)).sum();
        let mut errors = BTreeMap::new();
        for (error, times) in runs.iter().flat_map(|run| &run.errors) {
            *errors.entry(error.clone()).or_default() += times;
        }
        let whole: Vec<&Run> = runs.iter().copied().filter(|run| run.left.waiting == 0).collect();
        let drained: Vec<f64> = runs.iter().filter_map(|run| run.drained_after).collect();
        let times = |of: &dyn Fn(&Run) -> crate::record::Times, runs: &[&Run]| {
            let middle = |pick: &dyn Fn(crate::record::Times) -> f64| {
                Middle::of(runs.iter().map(|run| pick(of(run))).collect())
            };
            [middle(&|times| times.p50), middle(&|times| times.p95), middle(&|times| times.p99)]
        };
        Some(Self {
            lane,
            runs: runs.len(),
            arrivals: sum(&|run| run.arrivals),
            lost: sum(&|run| run.lost),
            doubled: sum(&|run| run.doubled),
            recognised: sum(&|run| run.left.recognised),
            failed: middle(&|run| run.failed as f64 / run.arrivals as f64),
            in_doubt: sum(&|run| run.in_doubt),
            waiting: middle(&|run| run.left.waiting as f64),
            per_second: middle(&|run| run.per_second),
            drained: drained.len(),
            drained_after: Middle::of(drained),
            statement: times(&|run| run.statement, &runs),
            end_to_end: times(&|run| run.end_to_end, &whole),
            bystander: times(&|run| run.bystander, &runs),
            bystander_done: middle(&|run| run.bystander_done),
            others: middle(&|run| run.others.unwrap_or(f64::NAN)),
            errors,
        })
    }
}

/// A target of the measurement, and whether it was met.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// All targets that these runs can say something about.
pub(crate) fn targets(summaries: &[Summary], pairs: &[Pair]) -> Vec<Target> {
    let of = |lane| summaries.iter().find(|summary| summary.lane == lane);
    let mut targets = Vec::new();
    let mut add = |what: &str, found: String, met| {
        targets.push(Target { what: what.to_owned(), found, met });
    };
    for lane in [Lane::Single, Lane::Batches] {
        if let Some(Summary { lost, doubled, recognised, arrivals, .. }) = of(lane) {
            let title = lane.title();
            add(&format!("{title}: lost 0"), format!("{lost} of {arrivals}"), *lost == 0);
            let found = format!("{doubled}; {recognised} came again and were recognised");
            add(&format!("{title}: doubled 0"), found, *doubled == 0);
        }
    }
    let p95 = |lane| of(lane).map(|summary| summary.bystander[1].median);
    if let Some(quiet) = p95(Lane::Quiet) {
        let mut suffers = |lane: Lane, what: &str, met: &dyn Fn(f64) -> bool| {
            if let Some(p95) = p95(lane) {
                let times = p95 / quiet;
                let found = format!("{times:.2} ({p95:.2} ms, quiet {quiet:.2} ms)");
                add(
                    &format!("{}: bystander's p95 {what} of quiet", lane.title()),
                    found,
                    met(times),
                );
            }
        };
        suffers(Lane::Direct, "at least 5.0", &|times| times >= 5.0);
        suffers(Lane::Single, "at most 1.5", &|times| times <= 1.5);
        suffers(Lane::Batches, "at most 1.5", &|times| times <= 1.5);
    }
    if let (Some(single), Some(batches)) = (of(Lane::Single), of(Lane::Batches)) {
        let times = batches.per_second.median / single.per_second.median;
        add("throughput of (d) at least 5.0 of (c)", format!("{times:.1}"), times >= 5.0);
    }
    if !pairs.is_empty() {
        let ratio = |of: fn(&Pair) -> f64| {
            Middle::of(pairs.iter().map(|pair| of(pair) / pair.bare).collect())
        };
        let mut keeps_up = |how: &str, of: fn(&Pair) -> f64| {
            let found = ratio(of);
            let what = format!("(d) out of memory at least 0.8 of a bare COPY loop, {how}");
            add(&what, found.to_string(), found.median >= 0.8);
        };
        keeps_up("with the inbox", |pair| pair.with_inbox);
        keeps_up("with the inbox, two batches at once", |pair| pair.two_at_once);
        keeps_up("without an inbox", |pair| pair.without_inbox);
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_the_medians_of_the_halves() {
        let middle = Middle::of((1..=10).map(f64::from).collect());
        assert_eq!((middle.q1, middle.median, middle.q3), (3.0, 5.5, 8.0));
        let one = Middle::of(vec![4.0]);
        assert_eq!((one.q1, one.median, one.q3), (4.0, 4.0, 4.0));
    }

    #[test]
    fn a_ratio_below_its_target_is_missed() {
        let pair = Pair { bare: 100.0, with_inbox: 79.0, two_at_once: 80.0, without_inbox: 81.0 };
        let met: Vec<bool> = targets(&[], &[pair]).iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, true]);
    }
}
