//! Why a command did not do what it was asked, and the exit code that says so.

use crate::config::ConfigError;
use forebay::BoxError;
use std::{io, process::ExitCode};

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The config does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line, or what it names, cannot be used as it is.
    #[error("{0}")]
    Usage(String),
    /// Something went wrong on the way.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done, and how far it got.
        what: String,
        /// Why it failed.
        source: BoxError,
    },
    /// Whoever read our output has stopped.
    #[error("nobody reads the output")]
    OutputClosed,
}

impl CliError {
    /// Something went wrong while doing `what`.
    pub(crate) fn failed(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// 0: done, also where the reader of a pipe had enough. 1: failed. 2: asked for what cannot be.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Failed { .. } => ExitCode::from(1),
            Self::Config(_) | Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed("cannot write", error),
        }
    }
}
