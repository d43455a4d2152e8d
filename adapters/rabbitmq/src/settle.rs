//! Carrying out verdicts.
//!
//! | verdict | without order, or without a key | in key order, with a key |
//! |---|---|---|
//! | ack, drop | ack | ack |
//! | retry, postpone | a copy into the delay's queue, confirmed, then ack | waits here, unacked |
//! | release | nack: back to its place; a second time, or with a delay, as a retry | waits here, unacked |
//! | dead letter | a copy into the dead letters, confirmed, then ack | the same |
//!
//! A copy is seen through by a task of its own, so that a caller that goes away leaves nothing
//! half-known. While it is on its way, its delivery cannot be settled by another verdict; settling it
//! again waits for the same copy. If the copy fails, the delivery is out as before.
//!
//! Why acks are reported as deferred: AMQP confirms no ack. It is on its way a few milliseconds after
//! `settle` has returned (`pace.rs`); if the connection is lost before, the message comes again.

use crate::{
    RabbitError,
    buffer::Receipt,
    ledger::Standing,
    memory::Print,
    properties,
    publisher::Item,
    queue::Inner,
    session::{Life, Session, Shared},
};
use forebay_contract::{
    Carried, DeadOrigin, Delivery, Message, Scope, SettleError, Settled, Settlement, Verdict,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

type Answer = Result<Settled, SettleError>;

/// A copy on its way, and the delivery that is acked once it has arrived.
struct Job {
    receipt: Receipt,
    print: Print,
}

/// Carries out the worker's verdicts; answer `i` is for settlement `i`.
pub(crate) async fn settle(shared: &Arc<Shared>, batch: &[Settlement<Receipt>]) -> Vec<Answer> {
    if !matches!(shared.lock().life, Life::Open) {
        return batch.iter().map(|_| Err(SettleError::Stale)).collect();
    }
    carry_out(shared, batch).await
}

/// As [`settle`], also while closing.
pub(crate) async fn carry_out(shared: &Arc<Shared>, batch: &[Settlement<Receipt>]) -> Vec<Answer> {
    let begun = begin(shared, batch);
    let mut answers = begun.answers;
    let until = tokio::time::Instant::now() + shared.queue.checked.options.confirm_timeout;
    if let Some(told) = begun.told {
        let told = tokio::time::timeout_at(until, told).await;
        let mut outcomes = told.ok().and_then(Result::ok).into_iter().flatten();
        for index in begun.copies {
            let answer = match outcomes.next() {
                Some(Ok(())) => Ok(Settled::Deferred),
                Some(Err(error)) => Err(error.into()),
                None => Err(not_yet(shared).into()),
            };
            set(&mut answers, index, answer);
        }
    }
    for (index, receipt) in begun.waits {
        let answer = match tokio::time::timeout_at(until, seen_through(shared, receipt)).await {
            Ok(answer) => answer,
            Err(_) => Err(not_yet(shared).into()),
        };
        set(&mut answers, index, answer);
    }
    answers
}

fn set(answers: &mut [Answer], index: usize, answer: Answer) {
    if let Some(place) = answers.get_mut(index) {
        *place = answer;
    }
}

/// Why there is no answer of the broker.
fn not_yet(shared: &Shared) -> RabbitError {
    match shared.queue.publish.blocked() {
        Some(reason) => RabbitError::Blocked { reason },
        None => RabbitError::Unconfirmed { after: shared.queue.checked.options.confirm_timeout },
    }
}

/// What was begun: answers, where they are known, and what is still to come.
struct Begun {
    answers: Vec<Answer>,
    /// Which settlements wait for copies of their own, in the order of their outcomes.
    copies: Vec<usize>,
    told: Option<oneshot::Receiver<Vec<Result<(), RabbitError>>>>,
    /// Which wait for copies that were begun before.
    waits: Vec<(usize, Receipt)>,
}

/// Does all that can be done at once, and sends the copies on their way.
fn begin(shared: &Arc<Shared>, batch: &[Settlement<Receipt>]) -> Begun {
    let mut begun = Begun {
        answers: Vec::with_capacity(batch.len()),
        copies: Vec::new(),
        told: None,
        waits: Vec::new(),
    };
    let (mut items, mut jobs, mut held) = (Vec::new(), Vec::new(), false);
    let (mut acked, mut sets_clock) = (0, false);
    {
        let mut state = shared.lock();
        let wanted = state.demand.is_wanted() || shared.queue.checked.options.ordered;
        let connected = state.session.as_ref().is_some_and(|s| s.channel.status().connected());
        for (index, settlement) in batch.iter().enumerate() {
            let receipt = settlement.receipt;
            let session = match state.session_of(&receipt) {
                Some(session) if connected => session,
                _ => {
                    begun.answers.push(Err(SettleError::Stale));
                    continue;
                }
            };
            begun.answers.push(match session.ledger.standing(receipt.tag, receipt.turn) {
                Standing::Stale => Err(SettleError::Stale),
                Standing::Copying => {
                    begun.waits.push((index, receipt));
                    Ok(Settled::Deferred)
                }
                Standing::Out => match course(&shared.queue, session, settlement) {
                    Course::Ack => {
                        session.ledger.done(receipt.tag);
                        acked += 1;
                        Ok(Settled::Deferred)
                    }
                    Course::Nack => {
                        // While nobody asks, as in a drain, it would come straight back here.
                        if !wanted {
                            session.pause();
                        }
                        session.nack(receipt.tag, &mut shared.memory());
                        Ok(Settled::Deferred)
                    }
                    Course::Hold(after) => {
                        hold(session, settlement, after);
                        held = true;
                        Ok(Settled::Deferred)
                    }
                    Course::Copy(item) => {
                        session.ledger.begin_copy(receipt.tag);
                        begun.copies.push(index);
                        items.push(*item);
                        jobs.push(Job { receipt, print: Print::of(&settlement.message) });
                        Ok(Settled::Deferred)
                    }
                    Course::Refuse(error) => Err(error),
                },
            });
        }
        if let Some(session) = &mut state.session {
            let waited = session.ledger.untold() > acked;
            session.pace_acks(Instant::now());
            // Those that are the first to wait set the clock.
            sets_clock = !waited && session.ledger.untold() > 0;
        }
    }
    if held {
        shared.arrived.notify_waiters();
    }
    if sets_clock {
        shared.control.notify_one();
    }
    if !jobs.is_empty() {
        let (tell, told) = oneshot::channel();
        begun.told = Some(told);
        tokio::spawn(see_through(Arc::clone(shared), items, jobs, tell));
    }
    begun
}

/// What a verdict comes to.
enum Course {
    Ack,
    Nack,
    /// Waits here.
    Hold(Duration),
    Copy(Box<Item>),
    Refuse(SettleError),
}

fn course(queue: &Inner, session: &Session, settlement: &Settlement<Receipt>) -> Course {
    let Settlement { message, verdict, receipt } = settlement;
    let options = &queue.checked.options;
    let holds = options.ordered && message.key.is_some();
    let (after, carried) = match verdict {
        Verdict::Ack | Verdict::Drop(_) => return Course::Ack,
        Verdict::DeadLetter { reason, note } => {
            let position = message.id.to_string();
            let origin = DeadOrigin { queue: options.queue.clone(), position };
            let carried = Carried::of(message).noted(note.clone());
            let carried = carried.died(*reason, origin, time_of_death());
            return copy(queue, session, settlement, &queue.dead, &carried);
        }
        Verdict::Retry { after, .. }
        | Verdict::Postpone { after, .. }
        | Verdict::Release { after }
            if holds =>
        {
            return Course::Hold(*after);
        }
        Verdict::Retry { after, note } => (after, Carried::of(message).failed(note.clone())),
        Verdict::Postpone { after, note } => (after, Carried::of(message).noted(note.clone())),
        Verdict::Release { after } => {
            if after.is_zero() && session.is_new(receipt.tag) {
                return Course::Nack;
            }
            (after, Carried::of(message))
        }
    };
    if after.is_zero() {
        return copy(queue, session, settlement, &queue.name, &carried);
    }
    let Some(step) = queue.checked.ladder.step(*after) else {
        let why = format!(
            "a delay of {after:?} is longer than the longest step, {:?}: add longer `delays`",
            queue.checked.ladder.longest()
        );
        return Course::Refuse(SettleError::Refused(why.into()));
    };
    let carried = carried.due(SystemTime::now() + *after);
    copy(queue, session, settlement, &queue.checked.retry_queue(step).into(), &carried)
}

/// Now, to the millisecond that a header keeps; later for each death in this process, so that their
/// order is that of their times.
fn time_of_death() -> SystemTime {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(now.max(last.saturating_add(1)))
    });
    let last = before.unwrap_or_else(|last| last);
    UNIX_EPOCH + Duration::from_millis(now.max(last.saturating_add(1)))
}

fn copy(
    queue: &Inner,
    session: &Session,
    settlement: &Settlement<Receipt>,
    to: &Arc<str>,
    carried: &Carried,
) -> Course {
    let Some(original) = session.ledger.original(settlement.receipt.tag) else {
        return Course::Refuse(SettleError::Stale);
    };
    match properties::of_copy(&original.properties, carried, queue.user(), queue.frame_max()) {
        Ok(properties) => {
            let payload = settlement.message.payload.clone();
            Course::Copy(Box::new(Item { queue: Arc::clone(to), payload, properties }))
        }
        Err(error) => Course::Refuse(error.into()),
    }
}

/// Keeps a message here for a while, and what is later of its key behind it.
fn hold(session: &mut Session, settlement: &Settlement<Receipt>, after: Duration) {
    let Settlement { message, verdict, receipt } = settlement;
    let Some(key) = &message.key else { return };
    let noted = match verdict {
        Verdict::Retry { note, .. } => Some((1, note)),
        Verdict::Postpone { note, .. } => Some((0, note)),
        _ => None,
    };
    let message = match noted {
        Some((failed, note)) => {
            let mut again = Message::clone(message);
            again.attempt = again.attempt.saturating_add(failed);
            again.history = again.history.with(note.clone());
            Arc::new(again)
        }
        None => Arc::clone(message),
    };
    let due = Instant::now() + after;
    if let Some(original) = session.ledger.original_mut(receipt.tag) {
        original.noted = Some((Arc::clone(&message), due));
    }
    let turn = session.ledger.take_back(receipt.tag);
    let scope = Scope(session.epoch);
    let again = Delivery { message, receipt: Receipt { turn, ..*receipt }, scope, lease: None };
    session.buffer.hold(key, due, again);
}

/// Waits for the broker's word on each copy, then acks the originals of those that arrived.
async fn see_through(
    shared: Arc<Shared>,
    items: Vec<Item>,
    jobs: Vec<Job>,
    tell: oneshot::Sender<Vec<Result<(), RabbitError>>>,
) {
    // Without an outcome, as at the end of the runtime, nothing is acked.
    let Ok(outcomes) = shared.queue.publisher.publish(items).await else { return };
    {
        let mut state = shared.lock();
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            match (state.session_of(&job.receipt), outcome) {
                (Some(session), Ok(())) => session.ledger.done(job.receipt.tag),
                (Some(session), Err(_)) => session.ledger.not_copied(job.receipt.tag),
                // Copied, and the original is on its way back: should it come here, it is known.
                (None, Ok(())) => shared.memory().copied(job.print),
                (None, Err(_)) => {}
            }
        }
        if let Some(session) = &mut state.session {
            session.send_acks();
        }
    }
    // Whoever settled may have gone away.
    let _ = tell.send(outcomes);
    shared.settled.notify_waiters();
}

/// Waits for a copy that was begun by an earlier call.
async fn seen_through(shared: &Shared, receipt: Receipt) -> Answer {
    loop {
        let settled = shared.settled.notified();
        let mut settled = std::pin::pin!(settled);
        settled.as_mut().enable();
        match shared.lock().session_of(&receipt) {
            None => return Err(SettleError::Stale),
            Some(session) => match session.ledger.standing(receipt.tag, receipt.turn) {
                Standing::Copying => {}
                Standing::Stale => return Ok(Settled::Deferred),
                Standing::Out => {
                    return Err(match shared.queue.publish.blocked() {
                        Some(reason) => RabbitError::Blocked { reason }.into(),
                        None => {
                            let why = "the copy did not arrive: settle it again";
                            SettleError::Unavailable(why.into())
                        }
                    });
                }
            },
        }
        settled.await;
    }
}
