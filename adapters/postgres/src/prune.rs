//! Forgetting messages that can no longer come again: a few at a time, so that no handler waits for
//! it and no long transaction holds up a vacuum.

use crate::{InboxOptions, PgPool, inbox::Counters, pool::WeakPool, sqlstate::failure};
use forebay::Failure;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;

/// How long it rests between two batches.
const REST: Duration = Duration::from_millis(50);

/// The task; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Pruner(JoinHandle<()>);

impl Drop for Pruner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts pruning a consumer's marks, now and then.
pub(crate) fn start(
    pool: WeakPool,
    table: &str,
    options: &InboxOptions,
    counters: Arc<Counters>,
) -> Pruner {
    let sql = statement(table);
    let (consumer, every) = (options.consumer.clone(), options.prune_every);
    let (retention, batch) = (options.retention.as_secs_f64(), i64::from(options.prune_batch));
    Pruner(tokio::spawn(async move {
        let mut rest = every;
        loop {
            tokio::time::sleep(rest).await;
            let Some(pool) = pool.upgrade() else { return };
            rest = match prune(&pool, &sql, &consumer, retention, batch).await {
                Ok(pruned) => {
                    counters.pruned.fetch_add(pruned, Ordering::Relaxed);
                    if pruned as i64 == batch { REST } else { every }
                }
                Err(error) => {
                    tracing::warn!(
                        consumer,
                        "pruning the inbox failed, and is tried again: {error}"
                    );
                    every
                }
            };
        }
    }))
}

/// Rows that another worker is deleting are left to it.
fn statement(table: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM {table}
            WHERE consumer = $1 AND done_at < now() - make_interval(secs => $2)
            ORDER BY done_at LIMIT $3 FOR UPDATE SKIP LOCKED))"
    )
}

async fn prune(
    pool: &PgPool,
    sql: &str,
    consumer: &str,
    retention: f64,
    batch: i64,
) -> Result<u64, Failure> {
    let transaction = pool.begin().await?;
    let parameters =
        [(&consumer as _, Type::TEXT), (&retention as _, Type::FLOAT8), (&batch as _, Type::INT8)];
    let pruned = transaction.execute(sql, &parameters).await.map_err(failure)?;
    transaction.commit().await?;
    Ok(pruned)
}
