//! Why a worker was not built, or stopped by itself.

use crate::DrainReport;
use forebay_contract::SourceError;
use std::time::Duration;

/// A setting that cannot be honoured. Found before anything is received.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// A value that makes no sense.
    #[error("`{setting}` is {value}: {allowed}")]
    Invalid {
        /// The setting's name.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Order asked of a broker that keeps none.
    #[error("`ordered` is set, and {broker}, as it is set up, keeps no order by key: {way_out}")]
    Unordered {
        /// The broker's name.
        broker: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
    /// A delay longer than the broker can wait.
    #[error(
        "`retry.cap` is {cap:?}, and {broker} delays a message by {max:?} at most: lower the cap"
    )]
    DelayTooLong {
        /// The broker's name.
        broker: &'static str,
        /// What was asked for.
        cap: Duration,
        /// What the broker can do.
        max: Duration,
    },
    /// A timeout longer than a message can be held.
    #[error(
        "`timeout` is {timeout:?}, and {broker} lets a message be held for {max:?} at most: lower it"
    )]
    TimeoutTooLong {
        /// The broker's name.
        broker: &'static str,
        /// What was asked for.
        timeout: Duration,
        /// What the broker can do.
        max: Duration,
    },
}

/// Why a worker stopped without being told to. It has drained all the same, as far as it could.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting cannot be honoured; nothing was received.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The source failed in a way that waiting does not mend.
    #[error("{error}")]
    Source {
        /// What failed.
        #[source]
        error: SourceError,
        /// How the drain went.
        report: DrainReport,
    },
    /// Signal handlers could not be installed.
    #[error("cannot listen for SIGTERM and SIGINT: {0}")]
    Signals(#[source] std::io::Error),
}
