//! Storing what producers send, inside the writer's transaction.

use crate::{headers, sql, time, tx::Tx};
use forebay_contract::{FOREBAY_ID, MessageId, Outgoing};
use rusqlite::OptionalExtension;

/// A message on its way in.
pub(crate) struct Entry<'a> {
    pub(crate) seq: i64,
    pub(crate) queue: i64,
    pub(crate) id: Option<&'a str>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
    pub(crate) headers: Option<&'a [u8]>,
    pub(crate) enqueued: i64,
    pub(crate) due: i64,
    pub(crate) redrives: u32,
}

/// Stores a batch, in order, and says under which identities. Those without a key become runnable
/// together, by one statement.
pub(crate) fn publish(
    tx: &mut Tx<'_>,
    queue: i64,
    batch: &[Outgoing],
) -> rusqlite::Result<Vec<MessageId>> {
    let first = tx.numbers(batch.len())?;
    let mut ids = Vec::with_capacity(batch.len());
    let mut soonest = None;
    for (seq, message) in (first..).zip(batch) {
        let id = identity(message);
        let text = id.as_ref().map(ToString::to_string);
        let headers = headers::encode(&message.headers);
        let due = message.delay.map_or(tx.now, |delay| time::later(tx.now, delay));
        let entry = Entry {
            seq,
            queue,
            id: text.as_deref(),
            key: message.key.as_deref(),
            payload: &message.payload,
            headers: headers.as_deref(),
            enqueued: tx.now,
            due,
            redrives: 0,
        };
        store(tx, &entry)?;
        match entry.key {
            Some(key) => place(tx, &entry, key)?,
            None => soonest = Some(soonest.map_or(due, |soonest: i64| soonest.min(due))),
        }
        ids.push(id.unwrap_or_else(|| MessageId::from(seq.unsigned_abs())));
    }
    // It outlives the transaction, and would hold on to the last payload.
    tx.statement(sql::INSERT_MESSAGE)?.clear_bindings();
    tx.count(queue).total += sql::rows(batch.len());
    if let Some(soonest) = soonest {
        tx.execute(sql::INSERT_RUNNABLES, (first, first + sql::rows(batch.len())))?;
        tx.due(queue, soonest);
    }
    Ok(ids)
}

/// What identifies a message, if its producer said so; a copy keeps what its header says.
fn identity(message: &Outgoing) -> Option<MessageId> {
    message.headers.get_str(FOREBAY_ID).map(MessageId::from).or_else(|| message.id.clone())
}

/// Stores a message: runnable, or blocked behind an earlier one of its key.
pub(crate) fn insert(tx: &mut Tx<'_>, entry: &Entry<'_>) -> rusqlite::Result<()> {
    store(tx, entry)?;
    tx.count(entry.queue).total += 1;
    match entry.key {
        Some(key) => place(tx, entry, key),
        None => runnable(tx, entry.queue, entry.due, entry.seq, entry.redrives),
    }
}

/// Writes what the producer said. It is in its queue only once it is runnable or blocked.
fn store(tx: &mut Tx<'_>, entry: &Entry<'_>) -> rusqlite::Result<()> {
    let Entry { seq, queue, id, key, payload, headers, enqueued, due, redrives } = *entry;
    let row = (seq, queue, id, key, payload, headers, enqueued, due, redrives);
    tx.execute(sql::INSERT_MESSAGE, row).map(drop)
}

/// Makes a stored message with a key runnable, or puts it behind an earlier one of its key.
fn place(tx: &mut Tx<'_>, entry: &Entry<'_>, key: &[u8]) -> rusqlite::Result<()> {
    let Entry { seq, queue, due, redrives, .. } = *entry;
    if is_held(tx, queue, key, seq)? {
        return tx.execute(sql::INSERT_BLOCKED, (queue, due, seq)).map(drop);
    }
    runnable(tx, queue, due, seq, redrives)
}

/// Makes a message that was never handed out claimable. If it was redriven, it has a history.
pub(crate) fn runnable(
    tx: &mut Tx<'_>,
    queue: i64,
    due: i64,
    seq: i64,
    redrives: u32,
) -> rusqlite::Result<()> {
    tx.execute(sql::INSERT_RUNNABLE, (queue, due, seq, 0, 0, 0, redrives > 0))?;
    tx.due(queue, due);
    Ok(())
}

fn is_held(tx: &mut Tx<'_>, queue: i64, key: &[u8], seq: i64) -> rusqlite::Result<bool> {
    let held = tx.statement(sql::KEY_IS_HELD)?.query_row((queue, key, seq), |_| Ok(()));
    Ok(held.optional()?.is_some())
}
