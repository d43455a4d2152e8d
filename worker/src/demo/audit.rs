//! The books: what queue, workers and clients say became of the orders, held against the rows that
//! are in the database.

use super::{
    plan::{Fate, Plan},
    report,
};
use hdrhistogram::Histogram;
use rusqlite::Connection;
use std::{collections::BTreeSet, path::Path};

/// How many ids a mismatch names.
const NAMED: usize = 10;

/// What was said of a run by those who took part in it.
pub(super) struct Told {
    /// Orders that were confirmed as sent.
    pub(super) sent: u64,
    /// Still in the queue.
    pub(super) left: u64,
    /// Ids of the dead letters; without a queue, of what was refused.
    pub(super) dead: Vec<u64>,
    /// Clients that were told of a failure, or nothing at all.
    pub(super) failed: u64,
    /// Failed attempts that were made again.
    pub(super) retried: u64,
    /// Put off because the database was locked.
    pub(super) postponed: u64,
    /// How long the calls that succeeded took, commit included, in microseconds.
    pub(super) took: Histogram<u64>,
}

/// What the database says, and what does not fit.
pub(super) struct Audit {
    /// Orders with at least one row.
    pub(super) done: u64,
    /// Rows beyond the first of an order.
    pub(super) duplicates: u64,
    /// Orders that were neither done nor dead.
    pub(super) lost: u64,
    /// Orders that needed more than one attempt.
    pub(super) again: u64,
    /// Orders done by another worker than the first that had them.
    pub(super) redelivered: u64,
    /// Clients that were told of a failure, or nothing, though their order was done.
    pub(super) in_doubt: u64,
    /// Whether the dead letters are just the injected poison.
    pub(super) dead_as_injected: bool,
    /// From when it was due to when its handler was called, in microseconds.
    pub(super) waited: Histogram<u64>,
    /// What does not fit, in words.
    pub(super) mismatches: Vec<String>,
}

/// Reads the rows and compares. Without a queue, what is lost is counted and no mismatch.
pub(super) fn audit(
    orders: &Path,
    plan: &Plan,
    told: &Told,
    with_queue: bool,
) -> rusqlite::Result<Audit> {
    let conn = Connection::open(orders)?;
    let number = |sql: &str| -> rusqlite::Result<u64> {
        conn.query_row(sql, (), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    };
    let rows = number("SELECT count(*) FROM effects")?;
    let mut done = BTreeSet::new();
    let mut waited = report::histogram();
    let mut first =
        conn.prepare("SELECT id, min(started_us) - sent_us FROM effects GROUP BY id")?;
    let mut first = first.query(())?;
    while let Some(row) = first.next()? {
        done.insert(row.get::<_, i64>(0)?.unsigned_abs());
        waited.saturating_record(row.get::<_, i64>(1)?.max(0).unsigned_abs());
    }
    let dead: BTreeSet<u64> = told.dead.iter().copied().collect();
    let poison: BTreeSet<u64> = plan.ids(Fate::is_poison).filter(|id| *id < told.sent).collect();
    let lost: BTreeSet<u64> =
        (0..told.sent).filter(|id| !done.contains(id) && !dead.contains(id)).collect();

    let mut mismatches = Vec::new();
    let mut expect_none = |what: &str, ids: Vec<u64>| {
        if !ids.is_empty() {
            mismatches.push(format!("{what}: {}", named(&ids)));
        }
    };
    if with_queue {
        expect_none("neither done nor dead", lost.iter().copied().collect());
        expect_none("poison, but not dead", poison.difference(&dead).copied().collect());
    }
    expect_none("dead, but not poison", dead.difference(&poison).copied().collect());
    expect_none("both done and dead", done.intersection(&dead).copied().collect());
    expect_none("done, but never sent", done.range(told.sent..).copied().collect());
    if told.left > 0 {
        mismatches.push(format!("{} orders are still in the queue", told.left));
    }
    let balances = number(
        "SELECT count(*) FROM account WHERE id = 1
         AND cents = (SELECT coalesce(sum(cents), 0) FROM effects)
         AND orders = (SELECT count(*) FROM effects)",
    )?;
    if balances != 1 {
        mismatches.push("the account does not add up to the rows".to_owned());
    }
    Ok(Audit {
        done: done.len() as u64,
        duplicates: rows - done.len() as u64,
        lost: lost.len() as u64,
        again: number("SELECT count(DISTINCT id) FROM effects WHERE attempt > 1")?,
        redelivered: number("SELECT count(DISTINCT id) FROM effects WHERE redelivered")?,
        in_doubt: (done.len() as u64).saturating_sub(told.took.len()),
        dead_as_injected: dead == poison,
        waited,
        mismatches,
    })
}

fn named(ids: &[u64]) -> String {
    let mut text: Vec<_> = ids.iter().take(NAMED).map(u64::to_string).collect();
    if ids.len() > NAMED {
        text.push(format!("and {} more", ids.len() - NAMED));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::database::{Execution, book, connect, create};
    use std::time::Duration;

    /// Carries out all orders that can be, but as `change` says, and audits what it is told then.
    fn audited(change: impl Fn(&mut Vec<u64>, &mut Told)) -> Audit {
        let plan = Plan::new(1, 30.0, Duration::from_millis(500));
        let poison: Vec<u64> = plan.ids(Fate::is_poison).collect();
        let mut done: Vec<u64> = plan.ids(|fate| !fate.is_poison()).collect();
        let mut told = Told {
            sent: plan.len() as u64,
            left: 0,
            dead: poison,
            failed: 0,
            retried: 0,
            postponed: 0,
            took: report::histogram(),
        };
        change(&mut done, &mut told);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        create(&path).unwrap();
        let mut conn = connect(&path).unwrap();
        conn.pragma_update(None, "synchronous", "off").unwrap();
        let execution = Execution { attempt: 1, redelivered: false, started_us: 5 };
        for id in done {
            book(&mut conn, &plan.order(id, 2), execution).unwrap();
        }
        audit(&path, &plan, &told, true).unwrap()
    }

    #[test]
    fn books_that_balance_have_no_mismatch() {
        let audit = audited(|_, _| {});
        assert_eq!(audit.mismatches, Vec::<String>::new());
        assert_eq!((audit.lost, audit.duplicates), (0, 0));
        assert!(audit.dead_as_injected);
    }

    #[test]
    fn a_lost_order_is_named() {
        let audit = audited(|done, _| done.retain(|id| *id != 17));
        assert_eq!(audit.lost, 1);
        assert_eq!(audit.mismatches, ["neither done nor dead: 17"]);
    }

    #[test]
    fn an_order_done_twice_is_counted_and_no_mismatch() {
        let audit = audited(|done, _| done.push(17));
        assert_eq!(audit.duplicates, 1);
        assert_eq!(audit.mismatches, Vec::<String>::new());
    }

    #[test]
    fn a_dead_letter_that_should_not_be_one_is_named() {
        let audit = audited(|_, told| told.dead.push(17));
        assert_eq!(audit.mismatches, ["dead, but not poison: 17", "both done and dead: 17"]);
        assert!(!audit.dead_as_injected);
    }

    #[test]
    fn what_is_left_in_the_queue_is_a_mismatch() {
        let audit = audited(|_, told| told.left = 3);
        assert_eq!(audit.mismatches, ["3 orders are still in the queue"]);
    }
}
