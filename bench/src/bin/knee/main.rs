//! Does an adaptive limit find PostgreSQL's knee, and what does it do when the database is in trouble?
//!
//! `cargo run --release -p forebay-bench --features knee --bin knee -- troubles --svg docs/knee`
//! `cargo run --release -p forebay-bench --features knee --bin knee -- steady`
//!
//! Each run has a server of its own, on this machine, and shares its processors with it: a quiet
//! machine is needed. docs/knee.md has the figures.

mod plot;
mod steady;

use clap::{Args, Parser, Subcommand};
use forebay_bench::{
    knee::{
        Fault,
        bed::Bed,
        run::{Plan, Ran, Span},
        trouble::{TROUBLES, Trouble},
    },
    progress,
    table::Table,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

#[derive(Parser)]
#[command(
    about = "Puts an adaptive limit before a PostgreSQL of its own, and the server into trouble"
)]
struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Messages arrive at a steady rate, and in the middle the database is locked, slowed, starved or
    /// stopped: when does the limit fall, the breaker open, and when is all as before?
    Troubles(Troubles),
    /// With an endless backlog: the adaptive limit beside fixed ones, in turn.
    Steady(steady::Steady),
}

#[derive(Args)]
struct Troubles {
    /// Messages per second.
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
    /// Seconds before the trouble.
    #[arg(long, default_value_t = 8)]
    calm: u64,
    /// Seconds of trouble.
    #[arg(long, default_value_t = 8)]
    lasts: u64,
    /// Seconds after.
    #[arg(long, default_value_t = 10)]
    after: u64,
    /// How often each is run.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The folder into which the first run of each is drawn.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    match Flags::parse().what {
        What::Troubles(flags) => flags.run().await,
        What::Steady(flags) => flags.run().await,
    }
}

impl Troubles {
    async fn run(&self) -> Result<(), Fault> {
        let mut table = Table::new(&[
            "trouble",
            "limit before, least",
            "fell after, s",
            "breaker opened after, s",
            "recovered after, s",
            "sent",
            "lost",
            "doubled",
        ]);
        for trouble in TROUBLES {
            let mut runs = vec![];
            for number in 1..=self.runs {
                progress::show(&format!("{trouble}, run {number} of {}", self.runs));
                let ran = self.once(trouble).await?;
                if let (Some(folder), 1) = (&self.svg, number) {
                    std::fs::create_dir_all(folder)?;
                    let file = folder.join(format!("{trouble:?}.svg").to_lowercase());
                    std::fs::write(file, plot::draw(trouble, self.rate, &ran.timeline)?)?;
                }
                runs.push(ran);
            }
            let sum = |of: fn(&Ran) -> i64| runs.iter().map(of).sum::<i64>().to_string();
            let span = |of: &dyn Fn(&Ran) -> Option<f64>| spread(&runs, of);
            table.row([
                trouble.to_string(),
                format!(
                    "{}, {}",
                    span(&|ran| Some(ran.times.before)),
                    span(&|ran| Some(f64::from(ran.times.least)))
                ),
                span(&|ran| ran.times.fell),
                span(&|ran| ran.times.opened),
                span(&|ran| ran.times.recovered),
                sum(|ran| ran.sent.cast_signed()),
                sum(Ran::lost),
                sum(Ran::doubled),
            ]);
        }
        progress::clear();
        table.print()?;
        Ok(())
    }

    async fn once(&self, trouble: Trouble) -> Result<Ran, Fault> {
        let bed = Arc::new(Bed::start(&[]).await?);
        let exactly = |seconds| {
            let least = Duration::from_secs(seconds);
            Span { least, most: least }
        };
        let plan = Plan {
            trouble,
            rate: self.rate,
            calm: Duration::from_secs(self.calm),
            lasts: exactly(self.lasts),
            after: exactly(self.after),
            rest: Duration::from_secs(120),
        };
        plan.run(&bed).await
    }
}

/// From the least to the most of the runs; and how many had none, if some had.
fn spread(runs: &[Ran], of: &dyn Fn(&Ran) -> Option<f64>) -> String {
    let seen: Vec<f64> = runs.iter().filter_map(of).collect();
    let least = seen.iter().copied().fold(f64::MAX, f64::min);
    let most = seen.iter().copied().fold(f64::MIN, f64::max);
    match (seen.len(), runs.len() - seen.len()) {
        (0, _) => "never".to_owned(),
        (_, 0) => format!("{least:.1} to {most:.1}"),
        (_, never) => format!("{least:.1} to {most:.1}, never in {never}"),
    }
}
