//! The queues: declared, looked at, or left alone.
//!
//! ```text
//!   orders              the messages
//!   orders.retry.<ms>   one queue for each delay; what expires there goes back to `orders`
//!   orders.dead         the dead letters, without any limit
//! ```
//!
//! Delays and dead letters are quorum queues whatever `orders` is: only they pass an expired message
//! on with a confirm (`x-dead-letter-strategy=at-least-once`), so that none is lost on the way.
//!
//! Each question goes through a channel of its own, because the broker answers one that it does not
//! like by closing the channel.

use crate::{QueueKind, RabbitError, Topology, error::reply, link::Link, options::Checked};
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A delivery limit that is never reached: RabbitMQ 4 gives a quorum queue one of 20 if none is set,
/// and would throw away a dead letter that is looked at more often.
pub(crate) const NEVER: i64 = 1_000_000_000;

/// A delivery limit that the dead letters do not come to: each look at them counts.
const ENOUGH_LOOKS: u64 = 1_000_000;

/// How long a new queue is left alone. RabbitMQ notes a new quorum queue on disk only some time after
/// it has declared it (half a second, it seems): seen on 3.10.8, one that was killed at once after
/// forgot the queue, and with it messages that it had confirmed.
const TAKES_ROOT: Duration = Duration::from_secs(1);

/// For how long a queue that was not there is taken not to be.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// How many of its arguments a queue is asked for, one after the other.
const MOST_ARGUMENTS: usize = 24;

/// Sees to the queues of one [`crate::RabbitQueue`].
#[derive(Debug)]
pub(crate) struct Queues {
    checked: Arc<Checked>,
    link: Arc<Link>,
    /// Queues that were declared here.
    known: Mutex<HashSet<String>>,
    /// Queues that were not there when last asked for.
    missing: Mutex<HashMap<String, Instant>>,
}

impl Queues {
    pub(crate) fn new(checked: Arc<Checked>, link: Arc<Link>) -> Self {
        Self { checked, link, known: Mutex::default(), missing: Mutex::default() }
    }

    /// Sees to it that the queue and its dead letters are there; before use, and after each loss of
    /// the connection.
    pub(crate) async fn ready(&self) -> Result<(), RabbitError> {
        let Checked { options, dead, .. } = &*self.checked;
        match options.topology {
            Topology::Leave => Ok(()),
            Topology::Declare => {
                tokio::try_join!(self.declare(dead), self.declare(&options.queue))?;
                Ok(())
            }
            Topology::Verify => {
                self.count(&options.queue).await?;
                self.count(dead).await?;
                for step in self.checked.ladder.steps() {
                    self.count(&self.checked.retry_queue(*step)).await?;
                }
                self.verify().await
            }
        }
    }

    /// Sees to it that a queue can be published to. Cheap when it is known.
    pub(crate) async fn ensure(&self, queue: &str) -> Result<(), RabbitError> {
        if self.is_ready(queue) { Ok(()) } else { self.declare(queue).await }
    }

    /// Whether a queue need not be asked for before it is published to.
    pub(crate) fn is_ready(&self, queue: &str) -> bool {
        self.checked.options.topology != Topology::Declare || self.is_known(queue)
    }

    /// It seems to be gone. Whether it can be declared again.
    pub(crate) fn forget(&self, queue: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
        self.checked.options.topology == Topology::Declare
    }

    fn is_known(&self, queue: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    /// The queues of all delays that there are.
    pub(crate) fn delays(&self) -> impl Iterator<Item = String> {
        self.checked.ladder.steps().iter().map(|step| self.checked.retry_queue(*step))
    }

    /// How many messages are ready in a queue, and how many consume from it.
    pub(crate) async fn count(&self, queue: &str) -> Result<(u32, u32), RabbitError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.link.channel().await?;
        let asked = channel.queue_declare(queue.into(), passive, FieldTable::default());
        let declared = self.link.answer(asked).await?;
        let queue = declared.map_err(|error| RabbitError::about(queue, &error))?;
        Ok((queue.message_count(), queue.consumer_count()))
    }

    /// As [`Queues::count`], of a queue that need not be there. One that is not is not asked for
    /// again for a while: each such question is an error in the broker's log.
    pub(crate) async fn count_if_there(&self, queue: &str) -> Result<u64, RabbitError> {
        let now = Instant::now();
        let missing = |at: &Instant| now.duration_since(*at) < MISSING_FOR;
        let lock = || self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_known(queue) && lock().get(queue).is_some_and(missing) {
            return Ok(0);
        }
        match self.count(queue).await {
            Ok((messages, _)) => Ok(messages.into()),
            Err(RabbitError::NoQueue { .. }) => {
                lock().insert(queue.to_owned(), now);
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    async fn declare(&self, queue: &str) -> Result<(), RabbitError> {
        let is_new = match self.count(queue).await {
            Ok(_) => false,
            Err(RabbitError::NoQueue { .. }) => true,
            Err(error) => return Err(error),
        };
        let arguments = self.arguments(queue);
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let channel = self.link.channel().await?;
        let asked = channel.queue_declare(queue.into(), durable, arguments);
        let declared = self.link.answer(asked).await?;
        declared.map_err(|error| RabbitError::about(queue, &error))?;
        if is_new {
            tokio::time::sleep(TAKES_ROOT).await;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned());
        Ok(())
    }

    /// The arguments of one of our queues.
    fn arguments(&self, queue: &str) -> FieldTable {
        let Checked { options, dead, .. } = &*self.checked;
        let mut table = FieldTable::default();
        let mut set = |name: &str, value: AMQPValue| {
            table.insert(name.into(), value);
        };
        let text = |text: &str| AMQPValue::LongString(text.into());
        let leads_to = |set: &mut dyn FnMut(&str, AMQPValue), queue: &str| {
            set("x-dead-letter-exchange", text(""));
            set("x-dead-letter-routing-key", text(queue));
        };
        let quorum = |set: &mut dyn FnMut(&str, AMQPValue)| {
            set("x-queue-type", text("quorum"));
            set("x-dead-letter-strategy", text("at-least-once"));
            set("x-overflow", text("reject-publish"));
        };
        if queue == options.queue {
            leads_to(&mut set, dead);
            match options.kind {
                QueueKind::Quorum => {
                    quorum(&mut set);
                    set("x-delivery-limit", AMQPValue::LongLongInt(options.delivery_limit.into()));
                }
                QueueKind::Classic => set("x-queue-type", text("classic")),
            }
            if options.ordered {
                set("x-single-active-consumer", AMQPValue::Boolean(true));
            }
            if let Some(max) = options.max_priority {
                set("x-max-priority", AMQPValue::LongLongInt(max.into()));
            }
        } else if let Some((_, millis)) = queue.rsplit_once(".retry.") {
            quorum(&mut set);
            leads_to(&mut set, &options.queue);
            set("x-message-ttl", AMQPValue::LongLongInt(millis.parse().unwrap_or(i64::MAX)));
            set("x-delivery-limit", AMQPValue::LongLongInt(NEVER));
        } else {
            set("x-queue-type", text("quorum"));
            set("x-delivery-limit", AMQPValue::LongLongInt(NEVER));
        }
        table
    }

    /// Refuses queues that throw messages away, or whose workers overtake each other.
    async fn verify(&self) -> Result<(), RabbitError> {
        let Checked { options, dead, .. } = &*self.checked;
        if let Some(arguments) = self.learn_if_allowed(dead).await? {
            keeps(dead, &arguments, ENOUGH_LOOKS)?;
        }
        let queue = &options.queue;
        let Some(arguments) = self.learn_if_allowed(queue).await? else { return Ok(()) };
        // However high a limit is, a message that kills its workers comes to it.
        keeps(queue, &arguments, u64::MAX)?;
        let single = arguments.inner().get("x-single-active-consumer");
        if options.ordered && single != Some(&AMQPValue::Boolean(true)) {
            return Err(RabbitError::ManyConsumers { queue: queue.clone() });
        }
        Ok(())
    }

    /// The arguments of a queue that is there; none, and a warning, where the user has no right to
    /// see them.
    async fn learn_if_allowed(&self, queue: &str) -> Result<Option<FieldTable>, RabbitError> {
        match self.learn(queue).await {
            Ok(arguments) => Ok(Some(arguments)),
            Err(RabbitError::NotAllowed { why }) => {
                tracing::warn!(
                    %queue,
                    "cannot see the queue's arguments without the right to configure it ({why}): \
                     whether it has a delivery limit without a dead-letter exchange is not known"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The arguments of a queue that is there.
    ///
    /// AMQP has no word for that. But a declaration that does not fit is refused with the name and
    /// the value of the first argument that differs; so they are asked for one by one.
    async fn learn(&self, queue: &str) -> Result<FieldTable, RabbitError> {
        let mut arguments = FieldTable::default();
        let mut durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        for _ in 0..MOST_ARGUMENTS {
            let channel = self.link.channel().await?;
            let asked = channel.queue_declare(queue.into(), durable, arguments.clone());
            let declared = self.link.answer(asked).await?;
            let Err(error) = declared else { return Ok(arguments) };
            let said = reply(&error).map(|(_, said)| said).unwrap_or_default();
            match differs(&said) {
                Some(("durable", AMQPValue::Boolean(is))) => durable.durable = is,
                Some(("exclusive", AMQPValue::Boolean(is))) => durable.exclusive = is,
                Some(("auto_delete", AMQPValue::Boolean(is))) => durable.auto_delete = is,
                Some((name, value)) => {
                    let Ok(name) = lapin::types::ShortString::try_new(name) else { break };
                    arguments.insert(name, value);
                }
                None => return Err(RabbitError::about(queue, &error)),
            }
        }
        Err(RabbitError::Broker(format!("`{queue}` has more arguments than can be looked at")))
    }
}

/// Refuses a queue that throws away what is delivered more often than its limit, if that is less than
/// enough.
///
/// A quorum queue without a limit is refused on every version: which one the broker is the client
/// library does not tell, and a broker is upgraded under a queue that was looked at before. What a
/// policy sets cannot be seen here at all.
fn keeps(queue: &str, arguments: &FieldTable, enough: u64) -> Result<(), RabbitError> {
    if arguments.contains_key("x-dead-letter-exchange") {
        return Ok(());
    }
    let argument = |name: &str| arguments.inner().get(name);
    let queue = queue.to_owned();
    let is_quorum =
        argument("x-queue-type").and_then(crate::table::text).as_deref() == Some("quorum");
    match argument("x-delivery-limit").map(crate::table::number) {
        Some(Some(limit)) if limit < enough => {
            Err(RabbitError::Discards { queue, limit: limit.to_string() })
        }
        None if is_quorum => Err(RabbitError::DiscardsFrom4 { queue }),
        // Below zero, RabbitMQ 4 knows no limit.
        _ => Ok(()),
    }
}

/// Reads `inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received none but current
/// is the value '3' of type 'signedint'`: the name, and the value that the queue has.
fn differs(said: &str) -> Option<(&str, AMQPValue)> {
    let (_, rest) = said.split_once("inequivalent arg '")?;
    let (name, rest) = rest.split_once('\'')?;
    let (_, current) = rest.rsplit_once("current is ")?;
    let Some(current) = current.strip_prefix("the value '") else {
        // Flags are told without quotes: `received 'false' but current is 'true'`.
        let is = current.trim_matches(|c: char| !c.is_alphanumeric()).parse().ok()?;
        return Some((name, AMQPValue::Boolean(is)));
    };
    let (value, kind) = current.rsplit_once("' of type '")?;
    let value = match kind.trim_end_matches('\'') {
        "longstr" => AMQPValue::LongString(value.into()),
        "bool" => AMQPValue::Boolean(value.parse().ok()?),
        _ => AMQPValue::LongLongInt(value.parse().ok()?),
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_read_from_the_brokers_words() {
        let said = "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'it's' in \
                    vhost '/': received none but current is the value '3' of type 'signedint'";
        assert_eq!(differs(said), Some(("x-delivery-limit", AMQPValue::LongLongInt(3))));
        let said = "inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received \
                    none but current is the value 'd'lx' of type 'longstr'";
        assert_eq!(
            differs(said),
            Some(("x-dead-letter-exchange", AMQPValue::LongString("d'lx".into())))
        );
        let said = "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but \
                    current is 'false'";
        assert_eq!(differs(said), Some(("durable", AMQPValue::Boolean(false))));
        assert_eq!(differs("no queue 'q' in vhost '/'"), None);
    }
}
