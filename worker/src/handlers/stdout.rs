//! `[handler.stdout]`: prints messages, one per line. For looking at a queue, and for pipes.

use crate::{
    config::{StdoutConfig, StdoutFormat},
    output,
};
use forebay::{Bytes, Failure, FailureExt, Handler, Job};
use std::io::{self, Write};
use tokio::task::spawn_blocking;

/// Prints messages.
pub(crate) struct Stdout {
    config: StdoutConfig,
}

impl Stdout {
    /// A handler.
    pub(crate) fn new(config: StdoutConfig) -> Self {
        Self { config }
    }
}

impl Handler<Bytes> for Stdout {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        let mut line = match self.config.format {
            StdoutFormat::Payload => job.payload.to_vec(),
            StdoutFormat::Json => {
                serde_json::to_vec(&output::message_json(job.message())).permanent()?
            }
        };
        line.push(b'\n');
        // On a thread of its own: whoever reads the pipe may take their time.
        let written = spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&line).and_then(|()| stdout.flush())
        });
        Ok(written.await??)
    }
}
