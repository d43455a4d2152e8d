//! One run of one lane: its plan played, its bystander watched, its books closed in the database.

use crate::{
    Fault,
    bystander::{Bystander, Sample},
    database::{Database, Rows},
    lanes::{Lane, Left, Setup, Stage},
    machine,
    plan::Plan,
    record::{COLUMN, Record, Times, histogram},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// How long the bystander runs before the first arrival.
const AHEAD: Duration = Duration::from_secs(1);
/// How long it is looked at what others do on the machine.
const LOOK: Duration = Duration::from_millis(500);
/// The longest drain that is waited for.
pub(crate) const LONGEST: Duration = Duration::from_secs(900);

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) lane: Lane,
    /// Whether it could go on until nothing waited any more.
    pub(crate) full: bool,
    pub(crate) arrivals: u64,
    /// In the database.
    pub(crate) rows: Rows,
    pub(crate) left: Left,
    /// Rows that the database refused as poison.
    pub(crate) refused: u64,
    /// Sound arrivals that are neither in the database nor in a queue.
    pub(crate) lost: u64,
    /// Rows beyond the first of an arrival.
    pub(crate) doubled: u64,
    /// Clients that got an error, poison aside.
    pub(crate) failed: u64,
    /// Of those, clients whose row is there all the same.
    pub(crate) in_doubt: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Rows per second, for as long as more waited than arrives in a tenth of a second.
    pub(crate) per_second: f64,
    /// From the end of the burst until that was so, in seconds; `None`: not within this run.
    pub(crate) drained_after: Option<f64>,
    /// A statement, or a transaction, as its caller saw it; in milliseconds.
    pub(crate) statement: Times,
    /// From when it was due to when its row was known to be written; in milliseconds.
    pub(crate) end_to_end: Times,
    /// The bystander's transactions, from when each was scheduled; in milliseconds.
    pub(crate) bystander: Times,
    /// How many of them there were, of those that were scheduled.
    pub(crate) bystander_done: f64,
    /// The share of all processors that others used just before the run.
    pub(crate) others: Option<f64>,
    #[serde(skip)]
    pub(crate) samples: Vec<Sample>,
    /// Written, failed, and waiting at the end, of each tenth of a second.
    #[serde(skip)]
    pub(crate) columns: Vec<Column>,
}

/// A tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Column {
    pub(crate) at: f64,
    pub(crate) arrived: u64,
    pub(crate) written: u64,
    pub(crate) failed: u64,
    pub(crate) waiting: u64,
}

/// What is the same for all runs.
pub(crate) struct Rehearsed<'a> {
    pub(crate) database: &'a Database,
    pub(crate) plan: Arc<Plan>,
    pub(crate) setup: Setup,
    pub(crate) window: Duration,
    pub(crate) bystander_rate: u32,
}

impl Rehearsed<'_> {
    /// Runs a lane.
    pub(crate) async fn run(&self, lane: Lane, round: usize, full: bool) -> Result<Run, Fault> {
        self.database.reset().await?;
        let others = machine::busy(LOOK).await;
        let window = self.window.max(self.plan.ends());
        let bystander = Bystander::start(&self.database.url, self.bystander_rate, AHEAD + window)?;
        tokio::time::sleep(AHEAD).await;
        let (start, start_time) = (Instant::now(), SystemTime::now());
        let record = Arc::new(Record::new(self.plan.clone(), start));
        let full = full && lane != Lane::Quiet;
        let stage = Stage {
            url: self.database.url.clone(),
            setup: self.setup,
            plan: self.plan.clone(),
            record: record.clone(),
            until: if full { LONGEST } else { window },
        };
        let left = lane.play(stage).await?;
        let lasted = start.elapsed();
        let samples = bystander.finish(start_time).await?;
        let rows = self.database.rows().await?;
        let ended = Ended { lane, round, full, left, lasted, rows, others };
        Ok(self.conclude(&ended, &record, samples))
    }

    fn conclude(&self, ended: &Ended, record: &Record, samples: Vec<Sample>) -> Run {
        let &Ended { lane, round, full, left, lasted, rows, others } = ended;
        let plan = &self.plan;
        let columns = columns(plan, record, lasted, lane);
        let drained = drained_at(plan, &columns);
        let at_work = drained.unwrap_or(lasted.as_secs_f64());
        let by_then: u64 =
            columns.iter().filter(|c| c.at <= at_work).map(|column| column.written).sum();
        let failed = record.failures();
        let told = record.done() - failed - record.refusals();
        // As long as the lane has something to do, and its clients.
        let watched = at_work.max(plan.ends().as_secs_f64()).min(self.window.as_secs_f64());
        let samples: Vec<_> =
            samples.into_iter().filter(|sample| (0.0..watched).contains(&sample.at)).collect();
        let mut bystander = histogram();
        for sample in &samples {
            bystander.saturating_record((sample.took * 1e3) as u64);
        }
        let burst = plan.stretches[0].to;
        Run {
            round,
            lane,
            full,
            arrivals: plan.len(),
            rows,
            left,
            refused: record.refusals(),
            lost: lost(lane, plan, rows, left, record.refusals()),
            doubled: rows.rows - rows.distinct,
            failed,
            in_doubt: rows.distinct.saturating_sub(told),
            errors: record.errors(),
            per_second: by_then as f64 / at_work,
            drained_after: drained.map(|at| (at - burst).max(0.0)),
            statement: record.statement_times(),
            end_to_end: record.end_to_end_times(),
            bystander: Times::of(&bystander),
            bystander_done: samples.len() as f64 / (f64::from(self.bystander_rate) * watched),
            others,
            samples,
            columns,
        }
    }
}

/// How a run ended.
struct Ended {
    lane: Lane,
    round: usize,
    full: bool,
    left: Left,
    lasted: Duration,
    rows: Rows,
    others: Option<f64>,
}

/// Arrivals that should be in the database, and are neither there nor in a queue. Where something
/// waits, nobody knows how much of it is poison, and the dead letters are believed to be.
fn lost(lane: Lane, plan: &Plan, rows: Rows, left: Left, refused: u64) -> u64 {
    let dead = match lane {
        Lane::Quiet => return 0,
        Lane::Direct | Lane::Consumer => refused,
        Lane::Single | Lane::Batches => left.dead,
    };
    match left.waiting {
        0 => plan.sound().saturating_sub(rows.distinct),
        waiting => plan.len().saturating_sub(rows.distinct + dead + waiting),
    }
}

fn columns(plan: &Plan, record: &Record, lasted: Duration, lane: Lane) -> Vec<Column> {
    if lane == Lane::Quiet {
        return Vec::new();
    }
    let (mut columns, mut before, mut done) = (Vec::new(), 0, 0);
    let written = record.written_by_column(lasted);
    let (failed, refused) = (record.failed_by_column(lasted), record.refused_by_column(lasted));
    for (index, ((written, failed), refused)) in
        written.into_iter().zip(failed).zip(refused).enumerate()
    {
        let end = COLUMN * (index as u32 + 1);
        let due = plan.due_by(end);
        done += written + failed + refused;
        columns.push(Column {
            at: end.as_secs_f64(),
            arrived: due - before,
            written,
            failed,
            waiting: due.saturating_sub(done),
        });
        before = due;
    }
    columns
}

/// When, after the burst, no more waited than arrives in a tenth of a second of the steady stretch.
fn drained_at(plan: &Plan, columns: &[Column]) -> Option<f64> {
    let few = (plan.stretches[1].rate * COLUMN.as_secs_f64()) as u64;
    columns
        .iter()
        .find(|column| column.at >= plan.stretches[0].to && column.waiting <= few)
        .map(|column| column.at)
}
