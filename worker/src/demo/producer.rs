//! The producer: sends what is due when it is due, however far behind the workers are.

use super::{database::now_us, plan::Plan};
use forebay::{Outgoing, Sink};
use forebay_embedded::Queue;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// At most this many in one publish.
const BATCH: usize = 500;
/// How long to wait before publishing again what was not confirmed.
const AGAIN: Duration = Duration::from_millis(50);

/// Orders whose publishing was confirmed: those with an id below it.
pub(super) type Sent = Arc<AtomicU64>;

/// Sends the whole plan, from `started` on. Returns when all of it is confirmed: an order counts as
/// sent from then on, and may not be lost.
pub(super) async fn produce(plan: &Plan, queue: &Queue, started: Instant, sent: &Sent) {
    let epoch_us = now_us() - micros(started.elapsed());
    let due = plan.due();
    let mut next = 0;
    while next < due.len() {
        sleep_until(started + due[next]).await;
        let elapsed = started.elapsed();
        let ready = due[next..].iter().take(BATCH).take_while(|at| **at <= elapsed).count();
        let batch: Vec<_> = (next..next + ready)
            .map(|id| {
                let payload = plan.payload(id as u64, epoch_us + micros(due[id]));
                Outgoing::new(payload).id(id as u64)
            })
            .collect();
        publish(queue, batch).await;
        next += ready;
        sent.store(next as u64, Ordering::Relaxed);
    }
}

/// Publishes until every one of them is confirmed.
async fn publish(queue: &Queue, mut batch: Vec<Outgoing>) {
    loop {
        let confirmed = queue.publish(&batch).await;
        let mut confirmed = confirmed.iter();
        batch.retain(|_| !confirmed.next().is_some_and(Result::is_ok));
        if batch.is_empty() {
            return;
        }
        sleep(AGAIN).await;
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
