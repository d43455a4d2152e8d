//! How long a message takes: Forebay with everything on, beside loops written by hand.
//!
//! `cargo run --release -p forebay-bench --bin runtime`
//!
//! A pair is one run of each loop, one directly after the other, so whatever else the machine does
//! meets all of them alike. What is told is the median of the pairs, and the median of the ratios
//! within each pair, which holds where the nanoseconds drift. How long memory takes drifts most, and by
//! itself, so it has a row of its own: with 100,000 keys live, a message waits for little else.

use clap::Parser;
use forebay_bench::{
    cost::{self, Cost},
    flavor::Flavor,
    loops::Loop,
    progress,
};
use std::error::Error;

#[derive(Parser)]
#[command(about = "Measures how long a message takes, in interleaved runs")]
struct Flags {
    /// Messages in each run.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How often each loop is run.
    #[arg(long, default_value_t = 15)]
    pairs: usize,
    /// Only these runtimes.
    #[arg(long, value_enum, default_values_t = Flavor::ALL)]
    flavor: Vec<Flavor>,
    /// Only these loops; the first is what the others are compared with.
    #[arg(long, value_enum, default_values_t = Loop::ALL.into_iter().chain([Loop::MemoryRead]))]
    only: Vec<Loop>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    for &flavor in &flags.flavor {
        let runs = measure(&flags, flavor)?;
        let names: Vec<_> = flags.only.iter().map(ToString::to_string).collect();
        cost::table(&names, flavor, &runs).print()?;
    }
    Ok(())
}

/// The costs of a message: for each loop, its run in each pair.
fn measure(flags: &Flags, flavor: Flavor) -> Result<Vec<Vec<Cost>>, Box<dyn Error>> {
    let mut runs = vec![Vec::new(); flags.only.len()];
    for pair in 0..flags.pairs {
        for (&each, runs) in flags.only.iter().zip(&mut runs) {
            progress::show(&format!("{flavor}, pair {} of {}: {each}", pair + 1, flags.pairs));
            let messages = flags.messages;
            runs.push(flavor.run(async move { each.run(messages).await })?);
        }
    }
    progress::clear();
    Ok(runs)
}
