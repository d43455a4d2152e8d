//! How many instructions a message costs in either loop, all threads together: a figure that no other
//! load on the machine disturbs.

use crate::{Flags, Lane};
use clap::ValueEnum;
use forebay_bench::{
    callgrind::{self, CallgrindError},
    progress,
    table::Table,
};
use std::{env, error::Error};

pub(crate) fn measure(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let columns = ["backlog", "batch", "bare SQL, instructions", "Forebay, instructions", "ratio"];
    let mut table = Table::new(&columns);
    for &backlog in &flags.backlog {
        for &batch in &flags.batch {
            progress::show(&format!("backlog {backlog}, batch {batch}"));
            let [bare, ours] =
                [Lane::Bare, Lane::Forebay].map(|lane| each(lane, backlog, batch, flags.rounds));
            let (bare, ours) = (bare?, ours?);
            let ratio = format!("{:.2}", bare as f64 / ours as f64);
            table.row([backlog, batch].map(|n| n.to_string()).into_iter().chain([
                bare.to_string(),
                ours.to_string(),
                ratio,
            ]));
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}

/// The instructions of one message: those of `rounds` less those of a third of them, so that opening
/// and filling the queue do not count.
fn each(lane: Lane, backlog: usize, batch: usize, rounds: usize) -> Result<u64, CallgrindError> {
    let value = lane.to_possible_value();
    let name = value.map(|value| value.get_name().to_owned()).unwrap_or_default();
    let run = |rounds: usize| {
        let profile = env::temp_dir().join(format!("callgrind.embedded.{name}.{batch}.{rounds}"));
        let numbers = [("--backlog", backlog), ("--batch", batch), ("--rounds", rounds)];
        let numbers = numbers.into_iter().flat_map(|(flag, n)| [flag.to_owned(), n.to_string()]);
        let args: Vec<_> =
            ["--alone".to_owned(), name.clone()].into_iter().chain(numbers).collect();
        callgrind::instructions_of_self(&args, &profile)
    };
    let few = rounds / 3;
    let (short, long) = (run(few)?, run(rounds)?);
    let messages = (batch * (rounds - few)).max(1) as u64;
    Ok(long.saturating_sub(short) / messages)
}
