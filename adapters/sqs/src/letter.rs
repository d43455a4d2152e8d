//! Dead letters as SQS carries them: made of a message that died, read back, and made a message again.
//!
//! A letter made twice, because its confirmation was lost, is the same letter: time of death and
//! origin are decided once. So two copies of it are one to whoever lists them.

use crate::{
    Receipt,
    api::Send,
    core::{take_ours, time},
    options::secs_up,
    publish::LONGEST_DELAY,
    text::{dedup, group_of, key_of},
    wire::{self, Encoded, Types},
};
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use bytes::Bytes;
use forebay_contract::{
    Carried, DeadId, DeadLetter, DeadOrigin, DeadReason, FOREBAY_ID, FOREBAY_KEY, FOREBAY_STATE,
    FailureKind, FailureNote, Message, MessageId, Settlement, Verdict,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The most that the state of a message may take.
const MOST_STATE: usize = 64 << 10;

/// What the name and the type of the state's attribute take.
const STATE_COST: usize = FOREBAY_STATE.len() + "Binary".len();

/// A letter found in the dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) letter: DeadLetter,
    pub(crate) types: Option<Types>,
    /// The handles by which it is deleted or given back, by SQS's message id: several, where it is there
    /// more than once. Of a message that was received again only the last is good.
    pub(crate) handles: HashMap<String, String>,
}

/// The dead letter of a settlement.
pub(crate) fn dead(settlement: &Settlement<Receipt>, queue: &str, most: usize, fifo: bool) -> Send {
    let Settlement { receipt: Receipt(handout), message, verdict } = settlement;
    let carried = Carried::of(message);
    let carried = match verdict {
        Verdict::DeadLetter { reason, note } => {
            let position = handout.message_id.to_string();
            let origin = DeadOrigin { queue: queue.to_owned(), position };
            carried.noted(note.clone()).died(*reason, origin, handout.died_at(next_death))
        }
        _ => carried,
    };
    let encoded = fit(message, &carried, handout.types.as_ref(), most, true);
    // A group of its own each: SQS shows no more of a group while one of it is looked at.
    let fifo = fifo.then(|| {
        let id = format!("forebay.dead.{}", handout.message_id);
        (id.clone(), id)
    });
    let Encoded { body, attributes, size } = encoded;
    Send { body, attributes, size, delay: None, fifo }
}

/// A message given back, as a fresh copy that SQS has not received yet: its state goes along. `None`
/// where there is no room for that beside its payload. For standard queues.
pub(crate) fn fresh(
    message: &Message,
    types: Option<&Types>,
    verdict: &Verdict,
    now: SystemTime,
    most: usize,
) -> Option<Send> {
    let carried = Carried::of(message);
    let (carried, after) = match verdict {
        Verdict::Retry { after, note } => (carried.failed(note.clone()), *after),
        Verdict::Postpone { after, note } => (carried.noted(note.clone()), *after),
        Verdict::Release { after } => (carried, *after),
        Verdict::Ack | Verdict::Drop(_) | Verdict::DeadLetter { .. } => return None,
    };
    // What is to wait for longer is hidden for the rest when it comes.
    let carried = if after > LONGEST_DELAY { carried.due(now + after) } else { carried };
    let delay = i32::try_from(secs_up(after.min(LONGEST_DELAY))).ok();
    let Encoded { body, attributes, size } = fit(message, &carried, types, most, true);
    let whole = attributes.contains_key(FOREBAY_STATE) && size <= most;
    whole.then_some(Send { body, attributes, size, delay, fifo: None })
}

/// A dead letter as a message again, for its queue.
pub(crate) fn redriven(found: &Found, most: usize, fifo: bool) -> Send {
    let message = &found.letter.message;
    let carried = Carried::of(message).redriven();
    let group = fifo.then(|| group_of(message.key.as_deref()));
    let key_in_header = group.as_deref().is_none_or(|group| key_of(group).is_none());
    let encoded = fit(message, &carried, found.types.as_ref(), most, key_in_header);
    // The same redrive again, after one that was killed, is the same message to SQS for 5 minutes.
    let of = format!("forebay.redrive.{}.{}", found.letter.id, carried.redrives);
    let fifo = group.map(|group| (group, dedup(&of)));
    let Encoded { body, attributes, size } = encoded;
    Send { body, attributes, size, delay: None, fifo }
}

/// Encodes a copy. Where room is short, the history is cut, then the state, then the rest that is ours:
/// the payload always wins.
fn fit(
    message: &Message,
    carried: &Carried,
    types: Option<&Types>,
    most: usize,
    key_in_header: bool,
) -> Encoded {
    let encode = |ours: &[_]| wire::encode(&message.payload, &message.headers, types, ours);
    let mut ours = vec![(FOREBAY_ID, Bytes::from(message.id.to_string()))];
    if let Some(key) = message.key.clone().filter(|_| key_in_header) {
        ours.push((FOREBAY_KEY, key));
    }
    let stamped = encode(&ours);
    let room = most.saturating_sub(stamped.size + STATE_COST).min(MOST_STATE);
    if let Some(state) = carried.state(room) {
        ours.push((FOREBAY_STATE, Bytes::from(state)));
        let whole = encode(&ours);
        if whole.size <= most {
            return whole;
        }
    }
    tracing::warn!(id = %message.id, "no room for its state beside a payload this large");
    if stamped.size <= most { stamped } else { encode(&[]) }
}

/// A time for the next death in this process: later than all before, to the millisecond, as dead
/// letters are ordered by it.
fn next_death() -> SystemTime {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or_default();
    let later = |last: u64| Some(now.max(last.saturating_add(1)));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or(now);
    UNIX_EPOCH + Duration::from_millis(now.max(last.saturating_add(1)))
}

/// Reads a letter out of the dead-letter queue: one of ours, or one that the queue's own redrive policy
/// has moved there.
pub(crate) fn read(message: SqsMessage, queue: &str, fifo: bool) -> Option<Found> {
    let position = message.message_id?;
    let handle = message.receipt_handle?;
    let system = message.attributes.unwrap_or_default();
    let system = |name: MessageSystemAttributeName| system.get(&name).map(String::as_str);
    let sent = system(MessageSystemAttributeName::SentTimestamp).and_then(time);
    let group = fifo.then(|| system(MessageSystemAttributeName::MessageGroupId)).flatten();
    let decoded = wire::decode(message.body.unwrap_or_default(), message.message_attributes);
    let (mut carried, headers, faults) = take_ours(&decoded.headers);
    for fault in decoded.fault.into_iter().chain(faults) {
        tracing::warn!(message = %position, "{fault}");
    }
    let key = group.and_then(key_of).filter(|_| carried.death.is_none());
    let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let (reason, origin, died_at) = match carried.death.take() {
        Some(death) => (death.reason, death.origin, death.at),
        None => {
            // SQS moved it: it was received more often than the queue's redrive policy allows. It does
            // not say when.
            let at = sent.unwrap_or(UNIX_EPOCH);
            let why = "the queue's own redrive policy moved it here: it was received too often";
            carried = carried.noted(FailureNote::new(FailureKind::Interrupted, why, at));
            let from = system(MessageSystemAttributeName::from("DeadLetterQueueSourceArn"));
            let from = from.and_then(|arn| arn.rsplit(':').next()).unwrap_or(queue);
            let origin = DeadOrigin { queue: from.to_owned(), position: position.clone() };
            (DeadReason::KilledWorker, origin, at)
        }
    };
    let since = died_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let id: Arc<str> = format!("{:013}-{}", since.as_millis(), origin.position).into();
    let first = || MessageId::from(position.as_str());
    let message = carried.into_message(first, key, decoded.payload, headers, sent);
    let letter = DeadLetter { id: DeadId(id), message, reason, origin, died_at };
    Some(Found { letter, types: decoded.types, handles: [(position, handle)].into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_have_an_order() {
        let deaths: Vec<_> = (0..100).map(|_| next_death()).collect();
        assert!(deaths.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn short_room_costs_state_and_stamps_before_the_payload() {
        let mut message = Message::new("m-1", "x".repeat(1000));
        message.headers.append("h", "1");
        let note = FailureNote::new(FailureKind::Transient, "e".repeat(500), UNIX_EPOCH);
        let carried = Carried::of(&message).failed(note);
        let names = |most| -> Vec<String> {
            let encoded = fit(&message, &carried, None, most, true);
            assert_eq!(encoded.body.len(), 1000);
            assert!(encoded.size <= most.max(1008), "{} of {most}", encoded.size);
            let mut names: Vec<_> = encoded.attributes.into_keys().collect();
            names.sort();
            names
        };
        assert_eq!(names(4096), ["forebay-id", "forebay-state", "h"]);
        assert_eq!(names(1100), ["forebay-id", "forebay-state", "h"], "its history is cut");
        assert_eq!(names(1050), ["forebay-id", "h"]);
        assert_eq!(names(1010), ["h"]);
    }

    #[test]
    fn a_fresh_copy_carries_its_state_and_what_of_its_delay_is_too_long() {
        let mut message = Message::new("m-1", "x");
        message.attempt = 3;
        let copy = |after, most| {
            let note = FailureNote::new(FailureKind::Transient, "no", UNIX_EPOCH);
            fresh(&message, None, &Verdict::Retry { after, note }, UNIX_EPOCH, most)
        };
        let state = |copy: &Send| copy.attributes[FOREBAY_STATE].string_value.clone().unwrap();
        let soon = copy(Duration::from_millis(1500), 4096).unwrap();
        assert_eq!(soon.delay, Some(2));
        assert!(state(&soon).contains(r#""attempt":4"#) && !state(&soon).contains("due"));
        let late = copy(Duration::from_secs(3600), 4096).unwrap();
        assert_eq!(late.delay, Some(900));
        assert!(state(&late).contains(r#""due":3600000"#), "{}", state(&late));
        assert!(copy(Duration::ZERO, 30).is_none(), "no room for the state");
        assert!(fresh(&message, None, &Verdict::Ack, UNIX_EPOCH, 4096).is_none());
    }

    #[test]
    fn what_sqs_moved_itself_is_a_letter_too() {
        let message = SqsMessage::builder()
            .message_id("7")
            .receipt_handle("h")
            .body("x")
            .attributes(MessageSystemAttributeName::SentTimestamp, "5000")
            .attributes(
                MessageSystemAttributeName::from("DeadLetterQueueSourceArn"),
                "arn:aws:sqs:eu-west-1:1:orders",
            )
            .build();
        let found = read(message, "orders-dead", false).unwrap();
        assert_eq!(found.letter.reason, DeadReason::KilledWorker);
        assert_eq!(found.letter.origin.queue, "orders");
        assert_eq!(&*found.letter.id.0, "0000000005000-7");
        assert!(found.letter.last_failure().unwrap().error.contains("redrive policy"));
    }
}
