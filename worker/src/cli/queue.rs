//! How every command names its queue: `--config FILE`, or `--path FILE --queue NAME`.

use crate::{
    config::{EmbeddedConfig, SourceConfig},
    error::CliError,
    source::Queue,
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
        Queue::create(&self.source()?).await
    }

    /// Opens the queue, which must be there.
    pub(super) async fn open(&self) -> Result<Queue, CliError> {
        Queue::find(&self.source()?).await?.map_err(CliError::Usage)
    }

    fn source(&self) -> Result<SourceConfig, CliError> {
        match (&self.config, &self.path, &self.queue) {
            (Some(config), _, _) => Ok(SourceConfig::load(config)?),
            (None, Some(path), Some(queue)) => Ok(SourceConfig::Embedded(EmbeddedConfig {
                path: path.clone(),
                queue: queue.clone(),
                lease: None,
            })),
            (None, _, _) => Err(CliError::Usage(
                "which queue? name it by --config FILE, or by --path FILE --queue NAME".to_owned(),
            )),
        }
    }
}
