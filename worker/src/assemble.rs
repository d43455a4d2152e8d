//! From a config to a worker: every setting finds its place in the runtime's builder.
//!
//! `check`, `run` and `bridge` go through here alike, so that what `check` has passed is what `run` will
//! run. The source comes with its type hidden: the runtime is compiled once for each kind of handler,
//! not for each pair of handler and broker, at the price of one allocation a message.

use crate::{
    brokers::Queue,
    config::{Batch, Concurrency, ConfigError, Settings},
    error::CliError,
    handlers::Handlers,
};
use forebay::{
    AnySource, BatchOptions, BuildError, Builder, Bytes, Failure, Gate, Invoke, Job, Observer, Raw,
    Worker,
    policy::{self, Breaker, Gradient2Settings, PolicyError, TokenBucket},
};
use std::sync::Arc;

/// What is done with a worker once it has been put together.
pub(crate) trait Start {
    /// Takes it over.
    async fn start<I: Invoke>(self, worker: Worker<AnySource, I>) -> Result<(), CliError>;
}

/// Puts a worker together that handles its messages as the config says.
///
/// # Errors
/// What the source cannot honour, and those of `then`.
pub(crate) async fn with_handlers(
    settings: &Settings,
    source: AnySource,
    handlers: Handlers,
    observer: Option<Arc<dyn Observer>>,
    then: impl Start,
) -> Result<(), CliError> {
    let gate = gate(settings)?;
    let builder = builder(settings, source, gate.clone(), observer);
    match (handlers, settings.worker.batch) {
        (Handlers::Http(handler), None) => {
            then.start(build(settings, builder.handler(handler))?).await
        }
        (Handlers::Http(handler), Some(batch)) => {
            then.start(build(settings, builder.batch_handler(options(batch), handler))?).await
        }
        #[cfg(feature = "embedded")]
        (Handlers::Sqlite(handler), batch) => {
            // The config has filled it in; one row at a time would be right as well.
            let batch = batch.map_or(BatchOptions::of(1), options);
            then.start(build(settings, builder.batch_handler(batch, handler))?).await
        }
        #[cfg(feature = "postgres")]
        (Handlers::Postgres(handler), batch) => {
            let batch = batch.map_or(BatchOptions::of(1), options);
            let sink = handler.sink();
            handler.bound(&gate, settings);
            let worker = build(settings, builder.batch_handler(batch, handler.handler(&sink)))?;
            handler.watch(&worker.control());
            let ended = then.start(worker).await;
            handler.close(sink).await;
            ended
        }
        (Handlers::Command(handler), _) => {
            then.start(build(settings, builder.handler(handler))?).await
        }
        (Handlers::Stdout(handler), _) => {
            then.start(build(settings, builder.handler(handler))?).await
        }
    }
}

/// Whether a queue can honour all settings, without opening it: no group is joined for nothing.
///
/// # Errors
/// As [`build`].
pub(crate) fn check(settings: &Settings, queue: &Queue) -> Result<(), CliError> {
    async fn unused(_: Job<Bytes>) -> Result<(), Failure> {
        Ok(())
    }
    // With any handler: whether a worker can be built is up to the source.
    let builder = builder(settings, queue.unopened(), gate(settings)?, None);
    build(settings, builder.handler(unused)).map(drop)
}

/// What stands before the handler: concurrency, rate, breaker.
///
/// # Errors
/// When a policy refuses its settings; the config has checked them before.
pub(crate) fn gate(settings: &Settings) -> Result<Gate, CliError> {
    let refused = |error: PolicyError| CliError::Usage(error.to_string());
    let worker = &settings.worker;
    let breaker = settings.breaker.map(Breaker::new).transpose().map_err(refused)?;
    let concurrency = match worker.concurrency {
        Concurrency::Fixed(limit) => policy::Concurrency::fixed(limit),
        Concurrency::Adaptive { min, max } => {
            let usual = Gradient2Settings::default();
            let initial = usual.initial.clamp(min, max);
            let settings = Gradient2Settings { initial, min, max, ..usual };
            policy::Concurrency::gradient2(settings).map_err(refused)?
        }
    };
    let bucket = worker.rate.map(|rate| TokenBucket::new(rate.per_second, rate.burst));
    Ok(Gate::with(concurrency, bucket.transpose().map_err(refused)?, breaker))
}

/// A builder with all settings but the handler.
pub(crate) fn builder(
    settings: &Settings,
    source: AnySource,
    gate: Gate,
    observer: Option<Arc<dyn Observer>>,
) -> Builder<AnySource, Raw> {
    let worker = &settings.worker;
    let mut builder = Worker::builder(source)
        .decode(Raw)
        .name(settings.name())
        .gate(gate)
        .retry(settings.retry)
        .timeout(worker.timeout)
        .drain_timeout(worker.drain_timeout);
    if let Some(observer) = observer {
        builder = builder.observer(observer);
    }
    if let Some(window) = worker.window {
        builder = builder.window(window.messages, window.bytes);
    }
    if worker.ordered { builder.ordered() } else { builder }
}

/// When a batch is full, as the runtime wants it.
pub(crate) fn options(batch: Batch) -> BatchOptions {
    BatchOptions { size: batch.size, bytes: batch.bytes, age: batch.age }
}

/// The worker, if its source can honour all settings.
///
/// # Errors
/// [`ConfigError`], at the setting's line, with the broker's limit and the way out.
pub(crate) fn build<I: Invoke>(
    settings: &Settings,
    builder: Builder<AnySource, (), (), I>,
) -> Result<Worker<AnySource, I>, CliError> {
    builder.build().map_err(|error| refused(settings, &error).into())
}

fn refused(settings: &Settings, error: &BuildError) -> ConfigError {
    use crate::output::age;
    let at = |key: &str, problem: String| settings.lines.error(key, problem);
    match error {
        BuildError::Unordered { broker, .. } => at(
            "worker.ordered",
            format!("{broker}, as this queue is set up, keeps no order by key"),
        )
        .help("give the source an order (`forebay adapters` says how), or remove `ordered`"),
        BuildError::DelayTooLong { broker, cap, max } => at(
            "retry.cap",
            format!("it is {}, and {broker} delays a message by {} at most", age(*cap), age(*max)),
        )
        .help(format!("set it to \"{}\" or less", humantime::format_duration(*max))),
        BuildError::TimeoutTooLong { broker, timeout, max } => at(
            "worker.timeout",
            format!(
                "it is {}, and {broker} lets a message be held for {} at most",
                age(*timeout),
                age(*max)
            ),
        )
        .help(format!("set it to \"{}\" or less", humantime::format_duration(*max))),
        other => at("worker", other.to_string()),
    }
}
