//! `forebay dead`: what could not be handled, and what is to become of it.

mod filter;
mod list;
mod purge;
mod redrive;
mod show;

use crate::error::CliError;
use clap::Subcommand;

const EXAMPLES: &str = "\
Examples:
  forebay dead list --config orders.toml --reason attempts_exhausted
  forebay dead show --config orders.toml 17
  forebay dead redrive --config orders.toml --error 'connection refused' --dry-run
  forebay dead purge --config orders.toml --older-than 30days";

/// Looks at dead letters, moves them back, or deletes them.
///
/// A message becomes a dead letter when it cannot succeed: its attempts are used up, or its handler
/// said so. It is kept, with its history, until somebody decides.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Dead {
    List(list::List),
    Show(show::Show),
    Redrive(redrive::Redrive),
    Purge(purge::Purge),
}

impl Dead {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.execute().await,
            Self::Show(show) => show.execute().await,
            Self::Redrive(redrive) => redrive.execute().await,
            Self::Purge(purge) => purge.execute().await,
        }
    }
}

fn failed(error: forebay::DeadLettersError) -> CliError {
    CliError::failed("cannot do this with the dead letters", error)
}
