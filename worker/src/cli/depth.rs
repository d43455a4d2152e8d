//! `forebay depth`: how much is waiting.

use super::queue::QueueArgs;
use crate::{error::CliError, output};
use clap::Args;
use forebay::{Backlog, Count};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  forebay depth --config orders.toml
  forebay depth --path orders.db --queue orders --json | jq .ready

`~` marks a number that the broker knows only about; `-` what it does not tell.";

/// Shows how many messages are waiting, delayed, out, and dead.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Depth {
    #[command(flatten)]
    queue: QueueArgs,

    /// As one JSON object
    #[arg(long)]
    json: bool,
}

impl Depth {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let queue = self.queue.open().await?;
        let backlog = queue.backlog().await?;
        if self.json {
            return output::line(as_json(queue.name(), &backlog).to_string());
        }
        let oldest = backlog.oldest_age.map_or_else(|| "-".to_owned(), output::age);
        let row = [
            queue.name().to_owned(),
            shown(backlog.ready),
            shown(backlog.delayed),
            shown(backlog.leased),
            shown(backlog.dead),
            oldest,
        ];
        output::table(["QUEUE", "READY", "DELAYED", "LEASED", "DEAD", "OLDEST"], &[row], None)
    }
}

fn shown(count: Option<Count>) -> String {
    match count {
        None => "-".to_owned(),
        Some(Count { value, exact: true }) => value.to_string(),
        Some(Count { value, exact: false }) => format!("~{value}"),
    }
}

fn as_json(queue: &str, backlog: &Backlog) -> Value {
    let counts = [backlog.ready, backlog.delayed, backlog.leased, backlog.dead];
    let [ready, delayed, leased, dead] = counts.map(|count| count.map(|count| count.value));
    json!({
        "queue": queue,
        "ready": ready,
        "delayed": delayed,
        "leased": leased,
        "dead": dead,
        "oldest_age_seconds": backlog.oldest_age.map(|age| age.as_secs_f64()),
        "exact": counts.into_iter().flatten().all(|count| count.exact),
    })
}
