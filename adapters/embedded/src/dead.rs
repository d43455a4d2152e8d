//! Dead letters: reading, redriving and purging them.
//!
//! They are a table of the same file, so a message moves between queue and dead letters in one
//! transaction, and is never in both or in neither.

use crate::{claim, headers, publish, settle, sql, time, tx::Tx};
use bytes::Bytes;
use forebay_contract::{
    DeadFilter, DeadId, DeadLetter, DeadLettersError, DeadOrigin, DeadReason, History, Message,
};
use rusqlite::{Connection, Row, types::Type};

/// How many are purged in one transaction, so that others get their turn.
pub(crate) const CHUNK: usize = 500;

/// A filter as SQL takes it.
#[derive(Clone)]
pub(crate) struct Query {
    queue: i64,
    name: String,
    reason: Option<&'static str>,
    error_contains: Option<String>,
    died_before: Option<i64>,
    redriven_less_than: Option<u32>,
    ids: Option<String>,
    limit: i64,
}

impl Query {
    pub(crate) fn new(queue: i64, name: &str, filter: &DeadFilter, limit: usize) -> Self {
        let ids = |ids: &[DeadId]| {
            // What is not one of our ids names no letter.
            let ids: Vec<i64> = ids.iter().filter_map(|id| position(id).ok()).collect();
            serde_json::json!(ids).to_string()
        };
        let ids = match &filter.origin_queue {
            // Every letter here was in this queue when it died.
            Some(origin) if origin != name => Some(ids(&[])),
            _ => filter.ids.as_deref().map(ids),
        };
        Self {
            queue,
            name: name.to_owned(),
            reason: filter.reason.map(DeadReason::as_str),
            error_contains: filter.error_contains.clone(),
            died_before: filter.died_before.map(time::of),
            redriven_less_than: filter.redriven_less_than,
            ids,
            limit: sql::rows(limit),
        }
    }

    /// Those that match after a place, oldest death first.
    pub(crate) fn read(&self, conn: &Connection, after: i64) -> rusqlite::Result<Vec<DeadLetter>> {
        let mut statement = conn.prepare_cached(sql::DEAD)?;
        let params = (
            self.queue,
            after,
            self.reason,
            &self.error_contains,
            self.died_before,
            self.redriven_less_than,
            &self.ids,
            self.limit,
        );
        statement.query_map(params, |row| self.letter(row))?.collect()
    }

    fn letter(&self, row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
        let pos: i64 = row.get(0)?;
        let seq: i64 = row.get(1)?;
        let mut message = Message::new(row.get_ref(2)?.as_str()?, row.get::<_, Vec<u8>>(4)?);
        message.key = row.get_ref(3)?.as_bytes_or_null()?.map(Bytes::copy_from_slice);
        if let Some(bytes) = row.get_ref(5)?.as_bytes_or_null()? {
            message.headers = claim::read_headers(5, bytes)?;
        }
        message.enqueued_at = Some(time::system(row.get(6)?));
        message.attempt = row.get(7)?;
        message.interrupted = row.get(8)?;
        message.deliveries = Some(row.get(9)?);
        message.redrives = row.get(10)?;
        message.history = History::from_json(row.get_ref(12)?.as_str()?).unwrap_or_default();
        let reason = row.get_ref(11)?.as_str()?.parse();
        Ok(DeadLetter {
            id: DeadId(pos.to_string().into()),
            message,
            reason: reason.map_err(|error: String| {
                rusqlite::Error::FromSqlConversionFailure(11, Type::Text, error.into())
            })?,
            origin: DeadOrigin { queue: self.name.clone(), position: seq.to_string() },
            died_at: time::system(row.get(13)?),
        })
    }
}

/// The place that an id stands for.
pub(crate) fn position(id: &DeadId) -> Result<i64, DeadLettersError> {
    id.0.parse().map_err(|_| {
        let text = format!("`{id}` is not the id of a dead letter here: those are numbers");
        DeadLettersError::Fatal(text.into())
    })
}

/// Moves those that match back into the queue: each at the end, as a new row with its old identity.
pub(crate) fn redrive(tx: &mut Tx<'_>, query: &Query) -> rusqlite::Result<Vec<DeadLetter>> {
    let letters = query.read(tx.conn, 0)?;
    let first = tx.numbers(letters.len())?;
    for (seq, letter) in (first..).zip(&letters) {
        let message = &letter.message;
        let id = message.id.to_string();
        let headers = headers::encode(&message.headers);
        tx.execute(sql::SET_HISTORY, (seq, settle::to_json(&message.history)))?;
        publish::insert(
            tx,
            &publish::Entry {
                seq,
                queue: query.queue,
                id: Some(&id),
                key: message.key.as_deref(),
                payload: &message.payload,
                headers: headers.as_deref(),
                enqueued: message.enqueued_at.map_or(tx.now, time::of),
                due: tx.now,
                redrives: message.redrives.saturating_add(1),
            },
        )?;
        exhume(tx, query.queue, letter)?;
    }
    Ok(letters)
}

/// Deletes those that match, and says how many.
pub(crate) fn purge(tx: &mut Tx<'_>, query: &Query) -> rusqlite::Result<usize> {
    let letters = query.read(tx.conn, 0)?;
    for letter in &letters {
        exhume(tx, query.queue, letter)?;
    }
    Ok(letters.len())
}

fn exhume(tx: &mut Tx<'_>, queue: i64, letter: &DeadLetter) -> rusqlite::Result<()> {
    let removed = tx.execute(sql::EXHUME, [&*letter.id.0])?;
    tx.count(queue).dead -= sql::rows(removed);
    Ok(())
}
