//! The standalone `forebay` binary: queue-based load leveling from one TOML file, no Rust needed.
//!
//! ```text
//! cli/*      one file per command: what it is asked, what it says
//! demo/*     `forebay demo`: a measured burst, with its books checked
//! config/*   one TOML file, checked whole before anything is opened
//! assemble   from a config to the runtime's worker
//! admin/*    the port at which a worker is looked at
//! bridge     what `forebay bridge` does with a message
//! brokers/*  the one place that knows which brokers there are
//! handlers/* what a config can do with a message: http, command, sqlite, postgres, stdout
//! matrix     what each broker does natively, what is emulated, what is refused
//! telemetry  what [telemetry] asks for: metrics, traces, where they go
//! status     the live line on a terminal; logging writes around it
//! ```

#[cfg(not(any(feature = "embedded", feature = "kafka", feature = "rabbitmq", feature = "sqs")))]
compile_error!("choose a broker at least: --features embedded, kafka, rabbitmq or sqs");

mod admin;
mod assemble;
mod bridge;
mod brokers;
mod cli;
mod config;
#[cfg(feature = "embedded")]
mod demo;
mod error;
mod handlers;
mod json_path;
mod logging;
mod matrix;
mod output;
mod pace;
mod status;
mod telemetry;
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
