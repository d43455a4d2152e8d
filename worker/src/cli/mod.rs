//! The command line: which commands there are. Each is a file of its own.

mod adapters;
mod bridge;
mod check;
mod dead;
mod depth;
mod init;
mod queue;
mod run;
mod scale;
mod send;

#[cfg(feature = "embedded")]
use crate::demo::Demo;
use crate::error::CliError;
use clap::{CommandFactory, Parser, Subcommand};
use std::time::Duration;
use tokio::runtime;

const EXAMPLES: &str = "\
Getting started:
  forebay demo                                     a burst, leveled before your eyes
  forebay init                                     write a commented forebay.toml
  forebay check forebay.toml                       what would it do?
  forebay send --config forebay.toml '{\"id\": 1}'   put a message into the queue
  forebay run forebay.toml                         handle messages until SIGTERM
  forebay depth --config forebay.toml              how much is waiting?
  forebay dead list --config forebay.toml          what could not be handled, and why?

Exit codes:
  0  done        1  failed on the way        2  wrong command line or config";

/// How long the end waits for threads that block.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// Queue-based load leveling: takes messages from a queue at a pace that what is behind can bear.
/// At least once, nothing lost.
#[derive(Parser)]
#[command(name = "forebay", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "embedded")]
    Demo(Box<Demo>),
    Run(run::Run),
    Scale(scale::Scale),
    Bridge(bridge::Bridging),
    Check(check::Check),
    Init(init::Init),
    Send(send::Send),
    Depth(depth::Depth),
    #[command(subcommand)]
    Dead(dead::Dead),
    Adapters(adapters::Adapters),
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> Result<(), CliError> {
    match Cli::parse().command {
        None => Ok(Cli::command().print_help()?),
        Some(Command::Init(init)) => init.execute(),
        Some(Command::Adapters(adapters)) => adapters.execute(),
        #[cfg(feature = "embedded")]
        Some(Command::Demo(demo)) => block_on(demo.execute()),
        Some(Command::Run(run)) => block_on(run.execute()),
        Some(Command::Scale(scale)) => block_on(scale.execute()),
        Some(Command::Bridge(bridge)) => block_on(bridge.execute()),
        Some(Command::Check(check)) => block_on(check.execute()),
        Some(Command::Send(send)) => block_on(send.execute()),
        Some(Command::Depth(depth)) => block_on(depth.execute()),
        Some(Command::Dead(dead)) => block_on(dead.execute()),
    }
}

fn block_on<F: Future<Output = Result<(), CliError>>>(command: F) -> Result<(), CliError> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("cannot start", error))?;
    let result = runtime.block_on(command);
    // Tasks are dropped before the process ends, and with them the programs that they run. What
    // blocks a thread (a pipe that nobody reads) is not waited for.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}
