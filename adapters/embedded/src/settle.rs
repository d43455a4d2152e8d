//! Carrying out verdicts, inside the writer's transaction: each one wholly, or not at all.
//!
//! What is claimed together is mostly acknowledged together. So acknowledgements of messages that
//! stand in a row, in the table of leases and in that of messages, are carried out as a row.

use crate::{Receipt, claim, sql, time, tx::Tx};
use forebay_contract::{DeadReason, FailureNote, History, Settlement, Verdict};
use std::time::{Duration, SystemTime};

/// Carries out verdicts, the first on a hand-out before any other on it. `false`: the receipt is
/// stale, and nothing was done.
pub(crate) fn settle_all(
    tx: &mut Tx<'_>,
    batch: &[Settlement<Receipt>],
) -> rusqlite::Result<Vec<bool>> {
    let mut done = vec![false; batch.len()];
    let mut rest = 0;
    while rest < batch.len() {
        let plain = batch[rest..].iter().take_while(|settlement| is_plain(settlement)).count();
        if plain < 2 {
            done[rest] = settle(tx, &batch[rest])?;
            rest += 1;
            continue;
        }
        let mut leases: Vec<_> =
            (rest..rest + plain).map(|at| (LeaseKey::of(&batch[at].receipt), at)).collect();
        // Stable, so that of two on one hand-out the first stays the first.
        leases.sort_by_key(|(key, _)| *key);
        for row in leases.chunk_by(|(one, _), (next, _)| one.is_before(next)) {
            if acknowledge_row(tx, row)? {
                row.iter().for_each(|(_, at)| done[*at] = true);
                continue;
            }
            for (_, at) in row {
                done[*at] = settle(tx, &batch[*at])?;
            }
        }
        rest += plain;
    }
    Ok(done)
}

/// Whether a verdict only removes a message, which leaves nothing else behind.
fn is_plain(Settlement { receipt, verdict, .. }: &Settlement<Receipt>) -> bool {
    verdict.only_removes() && receipt.key.is_none() && !receipt.trail
}

/// Where a lease stands in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LeaseKey {
    queue: i64,
    expires: i64,
    deliveries: u32,
    seq: i64,
}

impl LeaseKey {
    fn of(receipt: &Receipt) -> Self {
        let Receipt { queue, deliveries, seq, .. } = *receipt;
        Self { queue, expires: receipt.expiry.get(), deliveries, seq }
    }

    /// Whether the other is the very next one, with no number between them.
    fn is_before(&self, next: &Self) -> bool {
        Self { seq: self.seq + 1, ..*self } == *next
    }
}

/// Removes messages that stand in a row, if all of them are still ours. `false`: nothing was done.
fn acknowledge_row(tx: &mut Tx<'_>, row: &[(LeaseKey, usize)]) -> rusqlite::Result<bool> {
    let [(first, _), .., (last, _)] = row else { return Ok(false) };
    let LeaseKey { queue, expires, deliveries, .. } = *first;
    let range = (queue, expires, first.seq, last.seq, deliveries);
    let count = sql::rows(row.len());
    let ours: i64 = tx.statement(sql::COUNT_LEASES)?.query_row(range, |row| row.get(0))?;
    if ours != count {
        return Ok(false);
    }
    tx.execute(sql::END_LEASES, range)?;
    tx.execute(sql::DELETE_MESSAGES, (first.seq, last.seq))?;
    tx.count(queue).total -= count;
    Ok(true)
}

/// Carries out a verdict. `false`: the receipt is stale, and nothing was done.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    Settlement { receipt, message, verdict }: &Settlement<Receipt>,
) -> rusqlite::Result<bool> {
    let lease = (receipt.queue, receipt.expiry.get(), receipt.seq, receipt.deliveries);
    if tx.execute(sql::END_LEASE, lease)? == 0 {
        return Ok(false);
    }
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
    let Receipt { queue, seq, deliveries, .. } = *receipt;
    let (before, expires) = (receipt.expiry.get(), time::later(tx.now, by));
    let extended = tx.execute(sql::EXTEND, (queue, before, seq, deliveries, expires))? == 1;
    if extended {
        tx.moved(receipt, expires);
    }
    Ok(extended)
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
            time::happened(SystemTime::now()),
        ),
    )?;
    tx.count(receipt.queue).dead += 1;
    Ok(())
}

/// A history as its column holds it. There is room for all of it, so nothing is cut.
pub(crate) fn to_json(history: &History) -> String {
    history.to_json(usize::MAX).unwrap_or_default()
}
