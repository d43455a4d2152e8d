//! The results as tables in Markdown, as they are printed and as they stand in the documentation.

use crate::{
    calibrate::Trial,
    copy::Pair,
    files::Results,
    lanes::Lane,
    summary::{self, Middle, Summary, Target},
};
use forebay_bench::table::Table;

/// All tables, with a line above each.
pub(crate) fn all(results: &Results) -> Vec<(&'static str, Table)> {
    let Results { curve, pairs, .. } = results;
    let summaries = &results.summaries();
    let mut tables = Vec::new();
    if !curve.is_empty() {
        tables
            .push(("What the database sustains: single inserts, so many at once.", trials(curve)));
    }
    if !summaries.is_empty() {
        tables.push(("What became of the arrivals, over all runs.", books(summaries)));
        tables.push((
            "What went wrong, as clients and workers saw it, over all runs.",
            errors(summaries),
        ));
        tables.push((
            "How fast, and how long; medians of the runs, with quartiles.",
            speed(summaries),
        ));
        tables.push((
            "The bystander: pgbench, ms from when a transaction was scheduled.",
            bystander(summaries),
        ));
    }
    if !pairs.is_empty() {
        tables.push(("Beside a bare COPY loop, rows/s.", copy(pairs)));
    }
    tables.push(("Targets.", verdicts(&summary::targets(summaries, pairs))));
    tables
}

fn trials(curve: &[Trial]) -> Table {
    let mut table = Table::new(&["at once", "inserts/s", "p50, ms", "p95, ms", "p99, ms"]);
    for Trial { at_once, per_second, times } in curve {
        let times = [times.p50, times.p95, times.p99].map(|time| format!("{time:.2}"));
        table.row([at_once.to_string(), format!("{per_second:.0}")].into_iter().chain(times));
    }
    table
}

fn writing(summaries: &[Summary]) -> impl Iterator<Item = &Summary> {
    summaries.iter().filter(|summary| summary.lane != Lane::Quiet)
}

fn books(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        "lane",
        "runs",
        "arrivals",
        "clients with an error",
        "of them with a row after all",
        "lost",
        "doubled",
        "came again, recognised",
        "waiting at the end of a run",
    ]);
    for summary in writing(summaries) {
        let Middle { median, .. } = summary.failed;
        table.row([
            summary.lane.title().to_owned(),
            summary.runs.to_string(),
            summary.arrivals.to_string(),
            format!("{:.1} %", median * 100.0),
            summary.in_doubt.to_string(),
            summary.lost.to_string(),
            summary.doubled.to_string(),
            summary.recognised.to_string(),
            summary.waiting.text(0),
        ]);
    }
    table
}

fn errors(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&["lane", "error", "times"]);
    for summary in writing(summaries) {
        for (error, times) in &summary.errors {
            table.row([summary.lane.title().to_owned(), error.clone(), times.to_string()]);
        }
    }
    table
}

fn speed(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        "lane",
        "rows/s",
        "drained after the burst, s",
        "statement p50, ms",
        "p95",
        "p99",
        "end to end p50, ms",
        "p95",
        "p99",
    ]);
    for summary in writing(summaries) {
        let drained = match summary.drained {
            0 => "not in these runs".to_owned(),
            n if n < summary.runs => format!("{} ({n} run)", summary.drained_after.text(1)),
            _ => summary.drained_after.text(1),
        };
        let head = [summary.lane.title().to_owned(), summary.per_second.text(0), drained];
        let times = summary.statement.iter().chain(&summary.end_to_end);
        let times =
            times.map(|time| if time.median.is_nan() { "-".into() } else { time.to_string() });
        table.row(head.into_iter().chain(times));
    }
    table
}

fn bystander(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        "lane",
        "p50",
        "p95",
        "p99",
        "p95 of quiet",
        "transactions done",
        "used by others before",
    ]);
    let quiet = summaries.iter().find(|summary| summary.lane == Lane::Quiet);
    for summary in summaries {
        let times = summary.bystander.iter().map(Middle::to_string);
        let ratio = quiet.map_or_else(
            || "-".to_owned(),
            |quiet| format!("{:.2}", summary.bystander[1].median / quiet.bystander[1].median),
        );
        let done = format!("{:.0} %", summary.bystander_done.median * 100.0);
        let others = format!("{:.0} %", summary.others.median * 100.0);
        let head = [summary.lane.title().to_owned()];
        table.row(head.into_iter().chain(times).chain([ratio, done, others]));
    }
    table
}

fn copy(pairs: &[Pair]) -> Table {
    let mut table = Table::new(&["loop", "rows/s", "of the bare loop, pair by pair"]);
    let mut row = |name: &str, of: fn(&Pair) -> f64| {
        let rate = Middle::of(pairs.iter().map(of).collect());
        let ratio = Middle::of(pairs.iter().map(|pair| of(pair) / pair.bare).collect());
        table.row([name.to_owned(), rate.text(0), ratio.text(2)]);
    };
    row("bare COPY", |pair| pair.bare);
    row("Forebay in batches, with the inbox", |pair| pair.with_inbox);
    row("the same, two batches at once", |pair| pair.two_at_once);
    row("Forebay in batches, without an inbox", |pair| pair.without_inbox);
    table
}

fn verdicts(targets: &[Target]) -> Table {
    let mut table = Table::new(&["target", "found", "met?"]);
    for Target { what, found, met } in targets {
        let met = if *met { "met" } else { "**missed**" };
        table.row([what.clone(), found.clone(), met.to_owned()]);
    }
    table
}
