//! `forebay run`: handles messages until SIGTERM, then drains.

use crate::{
    admin::{self, Admin, Bound, Title},
    assemble::{self, Start},
    brokers::Queue,
    config::{Config, HandlerConfig, Settings},
    error::CliError,
    handlers::Handlers,
    logging, status, telemetry, terminal,
};
use clap::Args;
use forebay::{AnySource, Invoke, Observer, Source, Worker};
use forebay_telemetry::Telemetry;
use std::{path::PathBuf, sync::Arc};

const EXAMPLES: &str = "\
Examples:
  forebay run orders.toml
  forebay run orders.toml 2>> orders.log &    then, to drain: kill %1

SIGTERM or SIGINT: takes no more messages, finishes those that run, gives the others back, ends.
A second signal calls off what runs; a third ends at once. Nothing is lost either way: what has no
answer yet comes back when its lease ends.

Logs go to standard error; on a terminal, a live line below them.

Exit codes:
  0  drained     1  the queue failed for good     2  the config does not hold";

/// Handles the messages of a queue until it is told to stop.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// The worker's config; `forebay init` writes one
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

impl Run {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let Config { settings, handler } = Config::load(&self.config)?;
        logging::start(&settings.log)?;
        let mut handlers = Handlers::prepare(&handler, &settings).await?;
        let queue = settings.source.create().await?;
        assemble::check(&settings, &queue)?;
        let prints = matches!(handler, HandlerConfig::Stdout(_));
        let running = Running::new(&settings, &queue, prints).await?;
        handlers.start(&settings, queue.unopened().capabilities()).await?;
        let source = queue.source().await?;
        let observer = running.observer();
        assemble::with_handlers(&settings, source, handlers, observer, running).await
    }
}

/// Runs the worker, and reports on it meanwhile.
pub(super) struct Running<'a> {
    settings: &'a Settings,
    queue: &'a Queue,
    /// The handler writes to standard output.
    prints: bool,
    /// Where it is looked at meanwhile.
    admin: Option<Bound>,
    /// What it is measured and traced by, if anybody wants to see it.
    telemetry: Option<Telemetry>,
}

impl<'a> Running<'a> {
    /// Gets ready, which takes the admin port: one that others have is found out before a message is
    /// taken.
    ///
    /// # Errors
    /// When the admin port cannot be had.
    pub(super) async fn new(
        settings: &'a Settings,
        queue: &'a Queue,
        prints: bool,
    ) -> Result<Self, CliError> {
        let admin = match &settings.admin {
            Some(config) => Some(Bound::to(config, &settings.lines).await?),
            None => None,
        };
        let telemetry = telemetry::prepare(settings, queue)?;
        Ok(Self { settings, queue, prints, admin, telemetry })
    }

    /// What the worker is to be built with.
    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.telemetry.as_ref().map(Telemetry::observer)
    }
}

impl Start for Running<'_> {
    async fn start<I: Invoke>(self, worker: Worker<AnySource, I>) -> Result<(), CliError> {
        let name = self.settings.name();
        tracing::info!(worker = name, "taking messages");
        let control = worker.control();
        // Ends when this does: it answers throughout the drain.
        let telemetry = self.telemetry;
        if let Some(telemetry) = &telemetry {
            telemetry.watch(control.clone());
        }
        let _served = self.admin.zip(telemetry.clone()).map(|(bound, telemetry)| {
            let title = Title { name: name.to_owned(), source: self.settings.source.describe() };
            let (queue, control) = (self.queue.clone(), Some(control.clone()));
            let admin = Admin::new(bound.config(), title, queue, control, telemetry);
            admin::start(bound, admin, self.settings.scale.clone())
        });
        // Where there is an admin port, its probe asks already.
        let _asked = telemetry
            .as_ref()
            .filter(|_| self.settings.admin.is_none())
            .map(|telemetry| telemetry::ask_backlog(telemetry, self.queue));
        let report =
            status::report(name, control.clone(), self.queue, status::is_live(self.prints));
        let ended = tokio::select! {
            ended = worker.run() => ended,
            never = report => match never {},
        };
        if let Some(telemetry) = telemetry {
            telemetry::finish(telemetry).await;
        }
        terminal::show(None);
        let drained = ended.map_err(|error| CliError::failed("the worker stopped", error))?;
        let counts = control.status().counts;
        tracing::info!(
            finished = drained.finished,
            released = drained.released,
            abandoned = drained.abandoned,
            done = counts.acked,
            dead = counts.dead,
            "drained"
        );
        Ok(())
    }
}
