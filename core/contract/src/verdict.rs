//! What becomes of a message: the runtime's decision, and what the source reports of carrying it out.

use crate::{FailureNote, Message};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr, sync::Arc, time::Duration};

/// What the source is to do with a message that it handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its effect is done: remove it.
    Ack,
    /// An attempt failed. Record the failure, raise `attempt` by one, and hand the message out
    /// again, not before `after` has passed. In key order, no later message of its key is handed out
    /// first.
    Retry {
        /// How long it waits, at the least.
        after: Duration,
        /// What failed.
        note: FailureNote,
    },
    /// The system behind asked for less: as [`Verdict::Retry`], but `attempt` stays as it is.
    Postpone {
        /// How long it waits, at the least.
        after: Duration,
        /// What it said.
        note: FailureNote,
    },
    /// Not handled, and not its fault (drain, a closed gate, a revoked partition): back into the
    /// queue with nothing recorded and neither `attempt` nor `interrupted` raised, where the broker
    /// allows it.
    Release {
        /// How long it waits, at the least.
        after: Duration,
    },
    /// It cannot succeed: move it to the dead letters, confirmed there before it leaves here.
    DeadLetter {
        /// Why it is dead.
        reason: DeadReason,
        /// The failure that decided it.
        note: FailureNote,
    },
    /// Not worth handling, says the handler: remove it.
    Drop(Cow<'static, str>),
}

impl Verdict {
    /// Whether it only removes the message, so that the broker has nothing to keep in its place.
    #[must_use]
    pub const fn only_removes(&self) -> bool {
        matches!(self, Self::Ack | Self::Drop(_))
    }
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// The handler said that it can never succeed.
    Permanent,
    /// The payload could not be decoded.
    Undecodable,
    /// Its attempts are used up.
    AttemptsExhausted,
    /// It is older than the retry policy allows.
    TooOld,
    /// It was out, time and again, when its worker died.
    KilledWorker,
}

impl DeadReason {
    /// Every reason there is.
    pub const ALL: [Self; 5] = [
        Self::Permanent,
        Self::Undecodable,
        Self::AttemptsExhausted,
        Self::TooOld,
        Self::KilledWorker,
    ];

    /// Its name in text: `permanent`, `attempts_exhausted`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Undecodable => "undecodable",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::TooOld => "too_old",
            Self::KilledWorker => "killed_worker",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeadReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("no reason is called `{text}`: there are {names}")
        })
    }
}

/// A verdict on its way to the source.
#[derive(Clone, Debug)]
pub struct Settlement<R> {
    /// Which hand-out it settles.
    pub receipt: R,
    /// The message: copies need its payload and history.
    pub message: Arc<Message>,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// How well a verdict is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The broker has confirmed it.
    Durable,
    /// Noted; a later commit covers it. A crash before may repeat the message, never lose it.
    Deferred,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_being_written_and_read() {
        for reason in DeadReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
        assert!("no".parse::<DeadReason>().unwrap_err().contains("too_old"));
    }
}
