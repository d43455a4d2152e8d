//! Records of Kafka as messages, and messages as records.

use bytes::Bytes;
use forebay_contract::{
    Carried, CarriedFault, FOREBAY_ID, FOREBAY_STATE, Headers, History, Message, MessageId,
};
use rdkafka::message::{
    BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What frames a record besides key, payload and headers: lengths, offsets, a batch's head.
const FRAME: usize = 512;

/// The least room for a state: where the message alone seems to fill a record, the broker decides.
const LEAST_ROOM: usize = 4 << 10;

/// What a copy carries of ours. A message that others have published may leave no room in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Its identity and its state, with a history.
    All,
    /// Its identity and its state, without a history.
    NoHistory,
    /// Nothing: it is as large as it was.
    Nothing,
}

impl Carries {
    /// From the most to the least.
    pub(crate) const EACH: [Self; 3] = [Self::All, Self::NoHistory, Self::Nothing];

    /// The state as text, in at most `room` bytes of history.
    pub(crate) fn state(self, carried: Carried, room: usize) -> Option<String> {
        match self {
            Self::All => carried.state(room),
            Self::NoHistory => Carried { history: History::new(), ..carried }.state(usize::MAX),
            Self::Nothing => None,
        }
    }
}

/// A record that was read.
pub(crate) struct Read {
    pub(crate) offset: i64,
    pub(crate) message: Arc<Message>,
    /// Not to be handed out before.
    pub(crate) due: Option<SystemTime>,
    /// Since when it has been there.
    pub(crate) since: Option<SystemTime>,
    /// On a dead letter.
    pub(crate) carried_death: Option<forebay_contract::Death>,
}

/// Reads a record. `topic` is where from: the identity of a message that brings none.
pub(crate) fn read(record: &BorrowedMessage<'_>, topic: &str) -> Read {
    let offset = record.offset();
    let payload = record.payload().map_or_else(Bytes::new, Bytes::copy_from_slice);
    let key = record.key().map(Bytes::copy_from_slice);
    let since = record.timestamp().to_millis().and_then(time);
    let id = || MessageId::from(format!("{topic}:{}:{offset}", record.partition()));
    let Some(headers) = record.headers().filter(|headers| headers.count() > 0) else {
        // The common case: no header, so nothing to take out of them.
        let mut message = Message::new(id(), payload);
        (message.key, message.enqueued_at) = (key, since);
        let message = Arc::new(message);
        return Read { offset, message, due: None, since, carried_death: None };
    };
    let (pairs, broken) = pairs(headers);
    let (mut carried, rest, faults) =
        Carried::take(pairs.iter().map(|(name, value)| (name.as_str(), value.clone())));
    for fault in faults {
        warn(topic, record, &fault);
    }
    if broken > 0 {
        tracing::warn!(
            topic,
            partition = record.partition(),
            offset,
            "{broken} headers have names that are not UTF-8: they are left out"
        );
    }
    let due = carried.due;
    let carried_death = carried.death.take();
    let message = Arc::new(carried.into_message(id, key, payload, rest, since));
    Read { offset, message, due, since, carried_death }
}

/// As [`read`], with where the record was.
pub(crate) fn read_any(record: &BorrowedMessage<'_>) -> (String, i32, Read) {
    let topic = record.topic();
    (topic.to_owned(), record.partition(), read(record, topic))
}

fn warn(topic: &str, record: &BorrowedMessage<'_>, fault: &CarriedFault) {
    tracing::warn!(topic, partition = record.partition(), offset = record.offset(), "{fault}");
}

/// All headers, and how many had to be left out. rdkafka panics on a name that is not UTF-8, so
/// that each such header is asked for alone, and its panic caught.
fn pairs(headers: &BorrowedHeaders) -> (Vec<(String, Bytes)>, usize) {
    let one = |i: usize| {
        headers.try_get(i).map(|header| {
            (header.key.to_owned(), header.value.map_or_else(Bytes::new, Bytes::copy_from_slice))
        })
    };
    let all = || (0..headers.count()).filter_map(one).collect::<Vec<_>>();
    if let Ok(all) = catch_unwind(AssertUnwindSafe(all)) {
        return (all, 0);
    }
    let some: Vec<_> = (0..headers.count())
        .filter_map(|i| catch_unwind(AssertUnwindSafe(|| one(i))).ok().flatten())
        .collect();
    let broken = headers.count() - some.len();
    (some, broken)
}

/// The headers of a record: ours, then the producer's.
pub(crate) fn headers(id: Option<&MessageId>, state: Option<&str>, rest: &Headers) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(rest.len() + 2);
    if let Some(id) = id {
        let id = id.to_string();
        headers = headers.insert(Header { key: FOREBAY_ID, value: Some(&id) });
    }
    if let Some(state) = state {
        headers = headers.insert(Header { key: FOREBAY_STATE, value: Some(state) });
    }
    for (name, value) in rest.iter() {
        headers = headers.insert(Header { key: name, value: Some(value.as_ref()) });
    }
    headers
}

/// How many bytes of state a copy of this message has room for.
pub(crate) fn room(message: &Message, max_message_bytes: usize) -> usize {
    let headers = message.headers.len() * 12 + message.id.to_string().len();
    max_message_bytes.saturating_sub(message.size() + headers + FRAME).max(LEAST_ROOM)
}

/// Bytes that a message takes as a record, before any state.
pub(crate) fn size(key: Option<&Bytes>, payload: &Bytes, headers: &Headers) -> usize {
    payload.len() + key.map_or(0, Bytes::len) + headers.size() + headers.len() * 12 + FRAME
}

/// A time of Kafka's.
pub(crate) fn time(millis: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
}
