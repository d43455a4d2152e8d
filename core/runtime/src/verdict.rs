//! From what a handler did to what becomes of its message: the verdict table, as a pure function.
//!
//! | outcome | verdict | what limits and breaker hear |
//! |---|---|---|
//! | done | ack | success, with its time |
//! | undecodable, permanent | dead letter, at once | nothing: poison must not trip the breaker |
//! | transient, timed out | retry; dead letter when attempts or age are used up | failure |
//! | panicked | as transient | nothing |
//! | throttled | postponed, bounded by age | backpressure |
//! | discarded | dropped | nothing |
//! | cancelled | released | nothing |

use crate::DecodeError;
use forebay_contract::{DeadReason, Failure, FailureKind, FailureNote, Message, Verdict};
use forebay_policy::{Exhausted, RetryDecision, RetryPolicy, Signal};
use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

/// What a handler call came to. Failures are boxed: this is moved several times for each message, and
/// nearly always says `Done`.
#[derive(Debug)]
pub enum Outcome {
    /// It did its work.
    Done,
    /// It said why not.
    Failed(Box<Failure>),
    /// It did not finish in its time.
    TimedOut(Duration),
    /// It panicked, with this message.
    Panicked(String),
    /// It was never called: the payload could not be decoded.
    Undecodable(Box<DecodeError>),
    /// It was never called, or called off: drain, lost lease, revoked partition.
    Cancelled,
}

/// A verdict, and what it tells the limits.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) signal: Signal,
}

/// Decides what becomes of `message`. `now` is the wall clock's; `random` spreads the delay.
pub(crate) fn judge(
    outcome: Outcome,
    took: Duration,
    message: &Message,
    retry: &RetryPolicy,
    now: SystemTime,
    random: u64,
) -> Judgement {
    let note = |kind, error: String| FailureNote::new(kind, error, now);
    let age = message.enqueued_at.and_then(|at| now.duration_since(at).ok());
    let failed = |note, after| {
        let attempts = message.attempt.saturating_add(1);
        verdict_of(retry.decide(attempts, age, after, random), note, false)
    };
    let (verdict, signal) = match outcome {
        Outcome::Done => (Verdict::Ack, Signal::Success(took)),
        Outcome::Failed(failure) => {
            let text = words(&failure);
            match *failure {
                Failure::Transient { after, .. } => {
                    (failed(note(FailureKind::Transient, text), after), Signal::Failure(took))
                }
                Failure::Throttled { after, .. } => {
                    let note = note(FailureKind::Throttled, text);
                    let decision = retry.throttled(message.attempt, age, after, random);
                    (verdict_of(decision, note, true), Signal::Backpressure)
                }
                Failure::Permanent(_) => {
                    let note = note(FailureKind::Permanent, text);
                    let reason = DeadReason::Permanent;
                    (Verdict::DeadLetter { reason, note }, Signal::Neutral)
                }
                Failure::Discard(reason) => (Verdict::Drop(reason), Signal::Neutral),
            }
        }
        Outcome::TimedOut(limit) => {
            let note = note(FailureKind::Timeout, format!("the handler took over {limit:?}"));
            (failed(note, None), Signal::Failure(took))
        }
        Outcome::Panicked(text) => (failed(note(FailureKind::Panic, text), None), Signal::Neutral),
        Outcome::Undecodable(error) => {
            let note = note(FailureKind::Decode, words(&error));
            (Verdict::DeadLetter { reason: DeadReason::Undecodable, note }, Signal::Neutral)
        }
        Outcome::Cancelled => (Verdict::Release { after: Duration::ZERO }, Signal::Neutral),
    };
    Judgement { verdict, signal }
}

/// What an error says of itself. It is the user's own code that puts it into words, and if that panics,
/// it is not to take the worker with it.
pub(crate) fn words(error: &dyn Display) -> String {
    catch_unwind(AssertUnwindSafe(|| error.to_string()))
        .unwrap_or_else(|_| "(an error that panics when it is put into words)".to_owned())
}

/// Whether the message is to be handed out again.
pub(crate) fn comes_back(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry { .. } | Verdict::Postpone { .. } | Verdict::Release { .. })
}

fn verdict_of(decision: RetryDecision, note: FailureNote, postponed: bool) -> Verdict {
    match decision {
        RetryDecision::After(after) if postponed => Verdict::Postpone { after, note },
        RetryDecision::After(after) => Verdict::Retry { after, note },
        RetryDecision::Exhausted(Exhausted::Attempts { .. }) => {
            Verdict::DeadLetter { reason: DeadReason::AttemptsExhausted, note }
        }
        RetryDecision::Exhausted(Exhausted::Age { .. }) => {
            Verdict::DeadLetter { reason: DeadReason::TooOld, note }
        }
    }
}
