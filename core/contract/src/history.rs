//! What went wrong with a message so far: a bounded list that travels with it.
//!
//! It travels as JSON text (a header, a column, a dead-letter envelope), so workers of different
//! versions and people with a shell can read it. It is bounded twice, in entries and in bytes of
//! error text, because it shares the broker's size limit with the payload; the payload always wins.

use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The version that [`History::to_json`] writes. A reader refuses what is newer than it knows.
const VERSION: u32 = 1;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler failed in a way that may pass.
    Transient,
    /// The handler did not finish in time.
    Timeout,
    /// The handler panicked.
    Panic,
    /// The system behind the handler asked for less.
    Throttled,
    /// The handler said that this message can never succeed.
    Permanent,
    /// The payload could not be decoded.
    Decode,
    /// The process ended, or the lease was lost, while the message was out.
    Interrupted,
}

impl FailureKind {
    /// Its name in text: `transient`, `timeout`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Throttled => "throttled",
            Self::Permanent => "permanent",
            Self::Decode => "decode",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One recorded failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The error and its causes as text; at most [`FailureNote::MAX_ERROR`] bytes.
    pub error: String,
    /// When, by the worker's clock, to the millisecond.
    #[serde(with = "millis")]
    pub at: SystemTime,
}

impl FailureNote {
    /// Longer error texts are cut to this many bytes.
    pub const MAX_ERROR: usize = 1024;

    /// Notes a failure; the text is cut where it is too long, never in the middle of a character.
    #[must_use]
    pub fn new(kind: FailureKind, error: impl Into<String>, at: SystemTime) -> Self {
        let mut error = error.into();
        if error.len() > Self::MAX_ERROR {
            let cut = error.floor_char_boundary(Self::MAX_ERROR - '…'.len_utf8());
            error.truncate(cut);
            error.push('…');
        }
        Self { kind, error, at: millis::floor(at) }
    }
}

/// The recorded failures of a message, oldest first. Cloning shares them; empty costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Option<Arc<[FailureNote]>>);

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u32,
    #[serde(borrow)]
    notes: std::borrow::Cow<'a, [FailureNote]>,
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// It is not the JSON that a history is written as.
    #[error("the failure history is not readable: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by a newer version.
    #[error(
        "the failure history has version {0}, and this worker reads up to {VERSION}: update it"
    )]
    Newer(u32),
}

impl History {
    /// How many failures are kept: the first, which tells how it began, and the newest.
    pub const MAX_NOTES: usize = 16;

    /// No failure yet; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// This history and one more failure. Beyond [`History::MAX_NOTES`] the second oldest goes.
    #[must_use]
    pub fn with(&self, note: FailureNote) -> Self {
        let skip_second = usize::from(self.notes().len() >= Self::MAX_NOTES);
        let first = self.notes().iter().take(1);
        let rest = self.notes().iter().skip(1 + skip_second);
        Self(Some(first.chain(rest).cloned().chain([note]).collect()))
    }

    /// The recorded failures, oldest first.
    #[must_use]
    pub fn notes(&self) -> &[FailureNote] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The first failure: when the trouble began.
    #[must_use]
    pub fn first(&self) -> Option<&FailureNote> {
        self.notes().first()
    }

    /// The latest failure.
    #[must_use]
    pub fn last(&self) -> Option<&FailureNote> {
        self.notes().last()
    }

    /// As versioned JSON text. Where `room` bytes do not hold it, the oldest notes but the first go,
    /// then error texts, then everything: the result is at most `room` bytes, or `None`.
    #[must_use]
    pub fn to_json(&self, room: usize) -> Option<String> {
        let mut notes = self.notes().to_vec();
        loop {
            let wire = Wire { v: VERSION, notes: (&notes).into() };
            let text = serde_json::to_string(&wire).ok()?;
            if text.len() <= room {
                return Some(text);
            }
            match notes.len() {
                0 => return None,
                1 if notes[0].error.is_empty() => return None,
                1 => notes[0].error.clear(),
                _ => drop(notes.remove(1)),
            }
        }
    }

    /// Reads what [`History::to_json`] wrote.
    ///
    /// # Errors
    /// [`HistoryError`] when it is something else, or newer. The caller keeps the message and
    /// goes on with an empty history: a broken note is no reason to lose a payload.
    pub fn from_json(text: &str) -> Result<Self, HistoryError> {
        let wire: Wire<'_> = serde_json::from_str(text)?;
        if wire.v > VERSION {
            return Err(HistoryError::Newer(wire.v));
        }
        let notes = wire.notes.into_owned();
        Ok(Self((!notes.is_empty()).then(|| notes.into())))
    }
}

/// Wall-clock times as whole milliseconds since 1970, which every language reads.
mod millis {
    use super::{Duration, SystemTime, UNIX_EPOCH};
    use serde::{Deserialize, Deserializer, Serializer};

    fn of(at: SystemTime) -> u64 {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn floor(at: SystemTime) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(of(at))
    }

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(of(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(u64::deserialize(d)?))
            .ok_or_else(|| serde::de::Error::custom("a time beyond what the system can hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(error: &str) -> FailureNote {
        FailureNote::new(FailureKind::Transient, error, SystemTime::now())
    }

    fn history(n: usize) -> History {
        (0..n).fold(History::new(), |history, i| history.with(note(&format!("error {i}"))))
    }

    #[test]
    fn the_first_and_the_newest_are_kept() {
        let history = history(100);
        let errors: Vec<_> = history.notes().iter().map(|n| n.error.as_str()).collect();
        assert_eq!(errors.len(), History::MAX_NOTES);
        assert_eq!((errors[0], errors[1], errors[15]), ("error 0", "error 85", "error 99"));
    }

    #[test]
    fn it_survives_being_written_and_read() {
        for n in [0, 1, 16] {
            let history = history(n);
            let text = history.to_json(usize::MAX).unwrap();
            assert_eq!(History::from_json(&text).unwrap(), history);
        }
    }

    #[test]
    fn short_room_cuts_the_history_to_fit() {
        let history = history(16);
        let whole = history.to_json(usize::MAX).unwrap().len();
        for room in 0..=whole {
            if let Some(text) = history.to_json(room) {
                assert!(text.len() <= room);
                History::from_json(&text).unwrap();
            }
        }
        assert_eq!(history.to_json(10), None);
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let error = History::from_json(r#"{"v":2,"notes":[]}"#).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
        assert!(History::from_json("nonsense").is_err());
        assert!(History::from_json(r#"{"v":1,"notes":[{"kind":"panic","error":""}]}"#).is_err());
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let note = note(&"ü".repeat(2000));
        assert!(note.error.len() <= FailureNote::MAX_ERROR);
        assert!(note.error.ends_with("ü…"));
    }
}
