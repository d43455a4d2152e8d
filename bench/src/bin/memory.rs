//! Whether memory is flat, however many messages a worker handles.
//!
//! `cargo run --release -p forebay-bench --bin memory`
//!
//! Reads the resident set from `/proc`, so it is for Linux.

use clap::Parser;
use forebay_bench::{flavor::Flavor, loops::Loop, progress, table::Table};
use std::{
    error::Error,
    fs, io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

#[derive(Parser)]
#[command(about = "Samples the resident memory of a worker over a long run")]
struct Flags {
    /// Messages in all.
    #[arg(long, default_value_t = 10_000_000)]
    messages: u64,
    /// The loop.
    #[arg(long, value_enum, default_value = "forebay")]
    only: Loop,
    /// The runtime.
    #[arg(long, value_enum, default_value = "mt2")]
    flavor: Flavor,
    /// Samples per second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let (over_tx, over) = mpsc::channel();
    let (flavor, each, messages) = (flags.flavor, flags.only, flags.messages);
    let begun = Instant::now();
    let run = thread::spawn(move || {
        let outcome = flavor.run(async move { each.run(messages).await });
        // The main thread waits for it.
        let _ = over_tx.send(());
        outcome
    });
    let mut samples = Vec::new();
    let interval = Duration::from_secs(1) / flags.rate.max(1);
    while over.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        samples.push((begun.elapsed(), resident()?));
        progress::show(&format!("{each}: {:.1} s", begun.elapsed().as_secs_f64()));
    }
    progress::clear();
    run.join().map_err(|_| "the worker panicked")??;
    table(&samples, messages).print()?;
    Ok(())
}

/// Ten samples, evenly over the run, and the largest of all.
fn table(samples: &[(Duration, u64)], messages: u64) -> Table {
    let mut table = Table::new(&["of the run", "resident KiB"]);
    let last = samples.len().saturating_sub(1);
    for tenth in 1..=10 {
        if let Some((_, kib)) = samples.get(last * tenth / 10) {
            table.row([format!("{tenth}0 % of {messages}"), kib.to_string()]);
        }
    }
    let most = samples.iter().map(|(_, kib)| *kib).max().unwrap_or_default();
    table.row(["most".to_owned(), most.to_string()]);
    table
}

/// The process's resident set, in KiB.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no line `VmRSS:`"))
}
