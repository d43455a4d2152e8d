//! What a burst does to PostgreSQL, straight from its clients and through a queue: four ways, the same
//! open-loop arrivals, and an unrelated client on the same database all along.
//!
//! `cargo run --release -p forebay-bench --features smoothing --bin smoothing -- --help`
//!
//! ```text
//!   plan (due times) -> generator -> lane: (a) direct (b) consumer (c) single (d) batches, quiet
//!                                      |                                  pgbench, at a fixed rate
//!                                      v                                           |
//!                                   record ---> run <--- rows in the database <----+
//!                                                |
//!                              summary, targets -+-> tables, CSV, JSON, SVG
//! ```
//!
//! Rounds interleave the lanes, so that a machine that drifts does so for all of them. Clients,
//! generator, workers and server share the machine: the quiet lane says what the generator costs.

mod bystander;
mod calibrate;
mod copy;
mod database;
mod files;
mod flags;
mod lanes;
mod machine;
mod plan;
mod plot;
mod record;
mod run;
mod summary;
mod tables;

use clap::Parser;
use database::Database;
use files::Results;
use flags::Flags;
use forebay_bench::progress;
use lanes::Setup;
use plan::Plan;
use run::Rehearsed;
use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
};

type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    let flags = Flags::parse().settled();
    let database = Database::make(&flags.url()).await?;
    let measured = tokio::select! {
        measured = measure(&flags, &database) => measured,
        _ = tokio::signal::ctrl_c() => Err("called off; the database is taken away".into()),
    };
    let removed = database.remove().await;
    progress::clear();
    measured.and(removed)
}

async fn measure(flags: &Flags, database: &Database) -> Result<(), Fault> {
    progress::show("making the bystander's tables");
    bystander::prepare(&database.url, flags.bystander_scale)?;
    let setup = Setup {
        single_at_once: flags.single_at_once,
        batches_at_once: flags.batches_at_once,
        batch: flags.batch,
    };
    let curve = match flags.sustainable {
        None if flags.rounds > 0 => {
            progress::show("what does the database sustain?");
            calibrate::curve(database).await?
        }
        _ => Vec::new(),
    };
    let sustainable = flags.sustainable.unwrap_or_else(|| calibrate::sustainable(&curve));
    let plan = Arc::new(Plan::new(sustainable, flags.times, flags.stretches(), flags.seed));
    let mut results = Results {
        server: files::server(database).await?,
        setup,
        plan: plan.clone(),
        sustainable,
        curve,
        runs: Vec::new(),
        pairs: Vec::new(),
    };
    for number in 1..=flags.pairs {
        progress::show(&format!("beside a bare COPY loop: pair {number} of {}", flags.pairs));
        let pair = copy::pair(database, setup, flags.copy_rows, number).await?;
        results.pairs.push(pair);
    }
    let (window, bystander_rate) = (flags.window(), flags.bystander_rate);
    let rehearsed = Rehearsed { database, plan, setup, window, bystander_rate };
    rounds(flags, &rehearsed, &mut results).await?;
    progress::clear();
    let mut stdout = io::stdout().lock();
    for (title, table) in tables::all(&results) {
        writeln!(stdout, "{title}\n\n{table}")?;
    }
    if results.summaries().iter().any(|summary| summary.others.median > machine::CROWDED) {
        writeln!(
            stdout,
            "The machine was not quiet: others used it just before the runs. The bystander's ratios say \
             little then.\n"
        )?;
    }
    if let Some(folder) = &flags.out {
        results.write(folder)?;
        writeln!(stdout, "Results and plots are in {}.", folder.display())?;
    }
    Ok(())
}

/// Each lane in turn, round by round; every other round in the reverse order.
async fn rounds(
    flags: &Flags,
    rehearsed: &Rehearsed<'_>,
    results: &mut Results,
) -> Result<(), Fault> {
    for round in 1..=flags.rounds {
        let mut lanes = flags.lanes.clone();
        if round % 2 == 0 {
            lanes.reverse();
        }
        for lane in lanes {
            progress::show(&format!("round {round} of {}: {}", flags.rounds, lane.title()));
            let run = rehearsed.run(lane, round, round <= flags.full).await?;
            // Said also where nobody watches: a measurement of half an hour is worth following.
            progress::clear();
            writeln!(io::stderr(), "{}", files::line(&run))?;
            results.runs.push(run);
        }
        // What is measured is kept, should the rest fail or be called off.
        if let Some(folder) = &flags.out {
            results.write(folder)?;
        }
    }
    Ok(())
}
