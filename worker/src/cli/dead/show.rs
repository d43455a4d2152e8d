//! `forebay dead show`: all that is known of one dead letter.

use super::failed;
use crate::{
    cli::queue::QueueArgs,
    error::CliError,
    output::{self, ago, attempts, one_line, text_of, timestamp},
};
use clap::Args;
use forebay::{DeadFilter, DeadId, DeadLetter, DeadLetters};
use std::time::SystemTime;

const EXAMPLES: &str = "\
Examples:
  forebay dead show --config orders.toml 17
  forebay dead show --config orders.toml 17 --json | jq .message.payload";

/// Shows one dead letter: payload, headers, and each failure.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    queue: QueueArgs,

    /// Which one, by the ID that `list` shows
    #[arg(value_name = "ID")]
    id: String,

    /// As one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let queue = self.queue.open().await?;
        let ids = Some(vec![DeadId(self.id.as_str().into())]);
        let filter = DeadFilter { ids, ..DeadFilter::default() };
        let found = queue.list(&filter, None, 1).await.map_err(failed)?;
        let Some(letter) = found.first() else {
            return Err(CliError::Usage(format!(
                "{} has no dead letter {}: `forebay dead list` shows those there are",
                queue.name(),
                self.id
            )));
        };
        if self.json {
            return output::line(output::dead_json(letter).to_string());
        }
        print(letter)
    }
}

fn print(letter: &DeadLetter) -> Result<(), CliError> {
    let message = &letter.message;
    let when = |at: SystemTime| format!("{} ({} ago)", timestamp(at), ago(at));
    let field = |name: &str, value: String| output::line(format!("{name:9} {value}"));
    field("dead", letter.id.to_string())?;
    field("message", one_line(&message.id.to_string()))?;
    field("queue", format!("{}, position {}", letter.origin.queue, letter.origin.position))?;
    field("reason", letter.reason.to_string())?;
    field("died", when(letter.died_at))?;
    if let Some(at) = message.enqueued_at {
        field("enqueued", when(at))?;
    }
    field("attempts", attempts(letter).to_string())?;
    field("redrives", message.redrives.to_string())?;
    if let Some(key) = &message.key {
        field("key", one_line(&text_of(key)))?;
    }
    for (name, value) in message.headers.iter() {
        field("header", format!("{}: {}", one_line(name), one_line(&text_of(value))))?;
    }
    for note in message.history.notes() {
        let kind = note.kind.as_str();
        field("failure", format!("{} {kind}: {}", timestamp(note.at), one_line(&note.error)))?;
    }
    output::line(format!("\n{}", payload(&message.payload)))
}

/// The payload for reading: JSON is indented, and other text is shown so that it steers nothing.
fn payload(bytes: &[u8]) -> String {
    let pretty = serde_json::from_slice::<serde_json::Value>(bytes)
        .and_then(|json| serde_json::to_string_pretty(&json));
    pretty.unwrap_or_else(|_| text_of(bytes).lines().map(one_line).collect::<Vec<_>>().join("\n"))
}
