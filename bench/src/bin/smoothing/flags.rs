//! What may be said on the command line.

use clap::Parser;
use std::{env, path::PathBuf, time::Duration};

const EXAMPLES: &str = "\
Examples:
  scripts/brokers up postgres
  cargo run --release -p forebay-bench --features smoothing --bin smoothing -- --quick
  cargo run --release -p forebay-bench --features smoothing --bin smoothing -- --out docs/smoothing
  ... --bin smoothing -- --quick --lanes quiet,batches --bystander-rate 200
  ... --bin smoothing -- --rounds 0 --pairs 15        the COPY comparison alone

It needs a PostgreSQL that may be busied, and Debian's pgbench. All it makes there is a database
of its own, `forebay_smoothing_<pid>`, which it drops at the end. Nothing else should run on the machine meanwhile.";

/// Measures what a burst does to PostgreSQL, straight and through a queue.
#[derive(Debug, Parser)]
#[command(about, after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// Where PostgreSQL is, by a role that may make databases; by default $FOREBAY_TEST_POSTGRES,
    /// else that of `scripts/brokers`.
    #[arg(long)]
    url: Option<String>,
    /// Rounds, each with every lane once.
    #[arg(long, default_value_t = 10)]
    pub(crate) rounds: usize,
    /// In so many rounds, the first ones, each lane may go on until nothing waits any more; in the
    /// others it is stopped at the end of the window, and what waits then is counted.
    #[arg(long, default_value_t = 1)]
    pub(crate) full: usize,
    /// Pairs of the comparison with a bare COPY loop.
    #[arg(long, default_value_t = 15)]
    pub(crate) pairs: usize,
    /// Rows of each run of that comparison.
    #[arg(long, default_value_t = 60_000)]
    pub(crate) copy_rows: u64,
    /// Which lanes: quiet, direct, consumer, single, batches.
    #[arg(long, value_delimiter = ',', default_values = ["quiet", "direct", "consumer", "single", "batches"])]
    pub(crate) lanes: Vec<crate::lanes::Lane>,
    /// Inserts per second that the database sustains; measured first unless it is given.
    #[arg(long)]
    pub(crate) sustainable: Option<f64>,
    /// How many times that rate the burst is.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) times: f64,
    /// How long the burst lasts, in seconds.
    #[arg(long, default_value_t = 10.0)]
    burst: f64,
    /// How long it is steady after the burst, in seconds.
    #[arg(long, default_value_t = 8.0)]
    steady: f64,
    /// How long the shower of poison lasts after that, in seconds.
    #[arg(long, default_value_t = 3.0)]
    shower: f64,
    /// How long each lane is looked at, from the beginning of the burst, in seconds.
    #[arg(long, default_value_t = 30.0)]
    window: f64,
    /// Rows of a batch.
    #[arg(long, default_value_t = 500)]
    pub(crate) batch: usize,
    /// Handlers at once of Forebay per message.
    #[arg(long, default_value_t = 1)]
    pub(crate) single_at_once: u32,
    /// Batches at once of Forebay in batches.
    #[arg(long, default_value_t = 1)]
    pub(crate) batches_at_once: u32,
    /// The bystander's transactions per second.
    #[arg(long, default_value_t = 50)]
    pub(crate) bystander_rate: u32,
    /// The scale of its tables, in pgbench's terms.
    #[arg(long, default_value_t = 10)]
    pub(crate) bystander_scale: u32,
    /// The seed of the arrivals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for the results: CSV, JSON and SVG. Without it they are only printed.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// A short look: one round of some seconds, three pairs. The figures mean little.
    #[arg(long)]
    quick: bool,
}

impl Flags {
    /// With what `--quick` changes.
    pub(crate) fn settled(mut self) -> Self {
        if self.quick {
            (self.rounds, self.full, self.pairs) = (1, 0, 3);
            (self.burst, self.steady, self.shower, self.window) = (2.0, 2.0, 1.0, 8.0);
            self.copy_rows = 20_000;
        }
        self
    }

    pub(crate) fn url(&self) -> String {
        self.url
            .clone()
            .or_else(|| env::var("FOREBAY_TEST_POSTGRES").ok())
            .unwrap_or_else(|| "postgres://postgres@127.0.0.1:25432/forebay".to_owned())
    }

    pub(crate) fn stretches(&self) -> [Duration; 3] {
        [self.burst, self.steady, self.shower].map(Duration::from_secs_f64)
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.window)
    }
}
