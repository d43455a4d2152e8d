//! How near the embedded queue comes to a bare loop of SQL that does the same: enqueue, lease and
//! acknowledge, in the same batches, with the same syncs; and whether its cost grows with the
//! backlog.
//!
//! `cargo run --release -p forebay-bench --bin embedded [-- --backlog 1000 --backlog 10000000]`
//!
//! With `--instructions` it counts those, by callgrind, in place of time. With `--alone` it runs one
//! of the loops, for `perf stat` and `strace -c` to look at.
//!
//! The bare loop has neither keys nor retries, neither counters nor a thread of its own. Its tables
//! are in `sql.rs` beside this file.

mod instructions;
mod sql;

use clap::{Parser, ValueEnum};
use forebay::{Outgoing, Settlement, Sink, Source, Verdict, Want};
use forebay_bench::{median::median, progress, table::Table};
use forebay_embedded::{SourceOptions, Store};
use std::{error::Error, path::Path, time::Instant};

/// The payload of every message.
const PAYLOAD: [u8; 200] = [7; 200];

#[derive(Parser)]
#[command(about = "Measures the embedded queue beside a bare loop of SQL")]
struct Flags {
    /// Rounds of enqueue, lease and acknowledge in each run.
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// Messages in a round.
    #[arg(long, default_values_t = [1, 10, 100])]
    batch: Vec<usize>,
    /// Messages that are in the queue before and after.
    #[arg(long, default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    backlog: Vec<usize>,
    /// How often each case is run.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Count instructions in place of time; needs valgrind.
    #[arg(long)]
    instructions: bool,
    /// Just run this loop once for each case.
    #[arg(long)]
    alone: Option<Lane>,
}

/// One of the two loops.
#[derive(Clone, Copy, ValueEnum)]
enum Lane {
    Bare,
    Forebay,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    if flags.instructions {
        return instructions::measure(&flags);
    }
    match flags.alone {
        Some(lane) => alone(lane, &flags).await,
        None => pairs(&flags).await,
    }
}

async fn alone(lane: Lane, flags: &Flags) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    for &backlog in &flags.backlog {
        let file = directory.path().join(backlog.to_string());
        match lane {
            Lane::Bare => {
                let bare = sql::Bare::open(&file, backlog)?;
                for &batch in &flags.batch {
                    bare.run(batch, flags.rounds)?;
                }
            }
            Lane::Forebay => {
                let ours = Ours::open(&file, backlog).await?;
                for &batch in &flags.batch {
                    ours.run(batch, flags.rounds).await?;
                }
            }
        }
    }
    Ok(())
}

async fn pairs(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let columns = ["backlog", "batch", "bare SQL, messages/s", "Forebay, messages/s", "ratio"];
    let mut table = Table::new(&columns);
    for &backlog in &flags.backlog {
        // One file each for all runs at this backlog, since each run leaves it as it was.
        let bare = sql::Bare::open(&directory.path().join(format!("bare-{backlog}")), backlog)?;
        let ours = Ours::open(&directory.path().join(format!("ours-{backlog}")), backlog).await?;
        for &batch in &flags.batch {
            let mut runs = [Vec::new(), Vec::new()];
            for pair in 0..flags.pairs {
                progress::show(&format!("backlog {backlog}, batch {batch}, pair {}", pair + 1));
                runs[0].push(bare.run(batch, flags.rounds)?);
                runs[1].push(ours.run(batch, flags.rounds).await?);
            }
            let ratios = runs[1].iter().zip(&runs[0]).map(|(ours, bare)| ours / bare).collect();
            let [bare, ours] = runs.map(|runs| median(runs).unwrap_or(f64::NAN));
            let cells = [bare, ours].map(|rate| format!("{rate:.0}"));
            let ratio = format!("{:.2}", median(ratios).unwrap_or(f64::NAN));
            let head = [backlog.to_string(), batch.to_string()];
            table.row(head.into_iter().chain(cells).chain([ratio]));
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}

/// The embedded queue, with a backlog in it.
struct Ours {
    queue: forebay_embedded::Queue,
    source: forebay_embedded::EmbeddedSource,
}

impl Ours {
    async fn open(path: &Path, backlog: usize) -> Result<Self, Box<dyn Error>> {
        let queue = Store::open(path)?.queue("q").await?;
        let many = vec![Outgoing::new(PAYLOAD.to_vec()); backlog.min(10_000)];
        for done in (0..backlog).step_by(10_000) {
            progress::show(&format!("backlog of {backlog}: {done}"));
            publish(&queue, &many[..many.len().min(backlog - done)]).await?;
        }
        let source = queue.source(&SourceOptions::default());
        Ok(Self { queue, source })
    }

    /// Messages per second.
    async fn run(&self, batch: usize, rounds: usize) -> Result<f64, Box<dyn Error>> {
        let messages = vec![Outgoing::new(PAYLOAD.to_vec()); batch];
        let mut out = Vec::new();
        let start = Instant::now();
        for _ in 0..rounds {
            publish(&self.queue, &messages).await?;
            while out.len() < batch {
                let want = Want { messages: batch - out.len(), bytes: usize::MAX };
                self.source.receive(want, &mut out).await?;
            }
            let acks = out.drain(..).map(|delivery| Settlement {
                receipt: delivery.receipt,
                message: delivery.message,
                verdict: Verdict::Ack,
            });
            for settled in self.source.settle(&acks.collect::<Vec<_>>()).await {
                settled?;
            }
        }
        Ok((batch * rounds) as f64 / start.elapsed().as_secs_f64())
    }
}

async fn publish(
    queue: &forebay_embedded::Queue,
    batch: &[Outgoing],
) -> Result<(), forebay::PublishError> {
    queue.publish(batch).await.into_iter().try_for_each(|result| result.map(drop))
}
