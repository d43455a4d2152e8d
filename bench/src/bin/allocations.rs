//! How often a message makes the program allocate.
//!
//! `cargo run --release -p forebay-bench --bin allocations`
//!
//! As with instructions, a short run is subtracted from a long one, so that the start does not count.
//! `tests/gates.rs` holds Forebay to its target.

use clap::Parser;
use forebay_bench::{
    allocations::{COUNTING, Counting},
    flavor::Flavor,
    loops::Loop,
    progress,
    table::Table,
};
use std::error::Error;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

#[derive(Parser)]
#[command(about = "Counts the allocations that a message costs")]
struct Flags {
    /// Messages in the longer run.
    #[arg(long, default_value_t = 500_000)]
    messages: u64,
    /// Messages in the shorter run, whose allocations are subtracted.
    #[arg(long, default_value_t = 200_000)]
    base: u64,
    /// The runtime.
    #[arg(long, value_enum, default_value = "still")]
    flavor: Flavor,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let mut table = Table::new(&["loop", "runtime", "allocations a message"]);
    for each in Loop::ALL {
        progress::show(&each.to_string());
        let count = each.allocations(flags.flavor, flags.base, flags.messages)?;
        table.row([each.to_string(), flags.flavor.to_string(), format!("{count:.3}")]);
    }
    progress::clear();
    table.print()?;
    Ok(())
}
