//! `forebay send`: puts messages into a queue, and says how many are confirmed, whatever happens.

mod input;
mod sending;

use super::queue::QueueArgs;
use crate::{
    config::duration,
    error::CliError,
    json_path::JsonPath,
    output,
    pace::{self, Pace},
    terminal,
};
use clap::Args;
use forebay::{Headers, policy::TokenBucket};
use input::Shape;
use sending::Sending;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const EXAMPLES: &str = "\
Examples:
  forebay send --config orders.toml '{\"id\": 1}' '{\"id\": 2}'
  forebay send --config orders.toml --file orders.jsonl --key-path '$.customer.id'
  tail -f events.jsonl | forebay send --path orders.db --queue orders -
  forebay send --config orders.toml --raw --delay 10m 'not before in ten minutes'
  forebay send --config orders.toml --file load.jsonl --rate 50

A file or standard input is read line by line, a message each; empty lines are passed over.
What has been reported as sent is on disk, or wherever the broker keeps it.";

/// Puts messages into a queue.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    #[command(flatten)]
    queue: QueueArgs,

    /// The messages; a single `-` reads standard input
    #[arg(value_name = "PAYLOAD", required_unless_present = "file", conflicts_with = "file")]
    #[arg(allow_negative_numbers = true)]
    payloads: Vec<String>,

    /// Read the messages from a file, one per line; `-` is standard input
    #[arg(short, long, value_name = "FILE", help_heading = "Messages")]
    file: Option<PathBuf>,

    /// Take the text as it is: it need not be JSON
    #[arg(long, conflicts_with_all = ["key_path", "id_path"], help_heading = "Messages")]
    raw: bool,

    /// Pass over lines that cannot be sent, rather than stop at the first
    #[arg(long, help_heading = "Messages")]
    skip_invalid: bool,

    /// The key of every message: those with one key are handled in order
    #[arg(short, long, value_name = "KEY", help_heading = "Messages")]
    key: Option<String>,

    /// Where in each message its key is, such as `$.customer.id`
    #[arg(long, value_name = "PATH", conflicts_with = "key", help_heading = "Messages")]
    key_path: Option<JsonPath>,

    /// Where in each message its identity is, such as `$.id`; else the broker gives one
    #[arg(long, value_name = "PATH", help_heading = "Messages")]
    id_path: Option<JsonPath>,

    /// A header of every message; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    #[arg(help_heading = "Messages")]
    headers: Vec<(String, String)>,

    /// Not to be handed out before this has passed, such as `10m`
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Messages")]
    delay: Option<Duration>,

    /// Messages per second, at most
    #[arg(long, value_name = "N", value_parser = pace::rate)]
    rate: Option<TokenBucket>,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no header: write NAME=VALUE")),
    }
}

impl Send {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let file = match &*self.payloads {
            [dash] if dash == "-" => Some(Path::new("-")),
            _ => self.file.as_deref(),
        };
        let (mut lines, unit) = match file {
            Some(path) => {
                let lines = input::file(path, self.raw).map_err(|error| {
                    CliError::Usage(format!("{} cannot be read: {error}", path.display()))
                })?;
                (lines, "line")
            }
            None => (input::arguments(self.payloads.clone()), "argument"),
        };
        let queue = self.queue.create().await?;
        let pace = self.rate.as_ref().map(Pace::new);
        let mut sending = Sending::new(queue, unit, self.shape(), pace, self.skip_invalid);
        let ended = tokio::select! {
            ended = sending.send_all(&mut lines) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        };
        terminal::show(None);
        ended.unwrap_or_else(|| Err(sending.stopped(" by a signal", "interrupted")))?;
        output::line(sending.report())
    }

    fn shape(&self) -> Shape {
        let headers: Headers =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Shape {
            raw: self.raw,
            key: self.key.clone(),
            key_path: self.key_path.clone(),
            id_path: self.id_path.clone(),
            headers,
            delay: self.delay,
        }
    }
}
