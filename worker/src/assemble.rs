//! From a config to a worker: every setting finds its place in the runtime's builder.
//!
//! `check` and `run` go through here alike, so that what `check` has passed is what `run` will run.

use crate::{
    config::{Batch, Concurrency, Config},
    error::CliError,
    handlers::Handlers,
    source::Consumer,
};
use forebay::{
    BatchOptions, Builder, Invoke, Raw, Source, Worker,
    policy::{self, Breaker, Gradient2Settings, PolicyError, TokenBucket},
};
use std::path::Path;

/// What is done with a worker once it has been put together.
pub(crate) trait Start {
    /// Takes it over.
    async fn start<S: Source, I: Invoke>(self, worker: Worker<S, I>) -> Result<(), CliError>;
}

/// Puts a worker together on whatever source it is given.
pub(crate) struct Assemble<'a, A> {
    /// What it is to be.
    pub(crate) config: &'a Config,
    /// The file of that config, for errors.
    pub(crate) file: &'a Path,
    /// What it does with its messages.
    pub(crate) handlers: Handlers,
    /// What becomes of it.
    pub(crate) then: A,
}

impl<A: Start> Consumer for Assemble<'_, A> {
    async fn consume<S: Source>(self, source: S) -> Result<(), CliError> {
        let settings = self.settings(source).map_err(|error| self.refused(&error))?;
        let (file, then) = (self.file, self.then);
        match (self.handlers, self.config.worker.batch) {
            (Handlers::Http(handler), None) => build(file, settings.handler(handler), then).await,
            (Handlers::Http(handler), Some(batch)) => {
                build(file, settings.batch_handler(options(batch), handler), then).await
            }
            (Handlers::Sqlite(handler), batch) => {
                // The config has filled it in; one row at a time would be right as well.
                let batch = batch.map_or(BatchOptions::of(1), options);
                build(file, settings.batch_handler(batch, handler), then).await
            }
            (Handlers::Command(handler), _) => build(file, settings.handler(handler), then).await,
            (Handlers::Stdout(handler), _) => build(file, settings.handler(handler), then).await,
        }
    }
}

impl<A> Assemble<'_, A> {
    fn settings<S: Source>(&self, source: S) -> Result<Builder<S, Raw>, PolicyError> {
        let worker = &self.config.worker;
        let breaker = self.config.breaker.map(Breaker::new).transpose()?;
        let concurrency = match worker.concurrency {
            Concurrency::Fixed(limit) => policy::Concurrency::fixed(limit),
            Concurrency::Adaptive { min, max } => {
                let usual = Gradient2Settings::default();
                let initial = usual.initial.clamp(min, max);
                let settings = Gradient2Settings { initial, min, max, ..usual };
                policy::Concurrency::gradient2(settings)?
            }
        };
        let mut builder = Worker::builder(source)
            .decode(Raw)
            .name(self.config.name())
            .concurrency(concurrency)
            .retry(self.config.retry)
            .breaker(breaker)
            .timeout(worker.timeout)
            .drain_timeout(worker.drain_timeout);
        if let Some(rate) = worker.rate {
            builder = builder.rate(TokenBucket::new(rate.per_second, rate.burst)?);
        }
        if let Some(window) = worker.window {
            builder = builder.window(window.messages, window.bytes);
        }
        Ok(if worker.ordered { builder.ordered() } else { builder })
    }

    fn refused(&self, error: &PolicyError) -> CliError {
        CliError::Usage(format!("{}: {error}", self.file.display()))
    }
}

fn options(batch: Batch) -> BatchOptions {
    BatchOptions { size: batch.size, bytes: batch.bytes, age: batch.age }
}

async fn build<S: Source, I: Invoke>(
    file: &Path,
    builder: Builder<S, (), (), I>,
    then: impl Start,
) -> Result<(), CliError> {
    let worker =
        builder.build().map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    then.start(worker).await
}
