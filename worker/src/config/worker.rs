//! `[worker]`: how many at once, how fast, how long.

use super::{
    document::Document,
    error::ConfigError,
    values::{Size, Span},
};
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
    pub(crate) concurrency: Option<Concurrency>,
    /// How many messages are started per second, and at once after a pause.
    pub(crate) rate: Option<Rate>,
    /// How long a handler may take.
    pub(crate) timeout: Duration,
    /// Whether messages with one key are handled one at a time, oldest first.
    pub(crate) ordered: bool,
    /// How messages are gathered for handlers that take several.
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
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// Messages per second, in the long run.
    pub(crate) per_second: f64,
    /// Messages at once after a pause.
    #[serde(default = "one")]
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

const fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWorker {
    name: Option<String>,
    concurrency: Option<Concurrency>,
    rate: Option<Rate>,
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
    pub(super) fn check(self, document: &Document<'_>) -> Result<WorkerConfig, ConfigError> {
        let at_least_one = |key: &str, value: usize| match value {
            0 => Err(document.error(key, "it is 0, and nothing would ever run").help("at least 1")),
            _ => Ok(()),
        };
        match self.concurrency {
            Some(Concurrency::Fixed(n)) => at_least_one("worker.concurrency", n as usize)?,
            Some(Concurrency::Adaptive { min, max }) => {
                at_least_one("worker.concurrency.adaptive.min", min as usize)?;
                if min > max {
                    return Err(document
                        .error(
                            "worker.concurrency.adaptive",
                            format!("min {min} is above max {max}"),
                        )
                        .help("swap them"));
                }
            }
            None => {}
        }
        if let Some(rate) = self.rate {
            if !(rate.per_second.is_finite() && rate.per_second > 0.0) {
                return Err(document
                    .error("worker.rate.per_second", "it must be above 0")
                    .help("leave `rate` out for no limit; 0.5 is one message every two seconds"));
            }
            at_least_one("worker.rate.burst", rate.burst as usize)?;
        }
        if let Some(batch) = &self.batch {
            at_least_one("worker.batch.size", batch.size)?;
            at_least_one("worker.batch.bytes", batch.bytes.0)?;
        }
        if let Some(window) = &self.window {
            at_least_one("worker.window.messages", window.messages)?;
            at_least_one("worker.window.bytes", window.bytes.0)?;
        }
        if self.timeout.0.is_zero() {
            return Err(document.error("worker.timeout", "it is 0").help("\"30s\" is the default"));
        }
        Ok(WorkerConfig {
            name: self.name,
            concurrency: self.concurrency,
            rate: self.rate,
            timeout: self.timeout.0,
            ordered: self.ordered,
            batch: self.batch.map(|raw| Batch {
                size: raw.size,
                bytes: raw.bytes.0,
                age: raw.age.0,
            }),
            window: self
                .window
                .map(|raw| WindowConfig { messages: raw.messages, bytes: raw.bytes.0 }),
            drain_timeout: self.drain_timeout.0,
        })
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
