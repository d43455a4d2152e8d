//! Where an example's messages are: the one place that differs from broker to broker.
//!
//! | switch | broker | where, unless the variable says otherwise |
//! |---|---|---|
//! | (none) | a queue in a file | the folder that is the first argument, or a temporary one |
//! | `--source kafka` | Apache Kafka | `FOREBAY_KAFKA`: `127.0.0.1:9092` |
//! | `--source rabbitmq` | RabbitMQ | `FOREBAY_AMQP`: `amqp://guest:guest@127.0.0.1:5672/%2f` |
//! | `--source sqs` | Amazon SQS | `FOREBAY_SQS`: an emulator's URL; AWS without it |
//!
//! `--queue NAME` uses another queue than the example's own. What is missing is made.

use crate::Folder;
use forebay::{AnyDeadLetters, AnySink, AnySource, DeadLetters, Sink, Source};
use forebay_embedded::{SourceOptions, Store};
use forebay_kafka::{Create, KafkaOptions, KafkaQueue};
use forebay_rabbitmq::{Identity, RabbitOptions, RabbitQueue};
use forebay_sqs::{SqsOptions, SqsQueue, Topology};
use std::{env, error::Error};

/// A queue, opened at whatever broker: what a worker takes from, what a producer puts into, and what
/// became of the rest.
#[derive(Debug)]
pub struct Connection {
    /// For the worker.
    pub source: AnySource,
    /// For producers.
    pub sink: AnySink,
    /// For operators.
    pub dead: AnyDeadLetters,
    /// Keeps a temporary file for as long as it is used.
    _folder: Option<Folder>,
}

impl Connection {
    fn new(source: impl Source, queue: impl Sink + DeadLetters + Clone) -> Self {
        Self {
            source: AnySource::new(source),
            sink: AnySink::new(queue.clone()),
            dead: AnyDeadLetters::new(queue),
            _folder: None,
        }
    }
}

/// Opens the queue called `name` at the broker that the command line names.
///
/// # Errors
/// When it names none that there is, or the broker cannot be used.
pub async fn connect(name: &str) -> Result<Connection, Box<dyn Error>> {
    let name = switch("--queue").unwrap_or_else(|| name.to_owned());
    let variable = |name: &str, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    match switch("--source").as_deref().unwrap_or("embedded") {
        "embedded" => {
            let folder = Folder::from_args()?;
            let queue = Store::open(folder.file("queue.db"))?.queue(&name).await?;
            let source = queue.source(&SourceOptions::default());
            Ok(Connection { _folder: Some(folder), ..Connection::new(source, queue) })
        }
        "kafka" => {
            let brokers = variable("FOREBAY_KAFKA", "127.0.0.1:9092");
            let mut options = KafkaOptions::new(brokers, name);
            options.create = Some(Create { partitions: 3, replication: 1 });
            let queue = KafkaQueue::open(options).await?;
            Ok(Connection::new(queue.source().await?, queue))
        }
        "rabbitmq" => {
            let url = variable("FOREBAY_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2f");
            let mut options = RabbitOptions::new(url, name);
            // An inbox rests on identities; what is published through a sink has one.
            options.identity = Identity::Required;
            let queue = RabbitQueue::open(options).await?;
            Ok(Connection::new(queue.source().await?, queue))
        }
        "sqs" => {
            let mut options = SqsOptions::new(name).topology(Topology::Create);
            options.endpoint = env::var("FOREBAY_SQS").ok();
            let queue = SqsQueue::open(options).await?;
            Ok(Connection::new(queue.source().await?, queue))
        }
        other => {
            let known = "embedded, kafka, rabbitmq, sqs";
            Err(format!("there is no source `{other}`: there are {known}").into())
        }
    }
}

/// The value that follows a switch on the command line.
fn switch(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

/// The first argument that is neither a switch nor its value.
pub(crate) fn folder() -> Option<String> {
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            return Some(argument);
        }
        arguments.next();
    }
    None
}
