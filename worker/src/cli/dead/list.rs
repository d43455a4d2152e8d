//! `forebay dead list`: which dead letters there are, one line each.

use super::{failed, filter::FilterArgs};
use crate::{
    cli::queue::QueueArgs,
    error::CliError,
    output::{self, ago, attempts, one_line, text_of},
    terminal,
};
use clap::Args;
use forebay::{DeadLetter, DeadLetters};
use std::{
    io::{self, IsTerminal},
    time::SystemTime,
};

/// How many are asked for at a time.
const PAGE: usize = 500;

const EXAMPLES: &str = "\
Examples:
  forebay dead list --config orders.toml
  forebay dead list --config orders.toml --error timeout --older-than 1h
  forebay dead list --path orders.db --queue orders --json --limit 100000 | jq -r .message.id";

/// Lists dead letters, oldest death first.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    queue: QueueArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// How many, at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,

    /// One JSON object per line, with payload, headers and history
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let queue = self.queue.open().await?;
        let filter = self.filter.filter(SystemTime::now())?;
        let (mut rows, mut after) = (Vec::new(), None);
        let mut left = self.limit;
        while left > 0 {
            let asked = left.min(PAGE);
            let page = queue.list(&filter, after.as_ref(), asked).await.map_err(failed)?;
            left -= page.len();
            after = page.last().map(|letter| letter.id.clone());
            for letter in &page {
                if self.json {
                    output::line(output::dead_json(letter).to_string())?;
                } else {
                    rows.push(row(letter));
                }
            }
            if page.len() < asked {
                break;
            }
        }
        if self.json {
            return Ok(());
        }
        self.print(&rows, left == 0)
    }

    fn print(&self, rows: &[[String; 7]], full: bool) -> Result<(), CliError> {
        if rows.is_empty() {
            terminal::error_line("no dead letters match");
            return Ok(());
        }
        let heading = ["ID", "DIED", "REASON", "ATTEMPTS", "REDRIVES", "KEY", "ERROR"];
        let stdout = io::stdout();
        let width = if stdout.is_terminal() { terminal::width(&stdout) } else { None };
        output::table(heading, rows, width)?;
        if full {
            terminal::error_line(&format!(
                "{} shown, and there may be more: raise --limit",
                rows.len()
            ));
        }
        Ok(())
    }
}

fn row(letter: &DeadLetter) -> [String; 7] {
    let message = &letter.message;
    [
        letter.id.to_string(),
        format!("{} ago", ago(letter.died_at)),
        letter.reason.to_string(),
        attempts(letter).to_string(),
        message.redrives.to_string(),
        message.key.as_deref().map_or_else(|| "-".to_owned(), |key| one_line(&text_of(key))),
        letter.last_failure().map_or_else(|| "-".to_owned(), |note| one_line(&note.error)),
    ]
}
