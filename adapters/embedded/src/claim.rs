//! Handing out messages, inside the writer's transaction.
//!
//! What is claimed is always a prefix of the runnable ones, oldest due first. So three statements
//! claim any number of messages: read the prefix, lease it, delete it.

use crate::{Receipt, headers, publish, receipt::Expiry, sql, time, tx::Tx, writer::soonest};
use bytes::Bytes;
use forebay_contract::{Delivery, History, Lease, Message, MessageId, Scope, Want};
use rusqlite::{Connection, OptionalExtension, Params, Row, types::Type};
use std::{sync::Arc, time::Duration};

/// At most this many messages in one claim, and as many expired leases ended beside it.
const MOST: usize = 512;

/// What a claim brought.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) deliveries: Vec<Delivery<Receipt>>,
    /// If nothing: when it is worth looking again, should nobody ring before.
    pub(crate) again_at: Option<i64>,
}

/// Ends leases that ran out, then leases what is due, up to `want`.
pub(crate) fn claim(
    tx: &mut Tx<'_>,
    queue: i64,
    holder: i64,
    lease: Duration,
    want: Want,
) -> rusqlite::Result<Claimed> {
    let (expires_at, now) = (tx.instant + lease, tx.now);
    let expired = leases(tx, sql::EXPIRED, (queue, now, sql::rows(MOST)))?;
    interrupt(tx, queue, expired)?;
    let expires = time::later(now, lease);
    let deliveries = read(tx, queue, Lease { expires_at }, expires, want)?;
    let Some(last) = deliveries.last().map(|delivery| &delivery.receipt) else {
        let mut next = |sql| -> rusqlite::Result<Option<i64>> {
            tx.statement(sql)?.query_row([queue], |row| row.get(0)).optional()
        };
        let again_at = soonest(next(sql::NEXT_DUE)?, next(sql::NEXT_EXPIRY)?);
        return Ok(Claimed { deliveries, again_at });
    };
    let prefix = (queue, last.due, last.seq);
    tx.execute(sql::LEASE_PREFIX, (prefix.0, prefix.1, prefix.2, expires, holder))?;
    tx.execute(sql::DELETE_PREFIX, prefix)?;
    Ok(Claimed { deliveries, again_at: None })
}

/// A lease's expiry, seq, due, attempt, interrupted, deliveries and trail.
type Held = (i64, i64, i64, u32, u32, u32, bool);

fn leases(tx: &mut Tx<'_>, sql: &'static str, params: impl Params) -> rusqlite::Result<Vec<Held>> {
    tx.statement(sql)?.query_map(params, |row| row.try_into())?.collect()
}

/// Puts back what is out and will get no verdict: each a suspect from now on.
fn interrupt(tx: &mut Tx<'_>, queue: i64, held: Vec<Held>) -> rusqlite::Result<()> {
    for (expires, seq, due, attempt, interrupted, deliveries, trail) in held {
        tx.execute(sql::EXPIRE, (queue, expires, seq))?;
        let row = (queue, due, seq, attempt, interrupted.saturating_add(1), deliveries, trail);
        tx.execute(sql::INSERT_RUNNABLE, row)?;
        tx.due(queue, due);
    }
    Ok(())
}

/// Puts back everything that a source has out.
pub(crate) fn interrupt_all(tx: &mut Tx<'_>, queue: i64, holder: i64) -> rusqlite::Result<()> {
    let held = leases(tx, sql::HELD, (queue, holder))?;
    interrupt(tx, queue, held)
}

fn read(
    tx: &mut Tx<'_>,
    queue: i64,
    lease: Lease,
    expires: i64,
    want: Want,
) -> rusqlite::Result<Vec<Delivery<Receipt>>> {
    let (conn, now, most) = (tx.conn, tx.now, want.messages.min(MOST));
    let mut rows = tx.statement(sql::CLAIMABLE)?.query((queue, now, sql::rows(most)))?;
    let mut deliveries = Vec::with_capacity(most.min(64));
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let delivery = delivery(row, queue, lease, expires, conn)?;
        bytes = bytes.saturating_add(delivery.message.size());
        if bytes > want.bytes && !deliveries.is_empty() {
            break;
        }
        deliveries.push(delivery);
    }
    Ok(deliveries)
}

fn delivery(
    row: &Row<'_>,
    queue: i64,
    lease: Lease,
    expires: i64,
    conn: &Connection,
) -> rusqlite::Result<Delivery<Receipt>> {
    let seq: i64 = row.get(1)?;
    let key = row.get_ref(7)?.as_bytes_or_null()?.map(Bytes::copy_from_slice);
    let receipt = Receipt {
        queue,
        seq,
        due: row.get(0)?,
        attempt: row.get(2)?,
        interrupted: row.get(3)?,
        deliveries: row.get::<_, u32>(4)?.saturating_add(1),
        trail: row.get(5)?,
        key,
        expiry: Expiry::new(expires),
    };
    let id = row.get_ref(6)?.as_str_or_null()?;
    let mut message = Message::new(
        id.map_or_else(|| MessageId::from(seq.unsigned_abs()), MessageId::from),
        Bytes::copy_from_slice(row.get_ref(8)?.as_bytes()?),
    );
    message.key.clone_from(&receipt.key);
    if let Some(bytes) = row.get_ref(9)?.as_bytes_or_null()? {
        message.headers = read_headers(9, bytes)?;
    }
    message.enqueued_at = Some(time::system(row.get(10)?));
    message.redrives = row.get(11)?;
    message.attempt = receipt.attempt;
    message.interrupted = receipt.interrupted;
    message.deliveries = Some(receipt.deliveries);
    if receipt.trail {
        let mut history = conn.prepare_cached(sql::HISTORY)?;
        let notes: Option<String> = history.query_row([seq], |row| row.get(0)).optional()?;
        // A history that cannot be read is no reason to lose a payload.
        message.history =
            notes.and_then(|notes| History::from_json(&notes).ok()).unwrap_or_default();
    }
    Ok(Delivery {
        message: Arc::new(message),
        receipt,
        scope: Scope::default(),
        lease: Some(lease),
    })
}

/// Headers of a row; only a damaged file has others than were written.
pub(crate) fn read_headers(
    column: usize,
    bytes: &[u8],
) -> rusqlite::Result<forebay_contract::Headers> {
    headers::decode(bytes).ok_or_else(|| {
        let error = "the headers of a message are damaged".into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, error)
    })
}

/// Makes the next message of a key claimable, after the one before it is gone. It takes its turn
/// behind what is claimable by now: else a hot key, whose messages are all old, would go before
/// everything else.
pub(crate) fn promote(tx: &mut Tx<'_>, queue: i64, key: &[u8]) -> rusqlite::Result<()> {
    let next: Option<(i64, i64, u32)> = tx
        .statement(sql::FIRST_OF_KEY)?
        .query_row((queue, key), |row| row.try_into())
        .optional()?;
    let Some((seq, due, redrives)) = next else { return Ok(()) };
    if tx.execute(sql::DELETE_BLOCKED, (queue, due, seq))? == 1 {
        publish::runnable(tx, queue, due.max(tx.now), seq, redrives)?;
    }
    Ok(())
}
