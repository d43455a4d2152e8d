//! Dead letters: messages parked because they could not succeed, kept until somebody decides.

use crate::{DeadLettersError, DeadReason, FailureNote, Message};
use std::{fmt, future::Future, sync::Arc, time::SystemTime};

/// Which dead letter: a place in the dead-letter queue, in the broker's own terms. It orders the
/// letters of one queue by the time of their death, and is not the message's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeadId(pub Arc<str>);

impl fmt::Display for DeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a dead letter came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadOrigin {
    /// The queue or topic.
    pub queue: String,
    /// The place in it, in the broker's own terms: a row, a partition and offset, a message id.
    pub position: String,
}

/// A dead letter. Payload, key and headers are as the producer sent them.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Which one.
    pub id: DeadId,
    /// The message, with its attempts and the history of its failures; the last entry of the
    /// history is the one that decided.
    pub message: Message,
    /// Why it is dead.
    pub reason: DeadReason,
    /// Where it was.
    pub origin: DeadOrigin,
    /// When it died.
    pub died_at: SystemTime,
}

impl DeadLetter {
    /// The failure that decided it.
    #[must_use]
    pub fn last_failure(&self) -> Option<&FailureNote> {
        self.message.history.last()
    }
}

/// Which dead letters. Every field that is set narrows it; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Only these.
    pub ids: Option<Vec<DeadId>>,
    /// Only those that died for this reason.
    pub reason: Option<DeadReason>,
    /// Only those whose last error contains this text.
    pub error_contains: Option<String>,
    /// Only those that died before this.
    pub died_before: Option<SystemTime>,
    /// Only those that were in this queue or topic when they died, by its whole name.
    pub origin_queue: Option<String>,
    /// Only those redriven fewer times than this: the guard against going round in circles.
    pub redriven_less_than: Option<u32>,
}

impl DeadFilter {
    /// Whether a dead letter is meant. Adapters that cannot filter in the broker use this.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let error = letter.last_failure().map_or("", |note| note.error.as_str());
        self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.error_contains.as_ref().is_none_or(|text| error.contains(text))
            && self.died_before.is_none_or(|before| letter.died_at < before)
            && self.origin_queue.as_ref().is_none_or(|queue| *queue == letter.origin.queue)
            && self.redriven_less_than.is_none_or(|max| letter.message.redrives < max)
    }
}

/// What one call of [`DeadLetters::redrive`] moved.
#[derive(Debug, Default)]
pub struct Redriven {
    /// What is back in its queue, confirmed, oldest death first.
    pub moved: Vec<DeadLetter>,
    /// What ended it early, after something had been moved: the rest is where it was. Not an `Err`,
    /// since what has been moved must be told.
    pub stopped: Option<DeadLettersError>,
}

impl Redriven {
    /// All that was meant, up to the limit.
    #[must_use]
    pub const fn all(moved: Vec<DeadLetter>) -> Self {
        Self { moved, stopped: None }
    }
}

/// The dead letters of a queue.
pub trait DeadLetters: Send + Sync + 'static {
    /// Those that match, oldest death first, after the one named, `limit` at most.
    ///
    /// # Errors
    /// Faults of the broker.
    fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, DeadLettersError>> + Send;

    /// Moves those that match back into their queue, oldest death first, `limit` at most: attempts
    /// from 0, history kept, `redrives` raised by one. Killed half-way, each is in one place or, at
    /// worst, in both; never in neither. `moved` shorter than `limit`, and nothing in `stopped`: none
    /// is left that matches.
    ///
    /// # Errors
    /// Faults of the broker, before anything has been moved.
    fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> impl Future<Output = Result<Redriven, DeadLettersError>> + Send;

    /// Deletes those that match, for good, and says how many.
    ///
    /// # Errors
    /// Faults of the broker.
    fn purge(
        &self,
        filter: &DeadFilter,
    ) -> impl Future<Output = Result<u64, DeadLettersError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureKind, FailureNote};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn every_field_of_a_filter_narrows_it() {
        let died_at = UNIX_EPOCH + Duration::from_secs(100);
        let mut message = Message::new(1, "x");
        message.redrives = 2;
        message.history =
            message.history.with(FailureNote::new(FailureKind::Permanent, "no such row", died_at));
        let letter = DeadLetter {
            id: DeadId("7".into()),
            message,
            reason: DeadReason::Permanent,
            origin: DeadOrigin { queue: "orders".into(), position: "1".into() },
            died_at,
        };
        let matches = |change: fn(&mut DeadFilter)| {
            let mut filter = DeadFilter::default();
            change(&mut filter);
            filter.matches(&letter)
        };
        assert!(matches(|_| ()));
        assert!(matches(|f| f.ids = Some(vec![DeadId("7".into())])));
        assert!(!matches(|f| f.ids = Some(vec![])));
        assert!(!matches(|f| f.reason = Some(DeadReason::TooOld)));
        assert!(matches(|f| f.error_contains = Some("such".into())));
        assert!(!matches(|f| f.error_contains = Some("timeout".into())));
        assert!(!matches(|f| f.died_before = Some(UNIX_EPOCH + Duration::from_secs(100))));
        assert!(matches(|f| f.origin_queue = Some("orders".into())));
        assert!(!matches(|f| f.origin_queue = Some("order".into())));
        assert!(matches(|f| f.redriven_less_than = Some(3)));
        assert!(!matches(|f| f.redriven_less_than = Some(2)));
    }
}
