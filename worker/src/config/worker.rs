//! `[worker]`: how many at once, how fast, how long.

use super::{
    HandlerConfig,
    document::Document,
    error::ConfigError,
    values::{Size, Span},
};
use crate::pace::usual_burst;
use forebay::policy::TokenBucket;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, time::Duration};

/// `[worker]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    /// Its name in logs; `None`: the queue's.
    pub(crate) name: Option<String>,
    /// How many messages are handled at once.
    pub(crate) concurrency: Concurrency,
    /// How many messages are started per second, and at once after a pause.
    pub(crate) rate: Option<Rate>,
    /// How long a handler may take.
    pub(crate) timeout: Duration,
    /// Whether messages with one key are handled one at a time, oldest first.
    pub(crate) ordered: bool,
    /// How messages are gathered; `None`: the handler is called for one at a time.
    pub(crate) batch: Option<Batch>,
    /// How much may be received and not settled.
    pub(crate) window: Option<WindowConfig>,
    /// How long what runs may take to finish after SIGTERM.
    pub(crate) drain_timeout: Duration,
}

/// How many messages are handled at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concurrency {
    /// Always this many.
    Fixed(u32),
    /// As many as what is behind takes well, between these.
    Adaptive {
        /// Never fewer.
        min: u32,
        /// Never more.
        max: u32,
    },
}

/// A rate of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Messages per second, in the long run.
    pub(crate) per_second: f64,
    /// Messages at once after a pause.
    pub(crate) burst: u32,
}

/// When a batch is full. Whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Messages.
    pub(crate) size: usize,
    /// Bytes.
    pub(crate) bytes: usize,
    /// Since its first message.
    pub(crate) age: Duration,
}

/// How much may be received and not settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowConfig {
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

/// What a worker is like unless its config says so.
#[derive(Clone, Copy)]
pub(super) struct Usual {
    /// How many calls may run at once.
    pub(super) concurrency: Concurrency,
    /// The batches that it always takes.
    pub(super) batch: Option<Batch>,
    /// Whether it can take batches.
    pub(super) takes_batches: bool,
}

/// The batches of a handler that always writes several messages in a transaction.
const WRITTEN_BATCH: Batch = Batch { size: 100, bytes: 1 << 20, age: Duration::from_millis(20) };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWorker {
    name: Option<String>,
    concurrency: Option<Concurrency>,
    rate: Option<RawRate>,
    timeout: Span,
    ordered: bool,
    batch: Option<RawBatch>,
    window: Option<RawWindow>,
    drain_timeout: Span,
}

impl Default for RawWorker {
    fn default() -> Self {
        Self {
            name: None,
            concurrency: None,
            rate: None,
            timeout: Span::millis(30_000),
            ordered: false,
            batch: None,
            window: None,
            drain_timeout: Span::millis(25_000),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    per_second: f64,
    burst: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch {
    size: usize,
    #[serde(default = "mebibyte")]
    bytes: Size,
    #[serde(default = "twenty_millis")]
    age: Span,
}

const fn mebibyte() -> Size {
    Size(1 << 20)
}

const fn twenty_millis() -> Span {
    Span::millis(20)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    messages: usize,
    #[serde(default = "window_bytes")]
    bytes: Size,
}

const fn window_bytes() -> Size {
    Size(64 << 20)
}

impl RawWorker {
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.0
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        self.drain_timeout.0
    }

    pub(super) fn ordered(&self) -> bool {
        self.ordered
    }

    pub(super) fn check(
        self,
        handler: &HandlerConfig,
        document: &Document<'_>,
    ) -> Result<WorkerConfig, ConfigError> {
        let usual = Usual {
            concurrency: handler.usual_concurrency(),
            batch: handler.writes_batches().then_some(WRITTEN_BATCH),
            takes_batches: handler.takes_batches(),
        };
        self.check_for(usual, document)
    }

    pub(super) fn check_for(
        self,
        usual: Usual,
        document: &Document<'_>,
    ) -> Result<WorkerConfig, ConfigError> {
        if self.timeout.0.is_zero() {
            return Err(document.error("worker.timeout", "it is 0").help("\"30s\" is the default"));
        }
        let batch = self.batch(&usual, document)?;
        let concurrency = self.concurrency.unwrap_or(usual.concurrency);
        concurrency.check(document)?;
        Ok(WorkerConfig {
            concurrency,
            batch,
            window: self.window(document)?,
            rate: self.rate.map(|rate| rate.check(document)).transpose()?,
            name: self.name,
            timeout: self.timeout.0,
            ordered: self.ordered,
            drain_timeout: self.drain_timeout.0,
        })
    }

    fn batch(&self, usual: &Usual, document: &Document<'_>) -> Result<Option<Batch>, ConfigError> {
        let Some(RawBatch { size, bytes: Size(bytes), age: Span(age) }) = self.batch else {
            return Ok(usual.batch);
        };
        if !usual.takes_batches {
            return Err(document
                .error("worker.batch", "this handler takes one message at a time")
                .help("remove it: only `handler.http`, `handler.sqlite` and `handler.postgres` take batches"));
        }
        at_least_one("worker.batch.size", size, document)?;
        at_least_one("worker.batch.bytes", bytes, document)?;
        Ok(Some(Batch { size, bytes, age }))
    }

    fn window(&self, document: &Document<'_>) -> Result<Option<WindowConfig>, ConfigError> {
        let Some(RawWindow { messages, bytes: Size(bytes) }) = self.window else {
            return Ok(None);
        };
        at_least_one("worker.window.messages", messages, document)?;
        at_least_one("worker.window.bytes", bytes, document)?;
        Ok(Some(WindowConfig { messages, bytes }))
    }
}

fn at_least_one(key: &str, value: usize, document: &Document<'_>) -> Result<(), ConfigError> {
    match value {
        0 => Err(document.error(key, "it is 0, and nothing would ever run").help("at least 1")),
        _ => Ok(()),
    }
}

impl RawRate {
    fn check(self, document: &Document<'_>) -> Result<Rate, ConfigError> {
        let Self { per_second, burst } = self;
        let burst = burst.unwrap_or_else(|| usual_burst(per_second));
        match TokenBucket::new(per_second, burst) {
            Ok(_) => Ok(Rate { per_second, burst }),
            Err(error) => {
                let key = if error.setting == "burst" { "burst" } else { "per_second" };
                Err(document
                    .error(&format!("worker.rate.{key}"), format!("it is {}", error.value))
                    .help(format!("{}; leave `rate` out for no limit", error.allowed)))
            }
        }
    }
}

impl Concurrency {
    fn check(self, document: &Document<'_>) -> Result<(), ConfigError> {
        match self {
            Self::Fixed(limit) => at_least_one("worker.concurrency", limit as usize, document),
            Self::Adaptive { min, max } if min > max => Err(document
                .error("worker.concurrency.adaptive", format!("min {min} is above max {max}"))
                .help("swap them")),
            Self::Adaptive { min, .. } => {
                at_least_one("worker.concurrency.adaptive.min", min as usize, document)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            adaptive: Adaptive,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Adaptive {
            min: u32,
            max: u32,
        }
        struct NumberOrTable;
        impl<'de> Visitor<'de> for NumberOrTable {
            type Value = Concurrency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, such as 8, or { adaptive = { min = 1, max = 64 } }")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Concurrency, E> {
                u32::try_from(number)
                    .map(Concurrency::Fixed)
                    .map_err(|_| E::custom("it must be between 1 and 4294967295"))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Concurrency, A::Error> {
                let Table { adaptive: Adaptive { min, max } } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Concurrency::Adaptive { min, max })
            }
        }
        deserializer.deserialize_any(NumberOrTable)
    }
}
