//! The results as files, so that every figure of the documentation can be traced: all of it as JSON, and
//! as CSV what is worth a spreadsheet.

use crate::{
    Fault,
    calibrate::Trial,
    copy::Pair,
    database::Database,
    lanes::{Lane, Setup},
    plan::{Plan, Stretch},
    plot,
    run::Run,
    summary::{self, Summary, Target},
};
use clap::ValueEnum;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, fs, path::Path, sync::Arc, thread};

/// All that was found so far.
pub(crate) struct Results {
    pub(crate) server: BTreeMap<&'static str, String>,
    pub(crate) setup: Setup,
    pub(crate) plan: Arc<Plan>,
    pub(crate) sustainable: f64,
    pub(crate) curve: Vec<Trial>,
    pub(crate) runs: Vec<Run>,
    pub(crate) pairs: Vec<Pair>,
}

/// The settings of the server that matter here, in its own words.
pub(crate) async fn server(database: &Database) -> Result<BTreeMap<&'static str, String>, Fault> {
    let names = [
        "server_version",
        "max_connections",
        "shared_buffers",
        "synchronous_commit",
        "fsync",
        "wal_sync_method",
    ];
    let mut settings = BTreeMap::new();
    for name in names {
        settings.insert(name, database.setting(name).await?);
    }
    let cores = thread::available_parallelism().map_or(0, usize::from);
    settings.insert("cores_of_the_machine", cores.to_string());
    Ok(settings)
}

/// A run in a line.
pub(crate) fn line(run: &Run) -> String {
    let drained =
        run.drained_after.map_or("not drained".to_owned(), |s| format!("drained {s:.1} s after"));
    format!(
        "round {:>2}, {:<32} {:>6.0} rows/s, {drained}, {} failed, {} waiting, lost {}, doubled {}, recognised {}; \
         statement p95 {:.2} ms; bystander p50 {:.2}, p95 {:.2}, p99 {:.2} ms, {:.0} % done",
        run.round,
        run.lane.title(),
        run.per_second,
        run.failed,
        run.left.waiting,
        run.lost,
        run.doubled,
        run.left.recognised,
        run.statement.p95,
        run.bystander.p50,
        run.bystander.p95,
        run.bystander.p99,
        run.bystander_done * 100.0,
    )
}

#[derive(Serialize)]
struct Document<'a> {
    server: &'a BTreeMap<&'static str, String>,
    setup: Setup,
    sustainable_per_second: f64,
    stretches: [Stretch; 3],
    curve: &'a [Trial],
    targets: &'a [Target],
    summaries: &'a [Summary],
    pairs: &'a [Pair],
    runs: &'a [Run],
}

impl Results {
    /// Each lane that has run, in a few figures.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        Lane::value_variants().iter().filter_map(|lane| Summary::of(*lane, &self.runs)).collect()
    }

    /// Writes all files into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Fault> {
        fs::create_dir_all(folder)?;
        let summaries = self.summaries();
        let document = Document {
            server: &self.server,
            setup: self.setup,
            sustainable_per_second: self.sustainable,
            stretches: self.plan.stretches,
            curve: &self.curve,
            targets: &summary::targets(&summaries, &self.pairs),
            summaries: &summaries,
            pairs: &self.pairs,
            runs: &self.runs,
        };
        fs::write(folder.join("results.json"), serde_json::to_string_pretty(&document)? + "\n")?;
        fs::write(folder.join("runs.csv"), self.runs_csv()?)?;
        fs::write(folder.join("seconds.csv"), self.seconds_csv()?)?;
        fs::write(folder.join("copy.csv"), self.copy_csv()?)?;
        plot::all(folder, &self.plan, &self.runs)
    }

    fn runs_csv(&self) -> Result<String, Fault> {
        let mut csv = String::from(
            "round,lane,full,arrivals,rows,distinct,dead,waiting,lost,doubled,recognised,failed,in_doubt,\
             rows_per_second,drained_after_s,statement_p50_ms,statement_p95_ms,statement_p99_ms,\
             end_to_end_p50_ms,end_to_end_p95_ms,end_to_end_p99_ms,bystander_p50_ms,bystander_p95_ms,\
             bystander_p99_ms,bystander_done,others\n",
        );
        for run in &self.runs {
            let Run { statement, end_to_end, bystander, .. } = run;
            let drained = run.drained_after.map_or(String::new(), |after| format!("{after:.1}"));
            write!(
                csv,
                "{},{},{},{},{},{},{},{},{},{},{},{},{},{:.0},{drained}",
                run.round,
                run.lane.key(),
                run.full,
                run.arrivals,
                run.rows.rows,
                run.rows.distinct,
                run.left.dead,
                run.left.waiting,
                run.lost,
                run.doubled,
                run.left.recognised,
                run.failed,
                run.in_doubt,
                run.per_second,
            )?;
            for times in [statement, end_to_end, bystander] {
                write!(csv, ",{:.3},{:.3},{:.3}", times.p50, times.p95, times.p99)?;
            }
            let others = run.others.map_or(String::new(), |others| format!("{others:.2}"));
            writeln!(csv, ",{:.3},{others}", run.bystander_done)?;
        }
        Ok(csv)
    }

    /// What was written in each second of each run, and what the bystander's slowest transaction of
    /// that second took.
    fn seconds_csv(&self) -> Result<String, Fault> {
        let mut csv =
            String::from("round,lane,second,arrived,written,failed,waiting,bystander_max_ms\n");
        for run in &self.runs {
            let columns = run.columns.chunks(10);
            let seconds = columns.len().max(run.samples.last().map_or(0, |s| s.at as usize + 1));
            for second in 0..seconds {
                let columns = run.columns.chunks(10).nth(second).unwrap_or_default();
                let sum = |of: fn(&crate::run::Column) -> u64| columns.iter().map(of).sum::<u64>();
                let within = |at: f64| at as usize == second;
                let slowest = run
                    .samples
                    .iter()
                    .filter(|sample| within(sample.at))
                    .map(|sample| sample.took)
                    .reduce(f64::max);
                writeln!(
                    csv,
                    "{},{},{second},{},{},{},{},{}",
                    run.round,
                    run.lane.key(),
                    sum(|column| column.arrived),
                    sum(|column| column.written),
                    sum(|column| column.failed),
                    columns.last().map_or(0, |column| column.waiting),
                    slowest.map_or(String::new(), |slowest| format!("{slowest:.3}")),
                )?;
            }
        }
        Ok(csv)
    }

    fn copy_csv(&self) -> Result<String, Fault> {
        let mut csv = String::from(
            "pair,bare_rows_per_s,with_inbox_rows_per_s,two_at_once_rows_per_s,without_inbox_rows_per_s\n",
        );
        for (index, pair) in self.pairs.iter().enumerate() {
            let Pair { bare, with_inbox, two_at_once, without_inbox } = pair;
            let number = index + 1;
            writeln!(
                csv,
                "{number},{bare:.0},{with_inbox:.0},{two_at_once:.0},{without_inbox:.0}"
            )?;
        }
        Ok(csv)
    }
}
