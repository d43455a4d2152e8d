//! `forebay scale`: what a fleet needs, without handling jobs. So it can be asked when there is no
//! worker at all.

use crate::{
    admin::{self, Admin, Bound, Title},
    config::{self, ScalerConfig},
    error::CliError,
    logging,
};
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  forebay scale orders.toml
  curl -s localhost:9464/scale | jq '.desired_workers, .because'

where orders.toml has, beside its source,
  [admin]
  listen = \"0.0.0.0:9464\"
  token = { file = \"/run/secrets/admin\" }
  [scale]
  max = 20
  workers = [\"http://orders-workers:9464\"]

A worker's own config will do: only [source], [admin], [scale] and [log] are read. It reads the
backlog itself, and asks each address of each host in `workers` for that worker's own /scale.

Exit codes:
  0  ended by SIGTERM or SIGINT
  1  the queue cannot be opened
  2  the config does not hold, or names a queue that is not there";

/// Says how many workers a queue needs, and why: to people, Prometheus and KEDA.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Scale {
    /// The worker's config
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

impl Scale {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let ScalerConfig { source, admin, scale, log, lines } = config::load_scaler(&self.config)?;
        logging::start(&log)?;
        let cannot_listen = |error| CliError::failed("cannot listen for signals", error);
        let mut terminated = signal(SignalKind::terminate()).map_err(cannot_listen)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
        let bound = Bound::to(&admin, &lines).await?;
        let queue = source.find().await?;
        let title = Title { name: source.queue().to_owned(), source: source.describe() };
        let built = queue.telemetry().build();
        let telemetry =
            built.map_err(|error| CliError::failed("telemetry cannot be set up", error))?;
        let admin = Admin::new(bound.config(), title, queue, None, telemetry);
        let _served = admin::start(bound, admin, scale);
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        Ok(())
    }
}
