//! How the state of a message travels through a broker that knows only headers.
//!
//! A retry copy, a dead letter and a redriven message are new messages to Kafka, RabbitMQ and SQS.
//! What makes them the same message to Forebay goes along in three headers:
//!
//! | header          | what                                                                | written by            |
//! |-----------------|---------------------------------------------------------------------|-----------------------|
//! | `forebay-id`    | its identity, as text                                               | producers; every copy |
//! | `forebay-key`   | its ordering key, where the broker has no field for one             | producers; every copy |
//! | `forebay-state` | attempts, redrives, times, failures, death: versioned JSON, below   | copies                |
//!
//! ```json
//! {"v":1,"attempt":2,"interrupted":0,"redrives":1,"enqueued_at":1764061200000,"due":1764061260000,
//!  "death":{"reason":"attempts_exhausted","queue":"orders","position":"3:1741","at":1764061300000},
//!  "history":{"v":1,"notes":[…]}}
//! ```
//!
//! One header holds the state, so that it is whole or absent, and counts once against brokers that
//! limit the number of headers. Times are milliseconds since 1970. A field that is not known is
//! ignored, so that workers of neighbouring versions can share a queue; `v` grows only when an older
//! reader would go wrong. A state that cannot be read is reported as a [`CarriedFault`], and the
//! message then counts as new: a broken note is no reason to lose a payload, and the next copy writes
//! it afresh, so attempts stay bounded.

use crate::{
    DeadOrigin, DeadReason, FOREBAY_ID, FailureNote, Headers, History, Message, MessageId,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The header that carries a message's key, where its broker has no field for one.
pub const FOREBAY_KEY: &str = "forebay-key";

/// The header that carries a message's state on the copies that Forebay makes of it.
pub const FOREBAY_STATE: &str = "forebay-state";

const VERSION: u32 = 1;

/// What travels beside payload and headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// The identity; `None` at first sight, if the producer gave none.
    pub id: Option<MessageId>,
    /// The key, if it came as a header.
    pub key: Option<Bytes>,
    /// [`Message::attempt`].
    pub attempt: u32,
    /// [`Message::interrupted`].
    pub interrupted: u32,
    /// [`Message::redrives`].
    pub redrives: u32,
    /// [`Message::enqueued_at`]; `None` at first sight: the broker's own time holds.
    pub enqueued_at: Option<SystemTime>,
    /// Not to be handed out before this.
    pub due: Option<SystemTime>,
    /// [`Message::history`].
    pub history: History,
    /// How it died, on a dead letter.
    pub death: Option<Death>,
}

/// How a message became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeadReason,
    /// Where it was.
    pub origin: DeadOrigin,
    /// When.
    pub at: SystemTime,
}

/// A header of ours that could not be read. It is ignored, and worth a warning.
#[derive(Debug, thiserror::Error)]
#[error("the header `{header}` cannot be read and is ignored: {why}")]
pub struct CarriedFault {
    /// Its name.
    pub header: &'static str,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    interrupted: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    redrives: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enqueued_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    death: Option<DeathWire>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    history: Option<std::borrow::Cow<'a, RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct DeathWire {
    reason: DeadReason,
    queue: String,
    position: String,
    at: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Carried {
    /// What a copy of this message is to carry.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        Self {
            id: Some(message.id.clone()),
            key: message.key.clone(),
            attempt: message.attempt,
            interrupted: message.interrupted,
            redrives: message.redrives,
            enqueued_at: message.enqueued_at,
            due: None,
            history: message.history.clone(),
            death: None,
        }
    }

    /// With one more failure that counts as an attempt.
    #[must_use]
    pub fn failed(mut self, note: FailureNote) -> Self {
        self.attempt = self.attempt.saturating_add(1);
        self.noted(note)
    }

    /// With one more failure that does not count as an attempt.
    #[must_use]
    pub fn noted(mut self, note: FailureNote) -> Self {
        self.history = self.history.with(note);
        self
    }

    /// Due at a time.
    #[must_use]
    pub const fn due(mut self, at: SystemTime) -> Self {
        self.due = Some(at);
        self
    }

    /// Dead.
    #[must_use]
    pub fn died(mut self, reason: DeadReason, origin: DeadOrigin, at: SystemTime) -> Self {
        self.death = Some(Death { reason, origin, at });
        self
    }

    /// On its way back from the dead letters: attempts and interruptions start afresh, the history
    /// stays.
    #[must_use]
    pub fn redriven(mut self) -> Self {
        (self.attempt, self.interrupted) = (0, 0);
        self.redrives = self.redrives.saturating_add(1);
        (self.death, self.due) = (None, None);
        self
    }

    /// The state as the text of [`FOREBAY_STATE`], in at most `room` bytes: where that is short, the
    /// history is cut. `None` where even the state without a history does not fit.
    #[must_use]
    pub fn state(&self, room: usize) -> Option<String> {
        let write = |history: Option<String>| {
            let death = self.death.as_ref().map(|death| DeathWire {
                reason: death.reason,
                queue: death.origin.queue.clone(),
                position: death.origin.position.clone(),
                at: millis(death.at),
            });
            let history = history.and_then(|text| RawValue::from_string(text).ok());
            let wire = Wire {
                v: VERSION,
                attempt: self.attempt,
                interrupted: self.interrupted,
                redrives: self.redrives,
                enqueued_at: self.enqueued_at.map(millis),
                due: self.due.map(millis),
                death,
                history: history.map(std::borrow::Cow::Owned),
            };
            serde_json::to_string(&wire).ok().filter(|text| text.len() <= room)
        };
        let bare = write(None)?;
        if self.history.notes().is_empty() {
            return Some(bare);
        }
        let left = room.saturating_sub(bare.len() + r#","history":"#.len());
        match self.history.to_json(left) {
            Some(history) => write(Some(history)),
            None => Some(bare),
        }
    }

    /// Takes our headers out of those that a message came with. The rest is the producer's, in its
    /// order; what cannot be read is told and left out.
    #[must_use]
    pub fn take<'a>(
        headers: impl IntoIterator<Item = (&'a str, Bytes)>,
    ) -> (Self, Headers, Vec<CarriedFault>) {
        let (mut id, mut key, mut carried) = (None, None, Self::default());
        let (mut rest, mut faults) = (Headers::new(), Vec::new());
        for (name, value) in headers {
            match name {
                FOREBAY_ID => match std::str::from_utf8(&value) {
                    Ok(text) if !text.is_empty() => id = Some(MessageId::from(text)),
                    Ok(_) => faults.push(fault(FOREBAY_ID, "it is empty")),
                    Err(error) => faults.push(fault(FOREBAY_ID, error.to_string())),
                },
                FOREBAY_KEY => key = Some(value),
                FOREBAY_STATE => match Self::read(&value) {
                    Ok(state) => carried = state,
                    Err(why) => faults.push(fault(FOREBAY_STATE, why)),
                },
                _ => rest.append(name, value),
            }
        }
        (Self { id, key, ..carried }, rest, faults)
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        let wire: Wire<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if wire.v > VERSION {
            return Err(format!(
                "it has version {}, and this worker reads up to {VERSION}: update it",
                wire.v
            ));
        }
        let history = match wire.history {
            Some(raw) => History::from_json(raw.get()).map_err(|error| error.to_string())?,
            None => History::new(),
        };
        let death = wire.death.map(|death| {
            Ok::<_, String>(Death {
                reason: death.reason,
                origin: DeadOrigin { queue: death.queue, position: death.position },
                at: time(death.at)?,
            })
        });
        Ok(Self {
            id: None,
            key: None,
            attempt: wire.attempt,
            interrupted: wire.interrupted,
            redrives: wire.redrives,
            enqueued_at: wire.enqueued_at.map(time).transpose()?,
            due: wire.due.map(time).transpose()?,
            history,
            death: death.transpose()?,
        })
    }

    /// The message that these headers, with what the broker says itself, make.
    ///
    /// `id`, `key` and `enqueued_at` are the broker's own, used where nothing was carried.
    #[must_use]
    pub fn into_message(
        self,
        id: impl FnOnce() -> MessageId,
        key: Option<Bytes>,
        payload: Bytes,
        headers: Headers,
        enqueued_at: Option<SystemTime>,
    ) -> Message {
        Message {
            id: self.id.unwrap_or_else(id),
            key: self.key.or(key),
            payload,
            headers,
            attempt: self.attempt,
            interrupted: self.interrupted,
            deliveries: None,
            enqueued_at: self.enqueued_at.or(enqueued_at),
            history: self.history,
            redrives: self.redrives,
        }
    }
}

fn fault(header: &'static str, why: impl Into<String>) -> CarriedFault {
    CarriedFault { header, why: why.into() }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Result<SystemTime, String> {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .ok_or_else(|| "a time beyond what the system can hold".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn note(text: &str) -> FailureNote {
        FailureNote::new(FailureKind::Transient, text, at(5))
    }

    fn whole() -> Carried {
        let mut message = Message::new("order-1", "x");
        message.enqueued_at = Some(at(1_000));
        message.attempt = 1;
        message.redrives = 3;
        let origin = DeadOrigin { queue: "orders".into(), position: "3:17".into() };
        Carried::of(&message).failed(note("no \"route\"")).due(at(2_000)).died(
            DeadReason::TooOld,
            origin,
            at(3_000),
        )
    }

    fn headers(carried: &Carried, room: usize) -> Option<(Carried, Headers, Vec<CarriedFault>)> {
        let state = carried.state(room)?;
        assert!(state.len() <= room, "{} > {room}", state.len());
        let id = carried.id.as_ref().unwrap().to_string();
        let ours = [(FOREBAY_ID, Bytes::from(id)), (FOREBAY_STATE, Bytes::from(state))];
        Some(Carried::take(ours.into_iter().chain([("mine", Bytes::from_static(b"1"))])))
    }

    #[test]
    fn it_survives_being_written_and_read() {
        let (read, rest, faults) = headers(&whole(), usize::MAX).unwrap();
        assert_eq!(read, whole());
        assert_eq!(rest.get_str("mine"), Some("1"));
        assert!(faults.is_empty() && rest.len() == 1);
    }

    #[test]
    fn short_room_costs_the_history_and_nothing_else() {
        let mut carried = whole();
        for n in 0..20 {
            carried = carried.noted(note(&format!("error {n}")));
        }
        let bare = Carried { history: History::new(), ..carried.clone() };
        let least = bare.state(usize::MAX).unwrap().len();
        for room in 0..least + 2_000 {
            match headers(&carried, room) {
                None => assert!(room < least),
                Some((read, ..)) => {
                    let read = Carried { history: History::new(), ..read };
                    assert_eq!(read, bare);
                }
            }
        }
    }

    #[test]
    fn redriving_starts_afresh_and_keeps_the_history() {
        let back = whole().redriven();
        assert_eq!((back.attempt, back.redrives, &back.death), (0, 4, &None));
        assert_eq!(back.history, whole().history);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_message_counts_as_new() {
        for (text, says) in [
            ("nonsense", "expected"),
            (r#"{"v":9}"#, "version 9"),
            (r#"{"v":1,"attempt":-1}"#, "invalid value"),
            (r#"{"v":1,"due":"noon"}"#, "invalid type"),
            (r#"{"v":1,"history":[]}"#, "history"),
        ] {
            let (read, rest, faults) =
                Carried::take([(FOREBAY_STATE, Bytes::from(text)), ("a", Bytes::new())]);
            assert_eq!(read, Carried::default(), "{text}");
            assert_eq!((rest.len(), faults.len()), (1, 1));
            let said = faults[0].to_string();
            assert!(said.contains(says) && said.contains(FOREBAY_STATE), "{said}");
        }
        let (read, _, faults) = Carried::take([(FOREBAY_ID, Bytes::from_static(b"\xff"))]);
        assert_eq!((read.id, faults.len()), (None, 1));
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored() {
        let text = r#"{"v":1,"attempt":2,"colour":"blue"}"#;
        let (read, _, faults) = Carried::take([(FOREBAY_STATE, Bytes::from(text))]);
        assert_eq!((read.attempt, faults.len()), (2, 0));
    }
}
