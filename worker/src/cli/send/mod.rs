//! `forebay send`: puts messages into a queue, and says how many are confirmed, whatever happens.

mod input;

use super::queue::QueueArgs;
use crate::{
    config::duration,
    error::CliError,
    json_path::JsonPath,
    output,
    pace::{self, Pace},
    source::Queue,
    terminal,
};
use clap::Args;
use forebay::{BoxError, Headers, Outgoing, Sink, policy::TokenBucket};
use input::{Line, Shape};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Messages that are published together, at most.
const BATCH: usize = 500;
/// Bytes that are published together, about.
const BATCH_BYTES: usize = 4 << 20;
/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

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
        let now = Instant::now();
        let mut sending = Sending {
            queue,
            unit,
            shape: self.shape(),
            skip_invalid: self.skip_invalid,
            pace: self.rate.as_ref().map(Pace::new),
            sent: 0,
            skipped: 0,
            started: now,
            drawn: None,
        };
        let ended = tokio::select! {
            ended = sending.send_all(&mut lines) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        };
        terminal::show(None);
        ended.unwrap_or_else(|| Err(sending.stopped("by a signal", "interrupted")))?;
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

/// What cannot be sent, and why.
type Bad = (String, BoxError);

/// A run of `send` under way.
struct Sending {
    queue: Queue,
    /// What a message was on its way in: a line, an argument.
    unit: &'static str,
    shape: Shape,
    skip_invalid: bool,
    pace: Option<Pace>,
    sent: usize,
    skipped: usize,
    started: Instant,
    drawn: Option<Instant>,
}

impl Sending {
    async fn send_all(&mut self, lines: &mut mpsc::Receiver<Line>) -> Result<(), CliError> {
        let mut ready = Vec::new();
        loop {
            let turns = match &mut self.pace {
                Some(pace) => pace.turns(BATCH).await,
                None => BATCH,
            };
            let read = lines.recv_many(&mut ready, turns).await;
            if read == 0 {
                return Ok(());
            }
            // What came before a line that cannot be sent is sent all the same.
            let (batch, bad) = self.understand(&mut ready);
            if let Some(pace) = &mut self.pace {
                pace.give_back(turns - batch.len());
            }
            self.publish(&batch).await?;
            if let Some((what, why)) = bad {
                return Err(self.stopped(&what, why));
            }
            self.draw();
        }
    }

    /// Lines as messages, up to the first that is none.
    fn understand(&mut self, lines: &mut Vec<Line>) -> (Vec<(usize, Outgoing)>, Option<Bad>) {
        let mut batch = Vec::with_capacity(lines.len());
        for (number, line) in lines.drain(..) {
            let line = match line {
                Ok(line) => line,
                Err(error) => return (batch, Some((self.place(number), error.into()))),
            };
            match self.shape.message(&line) {
                Ok(message) => batch.push((number, message)),
                Err(why) if self.skip_invalid => {
                    self.skipped += 1;
                    terminal::error_line(&format!("skipped {}: {why}", self.place(number)));
                }
                Err(why) => return (batch, Some((self.place(number), why.into()))),
            }
        }
        (batch, None)
    }

    fn place(&self, number: usize) -> String {
        format!("{} {number}", self.unit)
    }

    async fn publish(&mut self, batch: &[(usize, Outgoing)]) -> Result<(), CliError> {
        let mut rest = batch;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(_, message)| {
                bytes += message.payload.len();
                bytes <= BATCH_BYTES
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            let messages: Vec<Outgoing> = now.iter().map(|(_, message)| message.clone()).collect();
            let results = self.queue.publish(&messages).await;
            self.sent += results.iter().filter(|result| result.is_ok()).count();
            let failed = now
                .iter()
                .zip(results)
                .find_map(|((number, _), result)| result.err().map(|error| (*number, error)));
            if let Some((number, error)) = failed {
                return Err(self.stopped(&self.place(number), error));
            }
        }
        Ok(())
    }

    fn stopped(&self, what: &str, why: impl Into<BoxError>) -> CliError {
        CliError::failed(format!("{} confirmed, then stopped: {what}", self.sent), why)
    }

    fn report(&self) -> String {
        let seconds = self.started.elapsed();
        let skipped = match self.skipped {
            0 => String::new(),
            n => format!(", skipped {n}"),
        };
        format!("sent {}{skipped} in {}", self.sent, output::age(seconds))
    }

    fn draw(&mut self) {
        let now = Instant::now();
        let due = self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= REDRAW);
        if due && terminal::is_live() {
            self.drawn = Some(now);
            terminal::show(Some(self.report()));
        }
    }
}
