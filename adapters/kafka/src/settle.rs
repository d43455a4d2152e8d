//! Settling: what is done is marked in its partition's ledger, what needs a copy is copied first.
//!
//! ```text
//!   ack, drop                  -> done -> (commit, within a moment)
//!   retry, postpone            -> copy into a retry topic, confirmed -> done
//!   retry, postpone, in order  -> attempt noted, confirmed -> waits in its lane, not done
//!   dead letter                -> copy into the dead letters, confirmed -> done
//!   release                    -> waits here, not done
//! ```
//!
//! All copies of a batch are on their way before the first is waited for. A copy belongs to the
//! message, not to the call: who settles again joins the copy that is on its way.

use crate::{
    Order, Receipt,
    assigned::Assigned,
    copy::{Copy, Outcome},
    producer::Record,
    records,
    source::Inner,
    state::{Begun, settling_makes_ready},
};
use forebay_contract::{
    Carried, DeadOrigin, History, Message, SettleError, Settled, Settlement, Verdict,
};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// How long one call waits for copies. They go on, and the next call finds them.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<Settled, SettleError>;

/// A copy that is waited for.
struct Pending {
    /// Which settlement.
    index: usize,
    copy: Arc<Copy>,
}

pub(crate) async fn settle(source: &Arc<Inner>, batch: &[Settlement<Receipt>]) -> Vec<Answer> {
    let (mut answers, pending) = begin(source, batch);
    if !pending.is_empty() {
        let end = tokio::time::Instant::now() + PATIENCE;
        let too_large = wait(&mut answers, pending, end).await;
        // With less history they may fit.
        let again = too_large.into_iter().filter_map(|index| {
            again(source, index, &batch[index]).map_err(|answer| answers[index] = answer).ok()
        });
        let again: Vec<_> = again.collect();
        for index in wait(&mut answers, again, end).await {
            answers[index] = Err(SettleError::Refused(TOO_LARGE.into()));
        }
    }
    answers
}

const TOO_LARGE: &str = "the copy is too large for its topic even without a history: raise \
    `max.message.bytes` of the retry and dead-letter topics to that of the topic itself";

/// Carries out what needs no broker, and sends off what does.
fn begin(source: &Arc<Inner>, batch: &[Settlement<Receipt>]) -> (Vec<Answer>, Vec<Pending>) {
    let mut answers = Vec::with_capacity(batch.len());
    let (mut pending, mut make) = (Vec::new(), Vec::new());
    let mut state = source.shared.lock();
    let mut wakes = settling_makes_ready(source.options.order);
    let leaving = state.partitions.iter().any(Assigned::is_leaving);
    for (index, settlement) in batch.iter().enumerate() {
        let receipt = settlement.receipt;
        let begun = match &settlement.verdict {
            Verdict::Ack | Verdict::Drop(_) => state.done(receipt),
            Verdict::Release { after } => {
                let now = Instant::now();
                wakes = true;
                state.release(receipt, &settlement.message, now + *after, now)
            }
            Verdict::Retry { .. } | Verdict::Postpone { .. } | Verdict::DeadLetter { .. } => {
                state.begin_copy(receipt)
            }
        };
        answers.push(match begun {
            Begun::Over => Ok(Settled::Deferred),
            Begun::Stale => Err(SettleError::Stale),
            Begun::Wait(copy) => {
                pending.push(Pending { index, copy });
                Ok(Settled::Deferred)
            }
            Begun::Make(copy) => {
                make.push(Pending { index, copy });
                Ok(Settled::Deferred)
            }
        });
    }
    drop(state);
    if wakes {
        source.shared.ready.notify_one();
        // What waits now may be due before the thread looks next.
        source.shared.wake_thread();
    }
    if leaving {
        source.shared.wake_thread();
    }
    forget_attempts(source, batch, &answers);
    for Pending { index, copy } in make {
        match send(source, &batch[index], copy.clone(), true) {
            Ok(()) => pending.push(Pending { index, copy }),
            Err(answer) => answers[index] = Err(answer),
        }
    }
    (answers, pending)
}

/// Waits for copies; returns which are too large.
async fn wait(
    answers: &mut [Answer],
    pending: Vec<Pending>,
    end: tokio::time::Instant,
) -> Vec<usize> {
    let mut too_large = Vec::new();
    for Pending { index, copy } in pending {
        answers[index] = match tokio::time::timeout_at(end, copy.outcome()).await {
            Ok(Outcome::Confirmed { .. }) => Ok(Settled::Deferred),
            Ok(Outcome::TooLate) => Err(SettleError::Stale),
            Ok(Outcome::Failed(Code::MessageSizeTooLarge)) => {
                too_large.push(index);
                continue;
            }
            Ok(Outcome::Failed(code)) => Err(failed(code)),
            Err(_) => {
                let text =
                    format!("a copy was not confirmed within {PATIENCE:?}; it is on its way");
                Err(SettleError::Unavailable(text.into()))
            }
        };
    }
    too_large
}

fn failed(code: Code) -> SettleError {
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            let text = format!("{code}: the worker must be allowed to write its own topics");
            SettleError::Unavailable(text.into())
        }
        code => SettleError::Unavailable(code.to_string().into()),
    }
}

/// Makes a copy once more, without a history.
fn again(
    source: &Arc<Inner>,
    index: usize,
    settlement: &Settlement<Receipt>,
) -> Result<Pending, Answer> {
    let begun = source.shared.lock().begin_copy(settlement.receipt);
    match begun {
        Begun::Over => Err(Ok(Settled::Deferred)),
        Begun::Stale => Err(Err(SettleError::Stale)),
        Begun::Wait(copy) => Ok(Pending { index, copy }),
        Begun::Make(copy) => {
            send(source, settlement, copy.clone(), false).map_err(Err)?;
            Ok(Pending { index, copy })
        }
    }
}

/// What a copy says of its message.
fn carried(source: &Inner, settlement: &Settlement<Receipt>, now: SystemTime) -> Carried {
    let of = Carried::of(&settlement.message);
    // Times are kept in whole milliseconds: one more, so that none is early.
    let due = |after: Duration| now + after + Duration::from_millis(1);
    match &settlement.verdict {
        Verdict::Retry { after, note } => of.failed(note.clone()).due(due(*after)),
        Verdict::Postpone { after, note } => of.noted(note.clone()).due(due(*after)),
        Verdict::DeadLetter { reason, note } => {
            let position = source.position(settlement.receipt);
            let origin = DeadOrigin { queue: source.topics.main().to_string(), position };
            of.noted(note.clone()).died(*reason, origin, now)
        }
        _ => of,
    }
}

/// Sends a copy off. What becomes of it is entered into the state by its report.
fn send(
    source: &Arc<Inner>,
    settlement: &Settlement<Receipt>,
    copy: Arc<Copy>,
    with_history: bool,
) -> Result<(), SettleError> {
    let (receipt, message) = (settlement.receipt, &settlement.message);
    let now = (Instant::now(), SystemTime::now());
    let whole = carried(source, settlement, now.1);
    let room = records::room(message, source.options.max_message_bytes);
    let state = match with_history {
        true => whole.state(room),
        false => Carried { history: History::new(), ..whole.clone() }.state(room),
    };
    let Some(state) = state else {
        source.shared.lock().copied(
            receipt,
            Outcome::Failed(Code::MessageSizeTooLarge),
            None,
            now.0,
        );
        return Err(SettleError::Refused(TOO_LARGE.into()));
    };
    let delay = match &settlement.verdict {
        Verdict::Retry { after, .. } | Verdict::Postpone { after, .. } => Some(*after),
        _ => None,
    };
    let stays = delay
        .filter(|_| source.options.order != Order::None)
        .map(|after| (Arc::new(after_failure(message, &whole)), now.0 + after));
    let shared = source.shared.clone();
    let again = stays.clone();
    let report = move |outcome| {
        let now = Instant::now();
        let outcome = shared.lock().copied(receipt, outcome, again, now);
        copy.finish(outcome);
        shared.ready.notify_one();
        shared.wake_thread();
    };
    let headers = |rest| records::headers(Some(&message.id), Some(&state), rest);
    let key = message.key.as_ref();
    let payload = Some(message.payload.as_ref());
    match delay {
        Some(_) if stays.is_some() => {
            note_attempt(source, receipt, message, &state, Box::new(report));
        }
        Some(after) => {
            let topic = source.topics.retry(after).unwrap_or_else(|| source.topics.main());
            let headers = headers(&message.headers);
            let record = Record { topic, partition: None, key, payload, headers };
            source.producer.send(record, Box::new(report));
        }
        None => {
            let headers = headers(&message.headers);
            let topic = &source.topics.dead;
            let record = Record { topic, partition: Some(0), key, payload, headers };
            source.producer.send(record, Box::new(report));
        }
    }
    Ok(())
}

/// The message as it comes again.
fn after_failure(message: &Message, carried: &Carried) -> Message {
    let mut message = message.clone();
    message.attempt = carried.attempt;
    message.history = carried.history.clone();
    message
}

/// In order, a failed attempt is noted beside the topic, since the message stays where it is.
fn note_attempt(
    source: &Inner,
    receipt: Receipt,
    message: &Message,
    state: &str,
    report: crate::producer::Report,
) {
    let (Some(topic), Some(place)) = (&source.topics.attempts, source.place(receipt)) else {
        return report(Outcome::Failed(Code::State));
    };
    let key = receipt.offset.to_string().into();
    let rest = forebay_contract::Headers::new();
    let headers = records::headers(Some(&message.id), Some(state), &rest);
    let record =
        Record { topic, partition: Some(place), key: Some(&key), payload: Some(b""), headers };
    source.producer.send(record, report);
}

/// Deletes the noted attempts of what is done. Nobody waits for it: a note that stays is below the
/// commit, and never read again.
fn forget_attempts(source: &Inner, batch: &[Settlement<Receipt>], answers: &[Answer]) {
    let Some(topic) = &source.topics.attempts else { return };
    for (settlement, answer) in batch.iter().zip(answers) {
        let over = matches!(settlement.verdict, Verdict::Ack | Verdict::Drop(_));
        let noted = !settlement.message.history.notes().is_empty();
        if over
            && noted
            && answer.is_ok()
            && let Some(place) = source.place(settlement.receipt)
        {
            let key = settlement.receipt.offset.to_string().into();
            let headers = rdkafka::message::OwnedHeaders::new();
            let record =
                Record { topic, partition: Some(place), key: Some(&key), payload: None, headers };
            source.producer.send(record, Box::new(|_| ()));
        }
    }
}
