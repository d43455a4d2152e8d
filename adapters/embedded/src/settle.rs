//! Carrying out verdicts, inside the writer's transaction: each one wholly, or not at all.

use crate::{Receipt, claim, sql, time, tx::Tx};
use forebay_contract::{DeadReason, FailureNote, History, Settlement, Verdict};
use std::time::Duration;

/// Carries out a verdict. `false`: the receipt is stale, and nothing was done.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    Settlement { receipt, message, verdict }: &Settlement<Receipt>,
) -> rusqlite::Result<bool> {
    if tx.execute(sql::END_LEASE, (receipt.seq, receipt.deliveries))? == 0 {
        return Ok(false);
    }
    tx.count(receipt.queue).leased -= 1;
    match verdict {
        Verdict::Ack | Verdict::Drop(_) => remove(tx, receipt)?,
        Verdict::Retry { after, note } => {
            note_failure(tx, receipt, &message.history, note)?;
            let due = time::later(tx.now, *after);
            requeue(tx, receipt, due, receipt.attempt.saturating_add(1), true)?;
        }
        Verdict::Postpone { after, note } => {
            note_failure(tx, receipt, &message.history, note)?;
            let due = time::later(tx.now, *after);
            requeue(tx, receipt, due, receipt.attempt, true)?;
        }
        Verdict::Release { after } => {
            let due = if after.is_zero() { receipt.due } else { time::later(tx.now, *after) };
            requeue(tx, receipt, due, receipt.attempt, receipt.trail)?;
        }
        Verdict::DeadLetter { reason, note } => {
            bury(tx, receipt, *reason, &message.history.with(note.clone()))?;
            remove(tx, receipt)?;
        }
    }
    Ok(true)
}

/// Makes a lease end `by` from now. `false`: it is no longer ours.
pub(crate) fn extend(tx: &mut Tx<'_>, receipt: &Receipt, by: Duration) -> rusqlite::Result<bool> {
    let expires = time::later(tx.now, by);
    Ok(tx.execute(sql::EXTEND, (receipt.seq, receipt.deliveries, expires))? == 1)
}

fn remove(tx: &mut Tx<'_>, receipt: &Receipt) -> rusqlite::Result<()> {
    tx.execute(sql::DELETE_MESSAGE, [receipt.seq])?;
    tx.count(receipt.queue).total -= 1;
    if receipt.trail {
        tx.execute(sql::DELETE_HISTORY, [receipt.seq])?;
    }
    match &receipt.key {
        Some(key) => claim::promote(tx, receipt.queue, key),
        None => Ok(()),
    }
}

fn note_failure(
    tx: &mut Tx<'_>,
    receipt: &Receipt,
    history: &History,
    note: &FailureNote,
) -> rusqlite::Result<()> {
    let notes = to_json(&history.with(note.clone()));
    tx.execute(sql::SET_HISTORY, (receipt.seq, notes)).map(drop)
}

fn requeue(
    tx: &mut Tx<'_>,
    receipt: &Receipt,
    due: i64,
    attempt: u32,
    trail: bool,
) -> rusqlite::Result<()> {
    let Receipt { queue, seq, interrupted, deliveries, .. } = *receipt;
    tx.execute(sql::INSERT_RUNNABLE, (queue, due, seq, attempt, interrupted, deliveries, trail))?;
    tx.due(queue, due);
    Ok(())
}

fn bury(
    tx: &mut Tx<'_>,
    receipt: &Receipt,
    reason: DeadReason,
    history: &History,
) -> rusqlite::Result<()> {
    let pos = tx.numbers(1)?;
    let error = history.last().map_or("", |note| note.error.as_str());
    tx.execute(
        sql::BURY,
        (
            receipt.seq,
            pos,
            receipt.attempt,
            receipt.interrupted,
            receipt.deliveries,
            reason.as_str(),
            error,
            to_json(history),
            tx.now,
        ),
    )?;
    tx.count(receipt.queue).dead += 1;
    Ok(())
}

/// A history as its column holds it. There is room for all of it, so nothing is cut.
pub(crate) fn to_json(history: &History) -> String {
    history.to_json(usize::MAX).unwrap_or_default()
}
