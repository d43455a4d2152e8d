//! The one place that knows which brokers there are. Each is a file here (its table in the config, and
//! how it is opened), a line in [`RawQueue`], and a feature of this crate; nothing else in this
//! program tells one from another.
//!
//! ```text
//! [source.kafka]  --check-->  dyn Broker  --open-->  Queue  { AnySink, AnyDeadLetters, source(), … }
//! ```

#[cfg(not(all(feature = "embedded", feature = "kafka", feature = "rabbitmq", feature = "sqs")))]
mod absent;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
mod queue;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "sqs")]
mod sqs;
mod table;
mod unopened;

pub(crate) use queue::{Adapter, Boxed, Queue};
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "sqs"))]
use table::Place;
pub(crate) use table::{Table, WorkerHints};

use crate::{
    config::{ConfigError, Document, quoted_list},
    error::CliError,
};
use serde::Deserialize;
use std::{fmt, path::Path, sync::Arc};

#[cfg(not(feature = "embedded"))]
absent::absent!(embedded);
#[cfg(not(feature = "kafka"))]
absent::absent!(kafka);
#[cfg(not(feature = "rabbitmq"))]
absent::absent!(rabbitmq);
#[cfg(not(feature = "sqs"))]
absent::absent!(sqs);

/// Which queue at which broker, as a config names it: validated, not opened.
pub(crate) type QueueConfig = Arc<dyn Broker>;

/// A queue in a file, named on the command line.
///
/// # Errors
/// When the embedded queue is not built in.
pub(crate) fn in_file(path: &Path, queue: &str) -> Result<QueueConfig, CliError> {
    #[cfg(feature = "embedded")]
    return Ok(embedded::at(path, queue));
    #[cfg(not(feature = "embedded"))]
    Err(CliError::Usage(format!(
        "{}, queue `{queue}`: this forebay was built without its feature `embedded`",
        path.display()
    )))
}

/// A queue at some broker. Its `Debug` shows no secret.
pub(crate) trait Broker: fmt::Debug + Send + Sync {
    /// The queue's name.
    fn queue(&self) -> &str;

    /// Which queue where, in a line for people, without secrets.
    fn describe(&self) -> String;

    /// Opens it. With [`Missing::Say`] nothing is made, whatever the config says.
    fn open(&self, missing: Missing) -> Boxed<'_, Result<Opened, CliError>>;
}

/// What to do about a queue that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make it, as far as the config allows.
    Make,
    /// Say so: a name misspelt must not become a queue.
    Say,
}

/// What opening came to.
pub(crate) enum Opened {
    /// Here it is.
    Queue(Queue),
    /// It is not there, and was not to be made; what is missing, for people.
    Missing(String),
}

impl dyn Broker {
    /// Opens the queue, and makes it if it is not there.
    ///
    /// # Errors
    /// Faults of the broker, and settings that it cannot honour.
    pub(crate) async fn create(&self) -> Result<Queue, CliError> {
        self.open(Missing::Make).await?.or_usage()
    }

    /// Opens the queue, which must be there.
    ///
    /// # Errors
    /// As for `create`, and when it is not there.
    pub(crate) async fn find(&self) -> Result<Queue, CliError> {
        self.open(Missing::Say).await?.or_usage()
    }
}

impl Opened {
    fn or_usage(self) -> Result<Queue, CliError> {
        match self {
            Self::Queue(queue) => Ok(queue),
            Self::Missing(why) => Err(CliError::Usage(why)),
        }
    }
}

/// Sets a field to what is given, if it is.
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "sqs"))]
fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// A table of one broker, as it is written.
trait RawTable {
    /// Checks what can be checked without the broker.
    fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError>;
}

/// `[source]` or `[sink]`: exactly one broker's table in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawQueue {
    embedded: Option<embedded::Raw>,
    kafka: Option<kafka::Raw>,
    rabbitmq: Option<rabbitmq::Raw>,
    sqs: Option<sqs::Raw>,
}

/// The names of the brokers' tables.
pub(crate) const BROKERS: [&str; 4] = ["embedded", "kafka", "rabbitmq", "sqs"];

/// Which of them are part of this program.
const BUILT_IN: [bool; BROKERS.len()] = [
    cfg!(feature = "embedded"),
    cfg!(feature = "kafka"),
    cfg!(feature = "rabbitmq"),
    cfg!(feature = "sqs"),
];

/// Whether a broker's adapter is part of this program.
pub(crate) fn is_built_in(broker: &str) -> bool {
    BROKERS.iter().zip(BUILT_IN).any(|(name, built_in)| *name == broker && built_in)
}

impl RawQueue {
    /// The queue that is named under `name`: `source` or `sink`.
    ///
    /// # Errors
    /// When there is none, or more than one, or its table does not hold.
    pub(crate) fn check(
        self,
        name: &'static str,
        worker: WorkerHints,
        document: &Document<'_>,
    ) -> Result<QueueConfig, ConfigError> {
        let table = |broker: &str| Table::new(document, format!("{name}.{broker}"), worker);
        let mut named = [
            self.embedded.map(|raw| raw.check(table("embedded"))),
            self.kafka.map(|raw| raw.check(table("kafka"))),
            self.rabbitmq.map(|raw| raw.check(table("rabbitmq"))),
            self.sqs.map(|raw| raw.check(table("sqs"))),
        ]
        .into_iter()
        .flatten();
        match (named.next(), named.next()) {
            (Some(checked), None) => checked,
            (None, _) => {
                let names = BROKERS.map(|broker| format!("{name}.{broker}"));
                Err(document
                    .error(name, "it names no queue")
                    .help(format!("add a table: there are {}", quoted_list(&names))))
            }
            (Some(_), Some(_)) => Err(document
                .error(name, "it names more than one queue")
                .help("keep one of the tables: run a worker for each queue")),
        }
    }
}
