//! How every command names its queue: `--config FILE`, or `--path FILE --queue NAME`.

use crate::{
    brokers::{self, Queue, QueueConfig},
    config::{LogConfig, load_log, load_source},
    error::CliError,
};
use clap::Args;
use std::path::PathBuf;

/// Per argument, since a heading of the whole group would go on beyond it.
const HEADING: &str = "Which queue";

/// Which queue.
#[derive(Args)]
pub(super) struct QueueArgs {
    /// The queue of this worker's config
    #[arg(short, long, value_name = "FILE", help_heading = HEADING, required_unless_present = "path")]
    #[arg(conflicts_with_all = ["path", "queue"])]
    config: Option<PathBuf>,

    /// The file of an embedded queue
    #[arg(long, value_name = "FILE", help_heading = HEADING, requires = "queue")]
    path: Option<PathBuf>,

    /// The name of the queue in that file
    #[arg(long, value_name = "NAME", help_heading = HEADING, requires = "path")]
    queue: Option<String>,
}

impl QueueArgs {
    /// Opens the queue, and makes it if it is not there.
    pub(super) async fn create(&self) -> Result<Queue, CliError> {
        self.source()?.create().await
    }

    /// Opens the queue, which must be there.
    pub(super) async fn open(&self) -> Result<Queue, CliError> {
        self.source()?.find().await
    }

    /// How the config that names it wants the log.
    pub(super) fn log(&self) -> Result<LogConfig, CliError> {
        Ok(match &self.config {
            Some(config) => load_log(config)?,
            None => LogConfig::default(),
        })
    }

    fn source(&self) -> Result<QueueConfig, CliError> {
        match (&self.config, &self.path, &self.queue) {
            (Some(config), _, _) => Ok(load_source(config)?),
            (None, Some(path), Some(queue)) => brokers::in_file(path, queue),
            (None, _, _) => Err(CliError::Usage(
                "which queue? name it by --config FILE, or by --path FILE --queue NAME".to_owned(),
            )),
        }
    }
}
