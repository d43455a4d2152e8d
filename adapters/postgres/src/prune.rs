//! Forgetting messages that can no longer come again: a few at a time, so that no handler waits for
//! it and no long transaction holds up a vacuum.
//!
//! An index by age would be found quickly, and paid for by every message. Instead the table is walked
//! through, a stretch of its blocks now and then, so fast that a whole round takes an eighth of the
//! retention at most (in a small table: that each look sees all of it).

use crate::{InboxOptions, PgPool, inbox::Counters, pool::WeakPool, sqlstate::failure};
use forebay::Failure;
use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;

/// How long it rests between two statements that deleted all they could.
const REST: Duration = Duration::from_millis(50);
/// How many blocks one statement looks at, at most.
const STRETCH: u64 = 64;
/// How many blocks are looked at each time, at least, if there are so many.
const LEAST: u64 = 256;
/// How many rounds are made within the retention, at least.
const ROUNDS: f64 = 8.0;

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
    let (table, options) = (table.to_owned(), options.clone());
    Pruner(tokio::spawn(async move {
        // Workers that are never up for a whole round see all of the table together.
        let mut from = fastrand::u32(..).into();
        loop {
            tokio::time::sleep(options.prune_every).await;
            let Some(pool) = pool.upgrade() else { return };
            match look(&pool, &table, &options, &counters, from).await {
                Ok(next) => from = next,
                Err(error) => tracing::warn!(
                    consumer = options.consumer,
                    "pruning the inbox failed, and is tried again: {error}"
                ),
            }
        }
    }))
}

/// Looks at some blocks, and says where to go on the next time.
async fn look(
    pool: &PgPool,
    table: &str,
    options: &InboxOptions,
    counters: &Counters,
    from: u64,
) -> Result<u64, Failure> {
    let blocks = blocks(pool, table).await?;
    let share = options.prune_every.div_duration_f64(options.retention) * ROUNDS;
    let (stretches, next) = stretches(blocks, share, from);
    for stretch in stretches {
        loop {
            let pruned = prune(pool, table, options, stretch.clone()).await?;
            counters.pruned.fetch_add(pruned, Ordering::Relaxed);
            if pruned < u64::from(options.prune_batch) {
                break;
            }
            tokio::time::sleep(REST).await;
        }
    }
    Ok(next)
}

/// What to look at now, and where to go on: `share` of the blocks, but a few at least, and none twice.
fn stretches(blocks: u64, share: f64, from: u64) -> (Vec<Range<u64>>, u64) {
    if blocks == 0 {
        return (Vec::new(), from);
    }
    let from = from % blocks;
    let wanted = ((blocks as f64 * share).ceil() as u64).max(LEAST).min(blocks);
    // To the end, and on from the beginning.
    let to_end = wanted.min(blocks - from);
    let parts = [from..from + to_end, 0..wanted - to_end];
    let stretches = parts.into_iter().flat_map(|part| {
        let end = part.end;
        part.step_by(STRETCH as usize).map(move |start| start..end.min(start + STRETCH))
    });
    (stretches.collect(), (from + wanted) % blocks)
}

/// How many blocks the table has.
async fn blocks(pool: &PgPool, table: &str) -> Result<u64, Failure> {
    let transaction = pool.begin().await?;
    let sql = "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint";
    let rows = transaction.query(sql, &[(&table, Type::TEXT)]).await.map_err(failure)?;
    transaction.commit().await?;
    let blocks = rows.first().map_or(0, |row| row.get::<_, i64>(0));
    Ok(blocks.unsigned_abs())
}

/// Finds rows by their blocks alone. Those that another worker is deleting are left to it.
fn statement(table: &str, blocks: &Range<u64>) -> String {
    format!(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM {table}
            WHERE ctid >= '({},0)' AND ctid < '({},0)'
              AND consumer = $1 AND done_at < now() - make_interval(secs => $2)
            LIMIT $3 FOR UPDATE SKIP LOCKED))",
        blocks.start, blocks.end
    )
}

async fn prune(
    pool: &PgPool,
    table: &str,
    options: &InboxOptions,
    blocks: Range<u64>,
) -> Result<u64, Failure> {
    let (retention, batch) = (options.retention.as_secs_f64(), i64::from(options.prune_batch));
    let parameters = [
        (&options.consumer as _, Type::TEXT),
        (&retention as _, Type::FLOAT8),
        (&batch as _, Type::INT8),
    ];
    let transaction = pool.begin().await?;
    let sql = statement(table, &blocks);
    let pruned = transaction.execute(&sql, &parameters).await.map_err(failure)?;
    transaction.commit().await?;
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_round_sees_every_block_and_no_look_sees_one_twice(
            blocks in 1_u64..20_000,
            looks in 1_u32..200,
            start in 0..=u64::from(u32::MAX),
        ) {
            let share = 1.0 / f64::from(looks);
            let mut seen = vec![0; blocks as usize];
            let mut from = start;
            for _ in 0..looks {
                let (now, next) = stretches(blocks, share, from);
                let mut of_this_look = vec![false; blocks as usize];
                for stretch in now {
                    prop_assert!(!stretch.is_empty() && stretch.end - stretch.start <= STRETCH);
                    for block in stretch {
                        prop_assert!(!of_this_look[block as usize], "{block} twice");
                        of_this_look[block as usize] = true;
                        seen[block as usize] += 1;
                    }
                }
                let looked_at = of_this_look.iter().filter(|seen| **seen).count();
                prop_assert!(looked_at >= blocks.min(LEAST) as usize);
                from = next;
            }
            prop_assert!(seen.iter().all(|times| *times > 0));
        }
    }

    #[test]
    fn an_empty_table_has_nothing_to_look_at() {
        assert_eq!(stretches(0, 0.5, 7), (vec![], 7));
    }
}
