//! `forebay bridge`: from one queue into another, at any two brokers.

use super::run::Running;
use crate::{
    assemble::{self, Start as _},
    bridge::Bridge,
    config::BridgeConfig,
    error::CliError,
    logging,
};
use clap::Args;
use forebay::BatchOptions;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  forebay bridge to-kafka.toml
  forebay check to-kafka.toml

where to-kafka.toml has
  [source.rabbitmq]
  url = \"amqp://guest:${PASSWORD}@rabbit\"
  queue = \"orders\"
  [sink.kafka]
  brokers = \"kafka:9092\"
  topic = \"orders\"
and, if need be, [worker], [retry], [breaker] and [log], as for `forebay run`.

Payload, key, headers and identity arrive as they were. A message leaves the source only when the sink
has confirmed it; what the sink refuses becomes a dead letter of the source.
For order within a key, set `ordered = true` under [worker].

Ends as `forebay run` does, and with the same exit codes.";

/// Moves messages from a queue into another until it is told to stop.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bridging {
    /// The bridge's config: [source.…] and [sink.…]
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

impl Bridging {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let BridgeConfig { settings, sink } = BridgeConfig::load(&self.config)?;
        logging::start(&settings.log)?;
        let queue = settings.source.create().await?;
        assemble::check(&settings, &queue)?;
        let bridge = Bridge::new(sink.create().await?.sink());
        tracing::info!(from = settings.source.describe(), to = sink.describe(), "bridging");
        let running = Running::new(&settings, &queue, false).await?;
        let batch = settings.worker.batch.map_or(BatchOptions::of(1), assemble::options);
        let gate = assemble::gate(&settings)?;
        let source = queue.source().await?;
        let builder = assemble::builder(&settings, source, gate, running.observer());
        let worker = assemble::build(&settings, builder.batch_handler(batch, bridge))?;
        running.start(worker).await
    }
}
