//! The standalone `forebay` binary: queue-based load leveling from one TOML file, no Rust needed.
//!
//! ```text
//! cli/*      one file per command: what it is asked, what it says
//! demo/*     `forebay demo`: a measured burst, with its books checked
//! config/*   one TOML file, checked whole before anything is opened
//! assemble   from a config to the runtime's worker
//! source     the one place that knows which brokers there are
//! handlers/* what a config can do with a message: http, command, sqlite, stdout
//! status     the live line on a terminal; logging writes around it
//! ```

mod assemble;
mod cli;
mod config;
mod demo;
mod error;
mod handlers;
mod json_path;
mod logging;
mod output;
mod pace;
mod source;
mod status;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, error::CliError::OutputClosed) {
                terminal::error_line(&format!("forebay: {error}"));
            }
            error.exit_code()
        }
    }
}
