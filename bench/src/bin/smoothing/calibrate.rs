//! What the database sustains: measured first, so that the burst is as large as it says on any
//! machine.
//!
//! So many connections insert as fast as they are answered, for a while each. More of them bring more
//! up to some number, and beyond it only wait for each other. The best of the curve is what is called
//! sustainable here.

use crate::{
    Fault,
    database::{Database, INSERT, connect},
    plan::Order,
    record::{Times, histogram},
};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_postgres::Client;

const AT_ONCE: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const TRIAL: Duration = Duration::from_millis(1500);

/// So many connections, for a while.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) at_once: usize,
    pub(crate) per_second: f64,
    pub(crate) times: Times,
}

/// The best of the curve, in inserts per second.
pub(crate) fn sustainable(trials: &[Trial]) -> f64 {
    trials.iter().map(|trial| trial.per_second).fold(1.0, f64::max)
}

/// Measures the curve.
pub(crate) async fn curve(database: &Database) -> Result<Vec<Trial>, Fault> {
    let mut trials = Vec::new();
    for at_once in AT_ONCE {
        database.reset().await?;
        trials.push(trial(&database.url, at_once).await?);
    }
    Ok(trials)
}

async fn trial(url: &str, at_once: usize) -> Result<Trial, Fault> {
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..at_once {
        clients.push(connect(url).await?);
    }
    let began = Instant::now();
    let loops: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(insert(client, next.clone(), began)))
        .collect();
    let mut all = histogram();
    for inserting in loops {
        all.add(inserting.await??)?;
    }
    Ok(Trial {
        at_once,
        per_second: all.len() as f64 / TRIAL.as_secs_f64(),
        times: Times::of(&all),
    })
}

/// Inserts until the time is up; what ends later does not count.
async fn insert(
    client: Client,
    next: Arc<AtomicU64>,
    began: Instant,
) -> Result<Histogram<u64>, Fault> {
    let statement = client.prepare(INSERT).await?;
    let mut times = histogram();
    loop {
        let order = Order::sound(next.fetch_add(1, Ordering::Relaxed));
        let since = Instant::now();
        client
            .execute(&statement, &[&order.id, &order.customer, &order.amount, &order.note])
            .await?;
        if began.elapsed() > TRIAL {
            return Ok(times);
        }
        times.saturating_record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}
