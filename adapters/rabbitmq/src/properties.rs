//! AMQP's properties of a message, read into what Forebay knows, and written for its copies.
//!
//! | of the original | on a copy |
//! |---|---|
//! | content type and encoding, correlation id, message id, reply-to, timestamp, type, app id, priority | kept |
//! | headers, of whatever type | kept, but for those below |
//! | `x-death` and its like, `x-delivery-count` | left out: they tell of another queue's doings |
//! | `CC`, `BCC` | left out: the broker would send every copy to those, too |
//! | `user_id` | kept only if it is our own: the broker refuses another's |
//! | `expiration` | left out: a copy would not wait its time |
//! | delivery mode | persistent |

use crate::{RabbitError, options::Identity, table};
use bytes::Bytes;
use forebay_contract::{
    Carried, CarriedFault, DeadReason, FOREBAY_ID, FOREBAY_KEY, FOREBAY_STATE, Headers, Message,
    MessageId,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Persistent, as AMQP writes it.
const PERSISTENT: u8 = 2;

/// What the properties beside the headers, and the frame itself, take at most.
const FRAME_RESERVE: usize = 4_096;

/// A message as it came, with what only the broker knows.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) message: Message,
    /// How often the broker says that it came back; quorum queues count that.
    pub(crate) returns: Option<u32>,
    /// Whether its identity will be the same at its next delivery.
    pub(crate) identified: bool,
    /// What Forebay noted of its death, or else the broker.
    pub(crate) death: Option<Death>,
    /// Headers of ours that could not be read.
    pub(crate) faults: Vec<CarriedFault>,
}

/// How a message died.
#[derive(Debug)]
pub(crate) enum Death {
    Ours(forebay_contract::Death),
    /// By the broker: a delivery limit, a TTL, a full queue.
    Brokers {
        reason: DeadReason,
        why: String,
        queue: String,
        at: SystemTime,
    },
}

/// Headers that the broker sets, and that mean nothing on a copy.
fn is_brokers(name: &str) -> bool {
    matches!(name, "x-death" | "x-delivery-count" | "x-acquired-count" | "CC" | "BCC")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

/// Reads a message.
pub(crate) fn read(properties: &BasicProperties, payload: Bytes, identity: Identity) -> Incoming {
    let (mut returns, mut brokers) = (None, None);
    let (carried, headers, faults) = match properties.headers() {
        Some(table) => {
            returns = table.inner().get("x-delivery-count").and_then(table::number);
            brokers = table.inner().get("x-death").and_then(death_by_broker);
            let ours = table.into_iter().filter(|(name, _)| !is_brokers(name.as_str()));
            Carried::take(ours.flat_map(|(name, value)| {
                table::shown(value).map(move |bytes| (name.as_str(), bytes))
            }))
        }
        None => (Carried::default(), Headers::new(), Vec::new()),
    };
    let native = match identity {
        Identity::Header => None,
        Identity::MessageId | Identity::Required => properties.message_id().as_ref(),
    };
    let native = native.filter(|id| !id.as_str().is_empty());
    let identified = carried.id.is_some() || native.is_some();
    let death = carried.death.clone().map(Death::Ours).or(brokers);
    let sent = properties.timestamp().and_then(time);
    let id = || native.map_or_else(made_up, |id| MessageId::from(id.as_str()));
    let message = carried.into_message(id, None, payload, headers, sent);
    let returns = returns.map(|returns| u32::try_from(returns).unwrap_or(u32::MAX));
    Incoming { message, returns, identified, death, faults }
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// An identity for a message that has none. No other message gets the same.
pub(crate) fn made_up() -> MessageId {
    // The keys of a hash table are the standard library's randomness.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    MessageId::from(KEYS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The newest entry of `x-death`: why, where and when the broker gave a message up.
fn death_by_broker(value: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldArray(list) = value else { return None };
    let Some(AMQPValue::FieldTable(entry)) = list.as_slice().first() else { return None };
    let field = |name: &str| entry.inner().get(name);
    let why = field("reason").and_then(table::text).unwrap_or_else(|| "unknown".into());
    let reason = match why.as_str() {
        "delivery_limit" => DeadReason::KilledWorker,
        "expired" => DeadReason::TooOld,
        _ => DeadReason::Permanent,
    };
    let queue = field("queue").and_then(table::text).unwrap_or_default();
    let at = field("time").and_then(table::number).and_then(time).unwrap_or(UNIX_EPOCH);
    Some(Death::Brokers { reason, why, queue, at })
}

/// The properties of a copy of a message: the original's, with this state.
///
/// # Errors
/// [`RabbitError::TooLarge`] where the headers do not fit into a frame. A history is cut before that.
pub(crate) fn of_copy(
    original: &BasicProperties,
    carried: &Carried,
    user: &str,
    frame_max: usize,
) -> Result<BasicProperties, RabbitError> {
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flatten() {
        if !is_brokers(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    state(&mut headers, carried, frame_max)?;
    let mut copy = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($get:ident $set:ident),*) => {
            $(if let Some(value) = original.$get() {
                copy = copy.$set(value.clone());
            })*
        };
    }
    keep!(
        content_type with_content_type, content_encoding with_content_encoding,
        priority with_priority, correlation_id with_correlation_id, reply_to with_reply_to,
        message_id with_message_id, timestamp with_timestamp, kind with_type,
        app_id with_app_id, cluster_id with_cluster_id
    );
    if let Some(id) = original.user_id().as_ref().filter(|id| id.as_str() == user) {
        copy = copy.with_user_id(id.clone());
    }
    Ok(copy)
}

/// Writes Forebay's own headers into a table.
fn state(headers: &mut FieldTable, carried: &Carried, frame_max: usize) -> Result<(), RabbitError> {
    if let Some(id) = &carried.id {
        headers.insert(FOREBAY_ID.into(), table::value(id.to_string().as_bytes()));
    }
    if let Some(key) = &carried.key {
        headers.insert(FOREBAY_KEY.into(), table::value(key));
    }
    headers.insert(FOREBAY_STATE.into(), table::value(b""));
    let (taken, most) = (table::wire_size(headers), frame_max.saturating_sub(FRAME_RESERVE));
    let text = most.checked_sub(taken).and_then(|room| carried.state(room));
    let Some(text) = text else { return Err(too_large(taken, most)) };
    headers.insert(FOREBAY_STATE.into(), table::value(text.as_bytes()));
    Ok(())
}

fn too_large(taken: usize, most: usize) -> RabbitError {
    RabbitError::TooLarge(format!(
        "the headers take {taken} bytes and what Forebay notes beside them, and RabbitMQ takes \
         {most} in all: send less in headers, or raise `frame_max` on the broker"
    ))
}

/// The properties of a new message.
///
/// # Errors
/// [`RabbitError::TooLarge`] where a name or the whole of the headers is too long for AMQP;
/// [`RabbitError::Header`] for one that would have the broker copy the message elsewhere, or, where
/// it is no list, close the channel.
pub(crate) fn of_new(
    id: &MessageId,
    key: Option<&Bytes>,
    headers: &Headers,
    frame_max: usize,
) -> Result<BasicProperties, RabbitError> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        if matches!(name, "CC" | "BCC") {
            return Err(RabbitError::Header { name: name.to_owned() });
        }
        let long = |_| {
            RabbitError::TooLarge(format!(
                "a header's name has at most 255 bytes, and `{name}` has more"
            ))
        };
        let name = ShortString::try_new(name).map_err(long)?;
        let value = table::value(value);
        let value = match table.inner().get(name.as_str()).cloned() {
            None => value,
            Some(AMQPValue::FieldArray(list)) => {
                AMQPValue::FieldArray([list.as_slice(), &[value]].concat().into())
            }
            Some(first) => AMQPValue::FieldArray(FieldArray::from(vec![first, value])),
        };
        table.insert(name, value);
    }
    let text = id.to_string();
    table.insert(FOREBAY_ID.into(), table::value(text.as_bytes()));
    if let Some(key) = key {
        table.insert(FOREBAY_KEY.into(), table::value(key));
    }
    let (taken, most) = (table::wire_size(&table), frame_max.saturating_sub(FRAME_RESERVE));
    if taken > most {
        return Err(too_large(taken, most));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let properties = BasicProperties::default()
        .with_headers(table)
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(now.as_secs());
    Ok(match ShortString::try_new(text) {
        Ok(id) => properties.with_message_id(id),
        Err(_) => properties, // too long for the property; the header has it
    })
}
