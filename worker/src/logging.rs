//! Logs: structured, to standard error, above the live line.

use crate::{
    config::{LogConfig, LogFormat},
    error::CliError,
    terminal,
};
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Starts logging; once per process.
///
/// # Errors
/// When something else in the process has started it already.
pub(crate) fn start(config: &LogConfig) -> Result<(), CliError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.level))
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(Above);
    let started = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| CliError::failed("cannot start logging", error))
}

/// Writes each event, as a whole, above the live line.
struct Above;

impl<'a> MakeWriter<'a> for Above {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event(Vec::new())
    }
}

/// One event on its way; written when it is complete.
struct Event(Vec<u8>);

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        terminal::write_above(&self.0);
    }
}
