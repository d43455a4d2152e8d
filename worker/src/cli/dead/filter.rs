//! Which dead letters a command is about.

use crate::{config::duration, error::CliError};
use clap::Args;
use forebay::{DeadFilter, DeadId, DeadReason};
use std::time::{Duration, SystemTime};

/// Per argument, since a heading of the whole group would go on beyond it.
const HEADING: &str = "Which dead letters";

/// Narrows what a command is about. All that is given must hold.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only these, by the ID that `list` shows
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[arg(long, value_name = "REASON", help_heading = HEADING)]
    #[arg(help = format!("Only those that died for this reason: {}", reasons()))]
    reason: Option<DeadReason>,

    /// Only those whose last error contains this
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    error: Option<String>,

    /// Only those that died longer ago than this, such as `1h` or `30days`
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = HEADING)]
    older_than: Option<Duration>,
}

fn reasons() -> String {
    DeadReason::ALL.map(DeadReason::as_str).join(", ")
}

impl FilterArgs {
    /// As the adapter wants it.
    pub(super) fn filter(&self, now: SystemTime) -> DeadFilter {
        let ids = self.ids.iter().map(|id| DeadId(id.as_str().into())).collect::<Vec<_>>();
        DeadFilter {
            ids: (!ids.is_empty()).then_some(ids),
            reason: self.reason,
            error_contains: self.error.clone(),
            // Older than the clock reaches back: nothing is.
            died_before: self
                .older_than
                .map(|age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)),
            origin_queue: None,
            redriven_less_than: None,
        }
    }

    /// Refuses to mean everything by saying nothing.
    pub(super) fn must_narrow(&self, all: bool, verb: &str) -> Result<(), CliError> {
        let narrows = !self.ids.is_empty()
            || self.reason.is_some()
            || self.error.is_some()
            || self.older_than.is_some();
        match (narrows, all) {
            (false, false) => Err(CliError::Usage(format!(
                "{verb} which? name IDs, filter by --reason, --error or --older-than, or say --all"
            ))),
            (true, true) => Err(CliError::Usage(
                "--all and a filter contradict each other: leave one out".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
