//! How many instructions a message costs, by callgrind: a figure that no other load on the machine
//! disturbs. Ends with 1 when Forebay is above its target.
//!
//! `cargo run --release -p forebay-bench --bin instructions`

use clap::Parser;
use forebay_bench::{
    callgrind::{self, CallgrindError},
    flavor::Flavor,
    loops::Loop,
    progress,
    table::Table,
};
use std::{error::Error, path::PathBuf, process::ExitCode};

/// The most that a message may cost: raw bytes, without order, 64 at once.
const TARGET: u64 = 2000;

#[derive(Parser)]
#[command(about = "Counts the instructions that a message costs, under callgrind")]
struct Flags {
    /// Messages in the longer run of each loop.
    #[arg(long, default_value_t = 300_000)]
    messages: u64,
    /// Messages in the shorter run, whose instructions are subtracted: enough for each of the
    /// 100,000 keys to come twice.
    #[arg(long, default_value_t = 200_000)]
    base: u64,
    /// Only these loops.
    #[arg(long, value_enum)]
    only: Vec<Loop>,
    /// Where to leave the profiles, for callgrind_annotate.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    profiles: PathBuf,
    /// Just run this loop once, as callgrind is to see it.
    #[arg(long, value_enum)]
    alone: Option<Loop>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let flags = Flags::parse();
    if let Some(alone) = flags.alone {
        let messages = flags.messages;
        Flavor::Still.run(async move { alone.run(messages).await })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["loop", "instructions a message"]);
    let mut exit = ExitCode::SUCCESS;
    for each in Loop::ALL {
        if !flags.only.is_empty() && !flags.only.contains(&each) {
            continue;
        }
        progress::show(&format!("{each}"));
        let count = measure(each, &flags)?;
        table.row([each.to_string(), count.to_string()]);
        if each == Loop::Forebay && count > TARGET {
            exit = ExitCode::FAILURE;
        }
    }
    progress::clear();
    table.print()?;
    Ok(exit)
}

fn measure(each: Loop, flags: &Flags) -> Result<u64, CallgrindError> {
    let run = |messages: u64| {
        let value = clap::ValueEnum::to_possible_value(&each);
        let name = value.map(|value| value.get_name().to_owned()).unwrap_or_default();
        let profile = flags.profiles.join(format!("callgrind.{name}.{messages}"));
        let args = ["--alone".into(), name, "--messages".into(), messages.to_string()];
        callgrind::instructions_of_self(&args, &profile)
    };
    let (short, long) = (run(flags.base)?, run(flags.messages)?);
    Ok(long.saturating_sub(short) / flags.messages.saturating_sub(flags.base).max(1))
}
