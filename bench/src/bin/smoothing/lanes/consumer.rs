//! (b) What people write by hand: a queue, and so many loops that take from it and insert.
//!
//! The queue is in memory and forgets what it has given out: nothing is acknowledged, and no row is
//! recognised that comes again. A row that the database refuses is dropped.

use super::{Left, Stage};
use crate::{
    Fault,
    database::{INSERT, connect, is_refusal, name_of},
    plan::Order,
    record::Record,
};
use std::{sync::Arc, time::Instant};
use tokio::sync::{
    Mutex,
    mpsc::{UnboundedReceiver, unbounded_channel},
};
use tokio_postgres::Client;

/// How many loops.
const AT_ONCE: usize = 64;

type Queue = Arc<Mutex<UnboundedReceiver<Vec<u8>>>>;

pub(super) async fn play(stage: Stage) -> Result<Left, Fault> {
    let (sender, receiver) = unbounded_channel();
    let queue: Queue = Arc::new(Mutex::new(receiver));
    let mut loops = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        let client = connect(&stage.url).await?;
        loops.push(tokio::spawn(consume(client, queue.clone(), stage.record.clone())));
    }
    let plan = stage.plan.clone();
    let offer = move |ids: std::ops::Range<u64>| {
        for id in ids {
            // Whoever has stopped consuming has the rest counted as waiting.
            let _ = sender.send(plan.payload(id));
        }
    };
    stage.perform(offer).await?;
    // The sender is gone: what is in hand is finished, and the rest is counted.
    let mut left = Left::default();
    {
        let mut queue = queue.lock().await;
        queue.close();
        while queue.try_recv().is_ok() {
            left.waiting += 1;
        }
    }
    for consumer in loops {
        consumer.await??;
    }
    Ok(left)
}

async fn consume(client: Client, queue: Queue, record: Arc<Record>) -> Result<(), Fault> {
    let insert = client.prepare(INSERT).await?;
    loop {
        let next = queue.lock().await.recv().await;
        let Some(payload) = next else { return Ok(()) };
        let Order { id, customer, amount, note } = serde_json::from_slice(&payload)?;
        let began = Instant::now();
        let inserted = client.execute(&insert, &[&id, &customer, &amount, &note]).await;
        record.statement(began.elapsed(), 1);
        match inserted {
            Ok(_) => record.written(id.unsigned_abs()),
            Err(error) if is_refusal(&error) => record.refused(id.unsigned_abs()),
            Err(error) => record.failed(id.unsigned_abs(), &name_of(&error)),
        }
    }
}
