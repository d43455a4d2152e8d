//! `forebay dead redrive`: back into the queue, with a guard against going round in circles.
//!
//! Only what had died before the command began is moved: a letter that dies again at once is not
//! moved again by the same command.

use super::{failed, filter::FilterArgs};
use crate::{
    cli::queue::QueueArgs,
    error::CliError,
    output::{self, attempts, one_line},
    pace::{self, Pace},
    source::Queue,
    terminal,
};
use clap::Args;
use forebay::{DeadFilter, DeadLetter, DeadLetters, policy::TokenBucket};
use serde_json::json;
use std::time::SystemTime;

/// How many are moved together, at most.
const CHUNK: usize = 100;

/// In how many pages of what is left it counts those that the guard held back.
const LOOKED_AT: usize = 10;

const EXAMPLES: &str = "\
Examples:
  forebay dead redrive --config orders.toml 17 18
  forebay dead redrive --config orders.toml --error 'connection refused' --dry-run
  forebay dead redrive --config orders.toml --all --rate 20 >> redriven.log

Each letter that is moved is one line on standard output. Its attempts begin
again, its history stays.
A letter that has been redriven --max-redrives times is left where it is: look at it first.";

/// Moves dead letters back into their queue, oldest death first.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Redrive {
    #[command(flatten)]
    queue: QueueArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// All that there are
    #[arg(long)]
    all: bool,

    /// Letters per second, at most
    #[arg(long, value_name = "N", value_parser = pace::rate)]
    rate: Option<TokenBucket>,

    /// Leave alone what has been redriven this often already
    #[arg(long, value_name = "N", default_value_t = 3)]
    max_redrives: u32,

    /// Only say what would be moved
    #[arg(long)]
    dry_run: bool,

    /// The lines as JSON
    #[arg(long)]
    json: bool,
}

impl Redrive {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        self.filter.must_narrow(self.all, "redrive")?;
        let queue = self.queue.open().await?;
        let mut filter = self.filter.filter(SystemTime::now());
        filter.died_before.get_or_insert_with(SystemTime::now);
        let guarded = DeadFilter { redriven_less_than: Some(self.max_redrives), ..filter.clone() };
        let (moved, ended) = if self.dry_run {
            self.preview(&queue, &guarded).await
        } else {
            self.redrive(&queue, &guarded).await
        };
        let verb = if self.dry_run { "would redrive" } else { "redrove" };
        terminal::error_line(&format!("{verb} {moved}"));
        ended?;
        self.tell_of_the_rest(&queue, &filter).await
    }

    /// Moves them, and says how many, also when it ended early.
    async fn redrive(&self, queue: &Queue, filter: &DeadFilter) -> (usize, Result<(), CliError>) {
        let mut pace = self.rate.as_ref().map(Pace::new);
        let mut total = 0;
        loop {
            let limit = match &mut pace {
                Some(pace) => pace.turns(CHUNK).await,
                None => CHUNK,
            };
            let moved = match queue.redrive(filter, limit).await {
                Ok(redriven) => redriven.moved,
                Err(error) => return (total, Err(failed(error))),
            };
            total += moved.len();
            if let Err(error) = moved.iter().try_for_each(|letter| self.audit("redrove", letter)) {
                return (total, Err(error));
            }
            if moved.len() < limit {
                return (total, Ok(()));
            }
        }
    }

    async fn preview(&self, queue: &Queue, filter: &DeadFilter) -> (usize, Result<(), CliError>) {
        let (mut total, mut after) = (0, None);
        loop {
            let page = match queue.list(filter, after.as_ref(), CHUNK).await {
                Ok(page) => page,
                Err(error) => return (total, Err(failed(error))),
            };
            total += page.len();
            let told = page.iter().try_for_each(|letter| self.audit("would redrive", letter));
            if told.is_err() || page.len() < CHUNK {
                return (total, told);
            }
            after = page.last().map(|letter| letter.id.clone());
        }
    }

    /// The line that says what was moved.
    fn audit(&self, verb: &str, letter: &DeadLetter) -> Result<(), CliError> {
        let error = letter.last_failure().map_or("", |note| note.error.as_str());
        let (dead, message) = (&letter.id, &letter.message.id);
        let (queue, reason) = (&letter.origin.queue, letter.reason);
        let attempts = attempts(letter);
        if self.json {
            let line = json!({
                "action": verb, "dead_id": dead.to_string(), "message_id": message.to_string(),
                "queue": queue, "reason": reason, "attempts": attempts, "error": error,
                "at": output::timestamp(SystemTime::now()),
            });
            return output::line(line.to_string());
        }
        output::line(format!(
            "{verb} dead={dead} message={} queue={queue} reason={reason} attempts={attempts} \
             error={:?}",
            one_line(&message.to_string()),
            error,
        ))
    }

    /// What the guard held back, so that nobody wonders why it is still there.
    async fn tell_of_the_rest(&self, queue: &Queue, filter: &DeadFilter) -> Result<(), CliError> {
        let (mut held, mut after) = (0, None);
        for _ in 0..LOOKED_AT {
            let page = queue.list(filter, after.as_ref(), CHUNK).await.map_err(failed)?;
            held += page.iter().filter(|it| it.message.redrives >= self.max_redrives).count();
            after = page.last().map(|letter| letter.id.clone());
            if page.len() < CHUNK {
                break;
            }
        }
        if held > 0 {
            terminal::error_line(&format!(
                "left at least {held} that came back {} times or more: look at them with `forebay \
                 dead show`, or raise --max-redrives",
                self.max_redrives
            ));
        }
        Ok(())
    }
}
