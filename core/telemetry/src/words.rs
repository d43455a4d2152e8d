//! The words for outcomes, verdicts and errors, the same in metrics and in spans.

use forebay::{Ending, PublishError, SettleError, Verdict};

/// What `error.type` says of a call; nothing where nothing has failed.
pub(crate) fn error_type(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Done | Ending::Discarded => None,
        ending => Some(ending.as_str()),
    }
}

pub(crate) fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ack => "ack",
        Verdict::Retry { .. } => "retry",
        Verdict::Postpone { .. } => "postpone",
        Verdict::Release { .. } => "release",
        Verdict::DeadLetter { .. } => "dead_letter",
        Verdict::Drop(_) => "drop",
    }
}

pub(crate) fn settle_error_type(error: &SettleError) -> &'static str {
    match error {
        SettleError::Unavailable(_) => "unavailable",
        SettleError::Stale => "stale",
        SettleError::Refused(_) => "refused",
        _ => "_OTHER",
    }
}

pub(crate) fn publish_error_type(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unavailable(_) => "unavailable",
        PublishError::Refused(_) => "refused",
        PublishError::Closed => "closed",
        _ => "_OTHER",
    }
}
