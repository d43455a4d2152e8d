//! From the broker's delivery to a message in the buffer.

use crate::{
    Identity, QueueKind,
    buffer::Receipt,
    properties::{self, Incoming},
    session::{Original, Shared},
    settle,
};
use forebay_contract::{
    DeadReason, Delivery, FailureKind, FailureNote, Message, Scope, Settlement, Verdict,
};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

/// Returns that are no interruption although nobody explains them: the broker counts one for a worker
/// that gives a message back in order, too. A second time, it is copied instead, so there is never
/// more than one of that sort.
const FORGIVEN: u32 = 1;

/// Takes deliveries into the buffer, and wakes who waits for them.
pub(crate) fn take_in(shared: &Arc<Shared>, batch: Vec<lapin::message::Delivery>) {
    let options = &shared.queue.checked.options;
    let mut arrivals: Vec<_> = batch.into_iter().map(|delivery| read(shared, delivery)).collect();
    let (mut unidentified, now) = (Vec::new(), Instant::now());
    {
        let mut state = shared.lock();
        for (_, message, ..) in &arrivals {
            state.demand.arrived(message.size());
        }
        let Some(session) = &mut state.session else { return };
        let epoch = session.epoch;
        for (tag, message, original, is_copied) in arrivals.drain(..) {
            let identified = original.identified;
            let due = original.noted.as_ref().map(|(_, due)| *due).filter(|due| *due > now);
            session.ledger.arrived(tag, original);
            if is_copied {
                session.ledger.done(tag);
                continue;
            }
            let receipt = Receipt { epoch, tag, turn: 0 };
            let message = Arc::new(message);
            if options.identity == Identity::Required && !identified {
                session.ledger.hand_out(tag);
                unidentified.push((receipt, message));
                continue;
            }
            let key = message.key.clone();
            let delivery = Delivery { message, receipt, scope: Scope(epoch), lease: None };
            match (key, due) {
                // It waited when the channel was lost, and goes on waiting. (Should something earlier
                // of its key be here, that does not come to wait behind it.)
                (Some(key), Some(due)) if !session.buffer.has_ready_of(&key) => {
                    session.buffer.hold(&key, due, delivery);
                }
                _ => session.buffer.push(delivery),
            }
        }
        session.pace_acks(now);
    }
    shared.arrived.notify_waiters();
    if !unidentified.is_empty() {
        bury(shared, unidentified);
    }
}

type Arrival = (u64, Message, Original, bool);

fn read(shared: &Shared, delivery: lapin::message::Delivery) -> Arrival {
    let options = &shared.queue.checked.options;
    let lapin::message::Delivery { delivery_tag: tag, redelivered, properties, data, .. } =
        delivery;
    let read = properties::read(&properties, data.into(), options.identity);
    let Incoming { mut message, mut returns, identified, faults, .. } = read;
    for fault in faults {
        tracing::warn!(queue = %options.queue, id = %message.id, "{fault}");
    }
    if options.kind == QueueKind::Quorum {
        // The header is there from the first return on.
        returns = returns.or(Some(0));
    }
    let (mut explained, mut is_copied, mut noted) = (0, false, None);
    if redelivered {
        let mut memory = shared.memory();
        is_copied = memory.was_copied(&message);
        if identified {
            explained = memory.explained(&message.id).min(returns.unwrap_or(0));
            if options.ordered
                && let Some(due) = memory.take_up(&mut message)
            {
                noted = Some((Arc::new(message.clone()), due));
            }
        }
    }
    if let Some(returns) = returns {
        message.deliveries = Some(returns.saturating_add(1));
        // In key order, nothing can be copied without overtaking, so a close is counted each time.
        if !options.ordered {
            let unexplained = returns.saturating_sub(explained).saturating_sub(FORGIVEN);
            message.interrupted = message.interrupted.saturating_add(unexplained);
        }
    }
    let id = message.id.clone();
    let came = Instant::now();
    let original = Original { properties, id, identified, returns, explained, noted, came };
    (tag, message, original, is_copied)
}

/// What has no identity where one is required goes to the dead letters.
fn bury(shared: &Arc<Shared>, unidentified: Vec<(Receipt, Arc<Message>)>) {
    let text = "it has neither the header `forebay-id` nor the property `message-id`, and this \
                queue's messages must have one";
    let settlements: Vec<_> = unidentified
        .into_iter()
        .map(|(receipt, message)| {
            let note = FailureNote::new(FailureKind::Decode, text, SystemTime::now());
            let verdict = Verdict::DeadLetter { reason: DeadReason::Undecodable, note };
            Settlement { receipt, message, verdict }
        })
        .collect();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let began = Instant::now();
        for result in settle::settle(&shared, &settlements).await {
            if let Err(error) = result {
                // It stays out, and comes again with the next channel.
                tracing::warn!(
                    "a message without an identity stays, after {:?}: {error}",
                    began.elapsed()
                );
            }
        }
    });
}
