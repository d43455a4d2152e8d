//! The same burst without a queue: each arrival is a client that writes to the database itself, with a
//! timeout, as a web request would.

use super::{
    Folder,
    audit::Told,
    database::{Execution, POOL, Pool, now_us},
    plan::{Fate, Plan},
    producer::micros,
    report,
    sample::{EVERY, Reader, Sample, Timeline},
};
use crate::error::CliError;
use hdrhistogram::Histogram;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};

/// How long a client waits for its answer.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// What clients have been told.
struct Clients {
    sent: AtomicU64,
    waiting: AtomicU64,
    failed: AtomicU64,
    refused: Mutex<Vec<u64>>,
    took: Mutex<Histogram<u64>>,
}

/// Runs it, and returns what was seen and what the clients were told.
pub(super) async fn run(folder: &Folder, plan: &Plan) -> Result<(Timeline, Told), CliError> {
    let clients = Arc::new(Clients {
        sent: AtomicU64::new(0),
        waiting: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        refused: Mutex::default(),
        took: Mutex::new(report::histogram()),
    });
    let pool = Pool::new(folder.orders());
    let started = Instant::now();
    let mut timeline = Timeline::default();
    tokio::try_join!(watch(folder, plan, &clients, &mut timeline, started), async {
        send(plan, &pool, &clients, started).await;
        Ok(())
    })?;
    let refused = clients.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let took = clients.took.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let told = Told {
        sent: clients.sent.load(Ordering::Relaxed),
        left: 0,
        dead: refused,
        failed: clients.failed.load(Ordering::Relaxed),
        retried: 0,
        postponed: 0,
        took,
    };
    Ok((timeline, told))
}

/// One client per order, each when it is due; returns when the last has its answer, and the database
/// is at rest.
async fn send(plan: &Plan, pool: &Pool, clients: &Arc<Clients>, started: Instant) {
    let epoch_us = now_us() - micros(started.elapsed());
    let mut tasks = JoinSet::new();
    for (id, due) in plan.due().iter().enumerate() {
        sleep_until(started + *due).await;
        let id = id as u64;
        clients.sent.fetch_add(1, Ordering::Relaxed);
        clients.waiting.fetch_add(1, Ordering::Relaxed);
        let (fate, order) = (plan.fate(id), plan.order(id, epoch_us + micros(*due)));
        let (pool, clients) = (pool.clone(), clients.clone());
        tasks.spawn(async move {
            clients.call(&pool, fate, order).await;
            clients.waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
    while tasks.join_next().await.is_some() {}
    pool.at_rest().await;
}

impl Clients {
    async fn call(&self, pool: &Pool, fate: Fate, order: super::plan::Order) {
        let (id, called) = (order.id, Instant::now());
        match fate {
            // A client sees these at once, and does not send them again.
            Fate::Undecodable | Fate::Refused => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                return;
            }
            Fate::Flaky(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Fate::Sound => {}
        }
        let execution = Execution { attempt: 1, redelivered: false, started_us: now_us() };
        if let Ok(Ok(())) = timeout(CLIENT_TIMEOUT, pool.book(order, execution)).await {
            let took = u64::try_from(called.elapsed().as_micros()).unwrap_or(u64::MAX);
            let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
            all.saturating_record(took);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn watch(
    folder: &Folder,
    plan: &Plan,
    clients: &Clients,
    timeline: &mut Timeline,
    started: Instant,
) -> Result<(), CliError> {
    let unreadable = |error| CliError::failed("cannot read the orders database", error);
    let reader = Reader::open(&folder.orders()).map_err(unreadable)?;
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let at = started.elapsed();
        let sample = Sample {
            at,
            sent: clients.sent.load(Ordering::Relaxed),
            rows: reader.rows().map_err(unreadable)?,
            waiting: clients.waiting.load(Ordering::Relaxed),
            limit: POOL as u32,
            failed: clients.failed.load(Ordering::Relaxed),
        };
        timeline.push(sample, plan.phase_at(at));
        if sample.waiting == 0 && sample.sent == plan.len() as u64 {
            return Ok(());
        }
    }
}
