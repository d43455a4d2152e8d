//! `forebay dead redrive`: back into the queue, with a guard against going round in circles.
//!
//! Only what had died before the command began is moved: a letter that dies again at once is not
//! moved again by the same command.

use super::{failed, filter::FilterArgs};
use crate::{
    brokers::Queue,
    cli::queue::QueueArgs,
    error::CliError,
    logging,
    output::{self, attempts, one_line},
    pace::{self, Pace},
    terminal,
};
use clap::Args;
use forebay::{DeadFilter, DeadLetter, DeadLetters, policy::TokenBucket};
use serde_json::json;
use std::{
    io::{self, IsTerminal},
    time::SystemTime,
};

/// How many are moved together, at most.
const CHUNK: usize = 100;

/// How many of those that are left it looks at, to count what the guard held back.
const LOOKED_AT: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  forebay dead redrive --config orders.toml 17 18
  forebay dead redrive --config orders.toml --error 'connection refused' --dry-run
  forebay dead redrive --config orders.toml --filter reason=too_old --filter older-than=1h
  forebay dead redrive --config orders.toml --all --rate 20 >> redriven.log

Each letter that is moved is one line on standard output, and one event in the log on standard error
(unless that is a terminal). Its attempts begin again, its history stays.
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
        let mut filter = self.filter.filter(SystemTime::now())?;
        if !io::stderr().is_terminal() {
            logging::start(&self.queue.log()?)?;
        }
        let queue = self.queue.open().await?;
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
            let (moved, stopped) = match queue.redrive(filter, limit).await {
                Ok(redriven) => (redriven.moved, redriven.stopped),
                Err(error) => return (total, Err(failed(error))),
            };
            total += moved.len();
            // First the log, all of it: standard output may be closed half-way.
            moved.iter().for_each(|letter| log(letter, queue.name()));
            let told =
                moved.iter().try_for_each(|letter| self.audit("redrove", letter, queue.name()));
            if let Some(error) = stopped {
                return (total, Err(failed(error)));
            }
            if told.is_err() || moved.len() < limit {
                return (total, told);
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
            let told = page
                .iter()
                .try_for_each(|letter| self.audit("would redrive", letter, queue.name()));
            if told.is_err() || page.len() < CHUNK {
                return (total, told);
            }
            after = page.last().map(|letter| letter.id.clone());
        }
    }

    /// The line that says what was moved.
    fn audit(&self, verb: &str, letter: &DeadLetter, to: &str) -> Result<(), CliError> {
        let error = letter.last_failure().map_or("", |note| note.error.as_str());
        let (dead, message) = (&letter.id, &letter.message.id);
        let (from, reason) = (&letter.origin.queue, letter.reason);
        let (attempts, redrives) = (attempts(letter), redrives(letter));
        if self.json {
            let line = json!({
                "action": verb, "dead_id": dead.to_string(), "message_id": message.to_string(),
                "from": from, "to": to, "reason": reason, "redrives": redrives,
                "attempts": attempts, "error": error,
                "at": output::timestamp(SystemTime::now()),
            });
            return output::line(line.to_string());
        }
        output::line(format!(
            "{verb} dead={dead} message={} from={} to={} reason={reason} redrives={redrives} \
             attempts={attempts} error={error:?}",
            one_line(&message.to_string()),
            one_line(from),
            one_line(to),
        ))
    }

    /// What the guard held back, so that nobody wonders why it is still there.
    async fn tell_of_the_rest(&self, queue: &Queue, filter: &DeadFilter) -> Result<(), CliError> {
        let (mut held, mut seen, mut after) = (0, 0, None);
        let all_seen = loop {
            let page = queue.list(filter, after.as_ref(), CHUNK).await.map_err(failed)?;
            held += page.iter().filter(|it| it.message.redrives >= self.max_redrives).count();
            seen += page.len();
            after = page.last().map(|letter| letter.id.clone());
            if page.len() < CHUNK {
                break true;
            }
            if seen >= LOOKED_AT {
                break false;
            }
        };
        if held > 0 {
            let least = if all_seen { "" } else { "at least " };
            terminal::error_line(&format!(
                "left {least}{held} that had been redriven {} times or more: look at them with \
                 `forebay dead show`, or raise --max-redrives",
                self.max_redrives
            ));
        }
        Ok(())
    }
}

/// How often a letter has been redriven, once it is back in its queue.
fn redrives(letter: &DeadLetter) -> u32 {
    letter.message.redrives.saturating_add(1)
}

/// What was moved, for the log.
fn log(letter: &DeadLetter, to: &str) {
    tracing::info!(
        dead_id = %letter.id,
        message_id = %letter.message.id,
        from = letter.origin.queue,
        to,
        reason = letter.reason.as_str(),
        redrives = redrives(letter),
        "redriven"
    );
}
