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
    options::STATE_ROOM,
    producer::Record,
    records::{self, Carries},
    source::Inner,
    state::{Begun, settling_makes_ready},
};
use forebay_contract::{
    Carried, DeadOrigin, Message, MessageId, SettleError, Settled, Settlement, Verdict,
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
    if pending.is_empty() {
        return answers;
    }
    let end = tokio::time::Instant::now() + PATIENCE;
    for index in wait(&mut answers, pending, end).await {
        answers[index] = alone(source, &batch[index], end).await;
    }
    answers
}

/// Copies what was too large once more: by itself, since the broker refuses a batch as a whole, and
/// then with less of ours.
async fn alone(
    source: &Arc<Inner>,
    settlement: &Settlement<Receipt>,
    end: tokio::time::Instant,
) -> Answer {
    for carries in Carries::EACH {
        let copy = match again(source, settlement, carries) {
            Ok(copy) => copy,
            Err(answer) => return answer,
        };
        if let Some(answer) = answer(&copy, end).await {
            return answer;
        }
    }
    Err(SettleError::Refused(too_large(source).into()))
}

fn too_large(source: &Inner) -> String {
    format!(
        "the dead letter is too large for the topic `{}`, with nothing of ours in it: raise its \
         `max.message.bytes` to that of `{}` and 16 KiB more (what `create` makes has room for \
         `max_message_bytes` and those), or set `compression.type` in `raw` if its producer \
         compresses",
        source.topics.dead,
        source.topics.main()
    )
}

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
        send(source, &batch[index], copy.clone(), Carries::All);
        pending.push(Pending { index, copy });
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
        match answer(&copy, end).await {
            Some(answer) => answers[index] = answer,
            None => too_large.push(index),
        }
    }
    too_large
}

/// What a copy means for its settlement; `None`: it is too large.
async fn answer(copy: &Copy, end: tokio::time::Instant) -> Option<Answer> {
    Some(match tokio::time::timeout_at(end, copy.outcome()).await {
        Ok(Outcome::Confirmed { .. }) => Ok(Settled::Deferred),
        Ok(Outcome::TooLate) => Err(SettleError::Stale),
        Ok(Outcome::Failed(Code::MessageSizeTooLarge)) => return None,
        Ok(Outcome::Failed(code)) => Err(failed(code)),
        Err(_) => {
            let text = format!("a copy was not confirmed within {PATIENCE:?}; it is on its way");
            Err(SettleError::Unavailable(text.into()))
        }
    })
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

fn again(
    source: &Arc<Inner>,
    settlement: &Settlement<Receipt>,
    carries: Carries,
) -> Result<Arc<Copy>, Answer> {
    if carries == Carries::Nothing
        && let Some(after) = delay(&settlement.verdict)
    {
        return Err(hold(source, settlement, after));
    }
    let begun = source.shared.lock().begin_copy(settlement.receipt);
    match begun {
        Begun::Over => Err(Ok(Settled::Deferred)),
        Begun::Stale => Err(Err(SettleError::Stale)),
        Begun::Wait(copy) => Ok(copy),
        Begun::Make(copy) => {
            send(source, settlement, copy.clone(), carries);
            Ok(copy)
        }
    }
}

/// A retry without its state would have no end. So the message waits here, not done, and its attempts
/// are known as long as this worker has its partition.
fn hold(source: &Inner, settlement: &Settlement<Receipt>, after: Duration) -> Answer {
    let message = &settlement.message;
    tracing::warn!(
        message = %message.id,
        bytes = message.size(),
        "no retry topic takes a copy of this message, which leaves no room for its state: it waits at \
         this worker, and a restart forgets its attempts. Raise `max.message.bytes` of the retry \
         topics to that of `{}` and 16 KiB more",
        source.topics.main()
    );
    let now = (Instant::now(), SystemTime::now());
    let message = Arc::new(after_failure(message, &carried(source, settlement, now.1)));
    let begun = source.shared.lock().release(settlement.receipt, &message, now.0 + after, now.0);
    source.shared.ready.notify_one();
    source.shared.wake_thread();
    match begun {
        Begun::Stale => Err(SettleError::Stale),
        _ => Ok(Settled::Deferred),
    }
}

/// How long a message is to wait, by its verdict.
const fn delay(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Retry { after, .. } | Verdict::Postpone { after, .. } => Some(*after),
        _ => None,
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
fn send(source: &Arc<Inner>, settlement: &Settlement<Receipt>, copy: Arc<Copy>, carries: Carries) {
    let (receipt, message) = (settlement.receipt, &settlement.message);
    let now = (Instant::now(), SystemTime::now());
    let whole = carried(source, settlement, now.1);
    let delay = delay(&settlement.verdict);
    let stays = delay
        .filter(|_| source.options.order != Order::None)
        .map(|after| (Arc::new(after_failure(message, &whole)), now.0 + after));
    let room = match stays {
        Some(_) => STATE_ROOM,
        None => records::room(message, source.options.max_message_bytes),
    };
    let state = carries.state(whole, room);
    let shared = source.shared.clone();
    let again = stays.clone();
    let report = move |outcome| {
        let now = Instant::now();
        let outcome = shared.lock().copied(receipt, outcome, again, now);
        copy.finish(outcome);
        shared.ready.notify_one();
        shared.wake_thread();
    };
    let key = message.key.as_ref();
    let payload = Some(message.payload.as_ref());
    let id = id(source, settlement, carries);
    match delay {
        Some(_) if stays.is_some() => {
            note_attempt(source, receipt, message, state.as_deref(), Box::new(report));
        }
        Some(after) => {
            let headers = records::headers(id, state.as_deref(), &message.headers);
            let topic = source.topics.retry(after).unwrap_or_else(|| source.topics.main());
            let record = Record { topic, partition: None, key, payload, headers };
            source.producer.send(record, Box::new(report));
        }
        None => {
            let headers = records::headers(id, state.as_deref(), &message.headers);
            let topic = &source.topics.dead;
            let record = Record { topic, partition: Some(0), key, payload, headers };
            source.producer.send(record, Box::new(report));
        }
    }
}

/// The identity that a copy carries. One that carries nothing keeps what the message itself had.
fn id<'a>(
    source: &Inner,
    settlement: &'a Settlement<Receipt>,
    carries: Carries,
) -> Option<&'a MessageId> {
    let id = &settlement.message.id;
    if carries != Carries::Nothing {
        return Some(id);
    }
    if let Verdict::DeadLetter { reason, note } = &settlement.verdict {
        tracing::warn!(
            message = %id,
            bytes = settlement.message.size(),
            %reason,
            error = %note.error,
            "this message leaves no room for the reason of its death: the dead letter is without one"
        );
    }
    Some(id).filter(|id| id.to_string() != source.position(settlement.receipt))
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
    state: Option<&str>,
    report: crate::producer::Report,
) {
    let (Some(topic), Some(place)) = (&source.topics.attempts, source.place(receipt)) else {
        return report(Outcome::Failed(Code::State));
    };
    let key = receipt.offset.to_string().into();
    let rest = forebay_contract::Headers::new();
    let headers = records::headers(Some(&message.id), state, &rest);
    let record =
        Record { topic, partition: Some(place), key: Some(&key), payload: Some(b""), headers };
    source.producer.send(record, report);
}

/// Deletes the noted attempts of what is done. Nobody waits for it: a note that stays is below the
/// commit, and never read again.
fn forget_attempts(source: &Inner, batch: &[Settlement<Receipt>], answers: &[Answer]) {
    let Some(topic) = &source.topics.attempts else { return };
    for (settlement, answer) in batch.iter().zip(answers) {
        let noted = !settlement.message.history.notes().is_empty();
        if settlement.verdict.only_removes()
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
