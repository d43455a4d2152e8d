//! `forebay demo`: a real burst, leveled into a real database, and the books checked at the end.
//!
//! The story, in the order in which it happens:
//!
//! ```text
//! database   an orders database is made;  calibrate  what it sustains is measured
//! plan       from that: calm, a burst of ten times as much, calm; failures and poison by a seed
//! producer   sends every order at its time ----> the embedded queue
//! worker     processes that take from the queue and write to the database ...
//! fleet      ... one of which is killed on the way
//! sample     looks on, five times a second
//! audit      holds what was said against the rows that are there
//! report     the table;  plot  the terminal's picture;  svg  the file's
//! without    the same plan with no queue in between
//! ```
//!
//! Nothing is scripted: every number that is shown has been measured in this run.

mod audit;
mod calibrate;
mod database;
mod fleet;
mod leveled;
mod plan;
mod plot;
mod producer;
mod report;
mod sample;
mod svg;
mod without;
mod worker;

use crate::{error::CliError, output, terminal};
use calibrate::Trial;
use clap::Args;
use plan::Plan;
use report::Report;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

const EXAMPLES: &str = "\
Examples:
  forebay demo                        a burst through a queue, in under a minute
  forebay demo --without              the same burst straight at the database
  forebay demo --svg demo.svg         ... and a picture of it
  forebay demo --dir /tmp/demo        keep queue and database, and look for yourself:
                                        forebay dead list --path /tmp/demo/queue.db --queue orders

Exit codes:
  0  the books balance     1  they do not: the ids are named     2  wrong command line";

/// Shows what it does: a burst of ten times what a database bears, leveled, with a worker killed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// Send the same burst straight to the database, with no queue in between
    #[arg(long)]
    without: bool,

    /// How many worker processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    workers: u8,

    /// How long the burst lasts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    burst: f64,

    /// Decides when orders arrive, and which of them fail
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Write a picture of the run
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Work in this new folder, and keep it; otherwise in a temporary one
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Be one of the worker processes
    #[arg(long, hide = true, requires = "dir")]
    as_worker: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=30.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 30".to_owned()),
    }
}

impl Demo {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        if let (true, Some(dir)) = (self.as_worker, &self.dir) {
            return worker::run(dir).await;
        }
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [mut interrupt, mut terminate] = match signals {
            [Ok(interrupt), Ok(terminate)] => [interrupt, terminate],
            [Err(error), _] | [_, Err(error)] => {
                return Err(CliError::failed("cannot listen for signals", error));
            }
        };
        // Dropping the story ends its processes and removes its folder.
        let ended = tokio::select! {
            ended = self.story() => ended,
            _ = interrupt.recv() => Err(interrupted("Ctrl-C")),
            _ = terminate.recv() => Err(interrupted("SIGTERM")),
        };
        terminal::show(None);
        ended
    }

    async fn story(&self) -> Result<(), CliError> {
        let folder = Folder::new(self.dir.as_deref())?;
        terminal::error_line(&format!("folder: {}", folder.path().display()));
        terminal::error_line("what its orders database bears:");
        let orders = folder.orders();
        let trials = blocking(move || {
            database::create(&orders)?;
            calibrate::calibrate(&orders)
        })
        .await?;
        let burst = Duration::from_secs_f64(self.burst);
        let plan = Plan::new(self.seed, calibrate::sustainable(&trials), burst);
        introduce(&trials, &plan, self.without);

        let (timeline, told) = if self.without {
            without::run(&folder, &plan).await?
        } else {
            leveled::run(&folder, &plan, usize::from(self.workers)).await?
        };
        terminal::show(None);
        let audit = audit::audit(&folder.orders(), &plan, &told, !self.without)
            .map_err(|error| CliError::failed("cannot read the orders database", error))?;
        self.conclude(&Report {
            plan: &plan,
            timeline: &timeline,
            told: &told,
            audit: &audit,
            without: self.without,
        })
    }

    fn conclude(&self, report: &Report<'_>) -> Result<(), CliError> {
        plot::print(report.timeline, self.without)?;
        report.print()?;
        let summary = report.summary();
        if let Some(path) = &self.svg {
            let picture = svg::draw(report.plan, report.timeline, self.without, &summary)
                .map_err(|error| CliError::failed("cannot draw the picture", error))?;
            let shown = path.display();
            fs::write(path, picture)
                .map_err(|error| CliError::failed(format!("cannot write {shown}"), error))?;
            output::line(format!("wrote {shown}"))?;
        }
        output::line(summary)?;
        let mismatches = &report.audit.mismatches;
        if mismatches.is_empty() {
            return output::line("checked against the database's own rows: they say the same");
        }
        Err(CliError::failed("the books do not balance", mismatches.join("; ")))
    }
}

fn introduce(trials: &[Trial], plan: &Plan, without: bool) {
    for trial in trials {
        terminal::error_line(&format!(
            "  {:2} at once: {:4.0} orders/s, p99 {:>7}",
            trial.writers,
            trial.per_second,
            report::time(trial.p99),
        ));
    }
    let burst = plan.burst();
    let (lasts, way) = (burst.lasts.as_secs_f64(), if without { "no queue" } else { "a queue" });
    terminal::error_line(&format!(
        "it sustains {} orders/s; now {} orders come, {} per second for {lasts} s, with {way}",
        report::axis(calibrate::sustainable(trials)),
        report::grouped(plan.len() as u64),
        report::axis(burst.rate),
    ));
}

fn interrupted(by: &str) -> CliError {
    CliError::failed("not finished", format!("ended by {by}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, CliError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(|error| CliError::failed("the orders database does not work", error))
}

/// Where queue and database are.
enum Folder {
    /// Removed at the end.
    Temporary(TempDir),
    /// Kept.
    Kept(PathBuf),
}

impl Folder {
    fn new(kept: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = kept else {
            let made = tempfile::Builder::new().prefix("forebay-demo-").tempdir();
            return made
                .map(Self::Temporary)
                .map_err(|error| CliError::failed("cannot make a temporary folder", error));
        };
        fs::create_dir(path).map_err(|error| {
            let shown = path.display();
            CliError::Usage(format!("cannot make {shown}: {error}; --dir takes a new folder"))
        })?;
        Ok(Self::Kept(path.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn orders(&self) -> PathBuf {
        self.path().join("orders.db")
    }

    fn queue(&self) -> PathBuf {
        self.path().join("queue.db")
    }
}
