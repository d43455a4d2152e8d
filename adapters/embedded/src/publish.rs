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

/// Stores a batch, in order, and says under which identities.
pub(crate) fn publish(
    tx: &mut Tx<'_>,
    queue: i64,
    batch: &[Outgoing],
) -> rusqlite::Result<Vec<MessageId>> {
    let first = tx.numbers(batch.len())?;
    let mut ids = Vec::with_capacity(batch.len());
    for (seq, message) in (first..).zip(batch) {
        let id = identity(message);
        let text = id.as_ref().map(ToString::to_string);
        let headers = headers::encode(&message.headers);
        insert(
            tx,
            &Entry {
                seq,
                queue,
                id: text.as_deref(),
                key: message.key.as_deref(),
                payload: &message.payload,
                headers: headers.as_deref(),
                enqueued: tx.now,
                due: message.delay.map_or(tx.now, |delay| time::later(tx.now, delay)),
                redrives: 0,
            },
        )?;
        ids.push(id.unwrap_or_else(|| MessageId::from(seq.unsigned_abs())));
    }
    Ok(ids)
}

/// What identifies a message, if its producer said so; a copy keeps what its header says.
fn identity(message: &Outgoing) -> Option<MessageId> {
    message.headers.get_str(FOREBAY_ID).map(MessageId::from).or_else(|| message.id.clone())
}

/// Stores a message: runnable, or blocked behind an earlier one of its key.
pub(crate) fn insert(tx: &mut Tx<'_>, entry: &Entry<'_>) -> rusqlite::Result<()> {
    let Entry { seq, queue, key, due, redrives, .. } = *entry;
    tx.execute(
        sql::INSERT_MESSAGE,
        (seq, queue, entry.id, key, entry.payload, entry.headers, entry.enqueued, due, redrives),
    )?;
    tx.count(queue).total += 1;
    if let Some(key) = key
        && is_held(tx, queue, key, seq)?
    {
        tx.execute(sql::INSERT_BLOCKED, (queue, due, seq))?;
        return Ok(());
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

fn is_held(tx: &Tx<'_>, queue: i64, key: &[u8], seq: i64) -> rusqlite::Result<bool> {
    let mut statement = tx.conn.prepare_cached(sql::KEY_IS_HELD)?;
    Ok(statement.query_row((queue, key, seq), |_| Ok(())).optional()?.is_some())
}
