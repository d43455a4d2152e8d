//! Forebay in batches beside a bare COPY loop: the same payloads out of memory, the same size of batch,
//! in turn, as fast as they go.
//!
//! The bare loop decodes a batch, sends it by COPY on its one connection, waits for the answer, and
//! takes the next: no marks, no savepoint, no acknowledgement. Forebay's sink runs with its inbox, as
//! it should, and without, so that the price of the marks can be seen; and with two batches at once, where
//! one is made ready while the other is written, which the bare loop with its one connection has no answer
//! to.

use crate::{
    Fault,
    database::{COLUMNS, Database, connect},
    lanes::{self, Setup},
    plan::Order,
};
use bytes::Bytes;
use forebay::{Outgoing, Sink};
use forebay_memory::{MemoryOptions, MemoryQueue};
use futures_util::SinkExt;
use serde::Serialize;
use std::{
    fmt::Write,
    pin::pin,
    time::{Duration, Instant},
};

/// Rows per second of each, in one go.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) bare: f64,
    pub(crate) with_inbox: f64,
    pub(crate) two_at_once: f64,
    pub(crate) without_inbox: f64,
}

/// Runs each once.
pub(crate) async fn pair(
    database: &Database,
    setup: Setup,
    rows: u64,
    number: usize,
) -> Result<Pair, Fault> {
    let payloads: Vec<Bytes> = (0..rows).map(|id| Order::sound(id).encoded().into()).collect();
    let mut rates = [0.0; 4];
    for turn in 0..rates.len() {
        // Each has each turn as often as the others.
        let which = (turn + number) % rates.len();
        database.reset().await?;
        let took = match which {
            0 => bare(&database.url, &payloads, setup.batch).await?,
            _ => {
                let queue = MemoryQueue::with(MemoryOptions::default().without_notes());
                let batch: Vec<_> = payloads.iter().cloned().map(Outgoing::new).collect();
                for answer in queue.publish(&batch).await {
                    answer?;
                }
                let batches_at_once = if which == 2 { 2 } else { 1 };
                let setup = Setup { batches_at_once, ..setup };
                lanes::write_all(&database.url, setup, &queue, which < 3).await?
            }
        };
        let written = database.rows().await?;
        if (written.rows, written.distinct) != (rows, rows) {
            return Err(format!("{rows} rows were to be written, and there are {written:?}").into());
        }
        rates[which] = rows as f64 / took.as_secs_f64();
    }
    let [bare, with_inbox, two_at_once, without_inbox] = rates;
    Ok(Pair { bare, with_inbox, two_at_once, without_inbox })
}

async fn bare(url: &str, payloads: &[Bytes], batch: usize) -> Result<Duration, Fault> {
    let client = connect(url).await?;
    let copy = format!("COPY orders ({}) FROM STDIN", COLUMNS.join(", "));
    let statement = client.prepare(&copy).await?;
    let began = Instant::now();
    for batch in payloads.chunks(batch) {
        let mut text = String::new();
        for payload in batch {
            let Order { id, customer, amount, note } = serde_json::from_slice(payload)?;
            writeln!(text, "{id}\t{customer}\t{amount}\t{note}")?;
        }
        let mut sink = pin!(client.copy_in::<_, Bytes>(&statement).await?);
        sink.send(text.into()).await?;
        sink.finish().await?;
    }
    Ok(began.elapsed())
}
