//! Producing: idempotent, confirmed by all replicas in sync, and answered by delivery reports.
//!
//! A producer that has met a fatal error (its broker lost what it had confirmed, say) never works
//! again, so it is replaced; what was on its way through the old one has failed, and is sent again by
//! whoever settles again.

use crate::{KafkaError, KafkaOptions, config, copy::Outcome};
use bytes::Bytes;
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError as Fault,
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Called once, with what became of a record; from a thread of the producer's.
pub(crate) type Report = Box<dyn FnOnce(Outcome) + Send + Sync>;

/// A record to be produced.
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    /// `None`: by the key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a Bytes>,
    /// `None` deletes the key from a compacted topic.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

/// Sends records.
pub(crate) struct Producer {
    options: Arc<KafkaOptions>,
    /// In milliseconds; 0: for ever.
    timeout: u128,
    inner: RwLock<Arc<ThreadedProducer<Reports>>>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// `timeout` is how long a record may take to be confirmed; `None`: for ever.
    pub(crate) fn new(
        options: &Arc<KafkaOptions>,
        timeout: Option<Duration>,
    ) -> Result<Self, KafkaError> {
        let timeout = timeout.map_or(0, |timeout| timeout.as_millis());
        let inner = RwLock::new(Arc::new(make(options, timeout)?));
        Ok(Self { options: options.clone(), timeout, inner })
    }

    /// Hands a record to librdkafka, which does not wait. `report` is called in any case.
    pub(crate) fn send(&self, record: Record<'_>, report: Report) {
        let producer = self.current();
        let mut base =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(record.topic, Box::new(Ticket(report)))
                .headers(record.headers);
        base.partition = record.partition;
        base.key = record.key.map(AsRef::as_ref);
        base.payload = record.payload;
        if let Err((fault, base)) = producer.send(base) {
            let code = fault.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
            if code == Code::Fatal {
                self.replace(&producer);
            }
            (base.delivery_opaque.0)(Outcome::Failed(code));
        }
    }

    /// How many partitions a topic has. The producer learns of new ones by that. Blocks.
    pub(crate) fn partitions(&self, topic: &str, timeout: Duration) -> Result<i32, KafkaError> {
        let fail = |fault| KafkaError::new(format!("asking for partitions of `{topic}`"), &fault);
        let producer = self.current();
        let metadata = producer.client().fetch_metadata(Some(topic), timeout).map_err(fail)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map_or(0, |found| found.partitions().len());
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Waits until all that was sent is answered for, as far as the time allows. Blocks.
    pub(crate) fn flush(&self, timeout: Duration) {
        if let Err(fault) = self.current().flush(timeout) {
            tracing::warn!("copies were on their way when the source was closed: {fault}");
        }
    }

    fn current(&self) -> Arc<ThreadedProducer<Reports>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new one in the place of one that has failed.
    fn replace(&self, failed: &Arc<ThreadedProducer<Reports>>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&inner, failed) {
            return;
        }
        if let Some((code, why)) = failed.client().fatal_error() {
            tracing::error!("the producer has failed for good ({code}: {why}): a new one is made");
        }
        match make(&self.options, self.timeout) {
            Ok(new) => *inner = Arc::new(new),
            Err(error) => tracing::error!("no new producer could be made: {error}"),
        }
    }
}

fn make(options: &KafkaOptions, timeout: u128) -> Result<ThreadedProducer<Reports>, KafkaError> {
    let config = config::producer(options, timeout)?;
    config
        .create_with_context(Reports)
        .map_err(|fault| KafkaError::new("making a producer", &fault))
}

/// What travels through librdkafka with a record.
struct Ticket(Report);

/// Takes in delivery reports.
struct Reports;

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, fault: Fault, reason: &str) {
        tracing::debug!("producer: {fault}: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(record) => {
                Outcome::Confirmed { partition: record.partition(), offset: record.offset() }
            }
            Err((fault, _)) => Outcome::Failed(fault.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        (ticket.0)(outcome);
    }
}

/// librdkafka's log, in ours.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", "{facility}: {message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", "{facility}: {message}");
        }
        _ => tracing::debug!(target: "librdkafka", "{facility}: {message}"),
    }
}
