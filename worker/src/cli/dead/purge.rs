//! `forebay dead purge`: deletes for good, and asks first.

use super::{failed, filter::FilterArgs};
use crate::{brokers::Queue, cli::queue::QueueArgs, error::CliError, output, terminal};
use clap::Args;
use forebay::{DeadFilter, DeadLetters};
use std::{
    io::{self, IsTerminal},
    time::SystemTime,
};

/// How many are counted before it says "more than".
const COUNTED: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  forebay dead purge --config orders.toml 17
  forebay dead purge --config orders.toml --older-than 30days --yes
  forebay dead purge --config orders.toml --all";

/// Deletes dead letters for good.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Purge {
    #[command(flatten)]
    queue: QueueArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// All that there are
    #[arg(long)]
    all: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Purge {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        self.filter.must_narrow(self.all, "purge")?;
        let queue = self.queue.open().await?;
        let mut filter = self.filter.filter(SystemTime::now())?;
        // What dies while somebody makes up their mind is not what they were asked about.
        filter.died_before.get_or_insert_with(SystemTime::now);
        if !self.yes && !ask(&queue, &filter).await? {
            return Ok(());
        }
        let purged = queue.purge(&filter).await.map_err(failed)?;
        output::line(format!("purged {purged}"))
    }
}

async fn ask(queue: &Queue, filter: &DeadFilter) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "there is nobody to ask on standard input: say --yes".to_owned(),
        ));
    }
    let count = queue.list(filter, None, COUNTED).await.map_err(failed)?.len();
    if count == 0 {
        terminal::error_line("no dead letters match");
        return Ok(false);
    }
    let many = if count == COUNTED { " or more" } else { "" };
    let question =
        format!("delete {count}{many} dead letters of {} for good? [y/N] ", queue.name());
    terminal::write_above(question.as_bytes());
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| CliError::failed("cannot ask", error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
