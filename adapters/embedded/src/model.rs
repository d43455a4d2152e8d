//! The statements against a model of what they mean: random schedules of publishing, claiming,
//! settling and waiting, on a clock of their own, compared after every step.

use crate::{Receipt, claim, dead, publish, schema, settle, tx::Tx};
use forebay_contract::{
    DeadFilter, DeadReason, Delivery, FailureKind, FailureNote, MessageId, Outgoing, Settlement,
    Verdict, Want,
};
use proptest::prelude::*;
use rusqlite::Connection;
use std::time::{Duration, Instant, UNIX_EPOCH};

const QUEUE: i64 = 1;
const LEASE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
enum Step {
    Publish { key: Option<u8>, delay: u64 },
    Claim { messages: usize },
    Settle { which: usize, verdict: u8, after: u64 },
    Acknowledge { which: usize, count: usize },
    Extend { which: usize, by: u64 },
    Redrive { limit: usize },
    Wait { millis: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::option::of(0..3_u8), prop_oneof![3 => Just(0), 1 => 1..90_u64])
            .prop_map(|(key, delay)| Step::Publish { key, delay }),
        3 => (1..5_usize).prop_map(|messages| Step::Claim { messages }),
        4 => (any::<usize>(), 0..6_u8, prop_oneof![Just(0), 1..90_u64])
            .prop_map(|(which, verdict, after)| Step::Settle { which, verdict, after }),
        2 => (any::<usize>(), 1..6_usize)
            .prop_map(|(which, count)| Step::Acknowledge { which, count }),
        1 => (any::<usize>(), 0..200_u64).prop_map(|(which, by)| Step::Extend { which, by }),
        1 => (1..3_usize).prop_map(|limit| Step::Redrive { limit }),
        2 => (1..120_i64).prop_map(|millis| Step::Wait { millis }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Runnable,
    Blocked,
    Leased { expires: i64 },
}

#[derive(Clone, Debug)]
struct Row {
    seq: i64,
    id: u64,
    key: Option<u8>,
    due: i64,
    at: At,
    attempt: u32,
    interrupted: u32,
    deliveries: u32,
    notes: usize,
    redrives: u32,
}

/// What the tables should hold.
struct Model {
    conn: Connection,
    now: i64,
    /// The next number: messages and dead letters share them.
    next: i64,
    rows: Vec<Row>,
    dead: Vec<Row>,
    /// Every hand-out that ever was, stale ones too.
    out: Vec<Delivery<Receipt>>,
}

impl Model {
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(schema::CREATE).unwrap();
        conn.execute("INSERT INTO queue (id, name) VALUES (?1, 'q')", [QUEUE]).unwrap();
        let next = conn.query_row("SELECT next FROM sequence", (), |row| row.get(0)).unwrap();
        let (rows, dead, out) = (Vec::new(), Vec::new(), Vec::new());
        Self { conn, now: 1_000, next, rows, dead, out }
    }

    fn within<T>(&self, work: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T>) -> T {
        let mut tx = Tx::new(&self.conn);
        tx.begin_at(Instant::now(), self.now);
        let made = work(&mut tx).unwrap();
        tx.finish().unwrap();
        tx.committed();
        made
    }

    fn add(&mut self, mut row: Row) {
        let held = row.key.is_some() && self.rows.iter().any(|other| other.key == row.key);
        row.at = if held { At::Blocked } else { At::Runnable };
        self.rows.push(row);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { key, delay } => self.publish(key, delay),
            Step::Claim { messages } => self.claim(messages),
            Step::Settle { which, verdict, after } if !self.out.is_empty() => {
                self.settle(which % self.out.len(), verdict, after);
            }
            Step::Extend { which, by } if !self.out.is_empty() => {
                self.extend(which % self.out.len(), by);
            }
            Step::Acknowledge { which, count } if !self.out.is_empty() => {
                self.acknowledge(which, count);
            }
            Step::Settle { .. } | Step::Extend { .. } | Step::Acknowledge { .. } => {}
            Step::Redrive { limit } => self.redrive(limit),
            Step::Wait { millis } => self.now += millis,
        }
    }

    fn publish(&mut self, key: Option<u8>, delay: u64) {
        let mut message = Outgoing::new("x").delay(Duration::from_millis(delay));
        message.key = key.map(|key| vec![key].into());
        let ids = self.within(|tx| publish::publish(tx, QUEUE, &[message]));
        let seq = self.next;
        let id = u64::try_from(seq).unwrap();
        assert_eq!(ids, [MessageId::from(id)]);
        self.next += 1;
        let due = self.now + i64::try_from(delay).unwrap();
        let (attempt, interrupted, deliveries, notes, redrives) = (0, 0, 0, 0, 0);
        let at = At::Runnable;
        self.add(Row { seq, id, key, due, at, attempt, interrupted, deliveries, notes, redrives });
    }

    fn claim(&mut self, messages: usize) {
        let want = Want { messages, bytes: usize::MAX };
        let claimed = self.within(|tx| claim::claim(tx, QUEUE, 7, LEASE, want));
        for row in &mut self.rows {
            if matches!(row.at, At::Leased { expires } if expires <= self.now) {
                row.at = At::Runnable;
                row.interrupted += 1;
            }
        }
        let now = self.now;
        let mut ready: Vec<_> =
            self.rows.iter_mut().filter(|row| row.at == At::Runnable && row.due <= now).collect();
        ready.sort_by_key(|row| (row.due, row.seq));
        ready.truncate(messages);
        assert_eq!(claimed.deliveries.len(), ready.len());
        for (delivery, row) in claimed.deliveries.iter().zip(&mut ready) {
            row.at = At::Leased { expires: now + 100 };
            row.deliveries += 1;
            let message = &delivery.message;
            assert_eq!(message.id, MessageId::from(row.id));
            assert_eq!(message.attempt, row.attempt);
            assert_eq!(message.interrupted, row.interrupted);
            assert_eq!(message.deliveries, Some(row.deliveries));
            assert_eq!(message.redrives, row.redrives);
            assert_eq!(message.history.notes().len(), row.notes);
        }
        self.out.extend(claimed.deliveries);
    }

    /// Where the message of a hand-out is, if the receipt is still good.
    fn held(&self, receipt: &Receipt) -> Option<usize> {
        self.rows.iter().position(|row| {
            row.seq == receipt.seq
                && row.deliveries == receipt.deliveries
                && matches!(row.at, At::Leased { .. })
        })
    }

    fn settle(&mut self, which: usize, verdict: u8, after: u64) {
        let Delivery { receipt, message, .. } = self.out[which].clone();
        let note = FailureNote::new(FailureKind::Transient, "no", UNIX_EPOCH);
        let wait = Duration::from_millis(after);
        let due = self.now + i64::try_from(after).unwrap();
        let held = self.held(&receipt);
        let settlement = Settlement {
            receipt,
            message,
            verdict: match verdict {
                0 => Verdict::Ack,
                1 => Verdict::Drop("x".into()),
                2 => Verdict::Retry { after: wait, note },
                3 => Verdict::Postpone { after: wait, note },
                4 => Verdict::Release { after: wait },
                _ => Verdict::DeadLetter { reason: DeadReason::Permanent, note },
            },
        };
        let done = self.within(|tx| settle::settle(tx, &settlement));
        assert_eq!(done, held.is_some());
        let Some(i) = held else { return };
        let row = &mut self.rows[i];
        row.notes = (row.notes + usize::from(matches!(verdict, 2 | 3 | 5))).min(16);
        row.attempt += u32::from(verdict == 2);
        if matches!(verdict, 2..=4) {
            row.at = At::Runnable;
            row.due = if verdict == 4 && after == 0 { row.due } else { due };
            return;
        }
        let row = self.remove(i);
        if verdict == 5 {
            self.next += 1;
            self.dead.push(row);
        }
    }

    /// Acknowledges several together, forth and back: so in rows, and most of them twice.
    fn acknowledge(&mut self, which: usize, count: usize) {
        let there = self.out.iter().cycle().skip(which % self.out.len()).take(count);
        let some: Vec<_> = there.cloned().collect();
        let batch: Vec<_> = some.iter().chain(some.iter().rev()).map(acknowledgement).collect();
        let done = self.within(|tx| settle::settle_all(tx, &batch));
        assert_eq!(done.len(), batch.len());
        for (settlement, done) in batch.iter().zip(done) {
            let held = self.held(&settlement.receipt);
            assert_eq!(done, held.is_some());
            if let Some(i) = held {
                self.remove(i);
            }
        }
    }

    /// A message is gone; the next of its key may go.
    fn remove(&mut self, i: usize) -> Row {
        let row = self.rows.remove(i);
        let next = self.rows.iter_mut().filter(|other| other.key == row.key && row.key.is_some());
        if let Some(next) = next.min_by_key(|next| next.seq) {
            next.at = At::Runnable;
            next.due = next.due.max(self.now);
        }
        row
    }

    fn extend(&mut self, which: usize, by: u64) {
        let receipt = self.out[which].receipt.clone();
        let held = self.held(&receipt);
        let done = self.within(|tx| settle::extend(tx, &receipt, Duration::from_millis(by)));
        assert_eq!(done, held.is_some());
        if let Some(i) = held {
            self.rows[i].at = At::Leased { expires: self.now + i64::try_from(by).unwrap() };
        }
    }

    fn redrive(&mut self, limit: usize) {
        let query = dead::Query::new(QUEUE, "q", &DeadFilter::default(), limit);
        let moved = self.within(|tx| dead::redrive(tx, &query));
        let expected: Vec<_> = self.dead.drain(..limit.min(self.dead.len())).collect();
        assert_eq!(moved.len(), expected.len());
        for row in expected {
            let seq = self.next;
            self.next += 1;
            let (due, redrives) = (self.now, row.redrives + 1);
            let (attempt, interrupted, deliveries) = (0, 0, 0);
            self.add(Row { seq, due, redrives, attempt, interrupted, deliveries, ..row });
        }
    }

    fn number(&self, sql: &str) -> usize {
        let number: i64 = self.conn.query_row(sql, (), |row| row.get(0)).unwrap();
        usize::try_from(number).unwrap()
    }

    /// The tables hold what the model holds, the counters count it, and each key has one head.
    fn invariants(&self) {
        let at = |wanted: fn(&At) -> bool| self.rows.iter().filter(|row| wanted(&row.at)).count();
        let (runnable, blocked) = (at(|at| *at == At::Runnable), at(|at| *at == At::Blocked));
        let leased = self.rows.len() - runnable - blocked;
        assert_eq!(self.number("SELECT count(*) FROM message"), self.rows.len());
        assert_eq!(self.number("SELECT count(*) FROM runnable"), runnable);
        assert_eq!(self.number("SELECT count(*) FROM blocked"), blocked);
        assert_eq!(self.number("SELECT count(*) FROM lease"), leased);
        assert_eq!(self.number("SELECT count(*) FROM dead"), self.dead.len());
        assert_eq!(self.number("SELECT total FROM queue"), self.rows.len());
        assert_eq!(self.number("SELECT dead FROM queue"), self.dead.len());
        let places = "SELECT count(*) FROM (SELECT seq FROM runnable UNION SELECT seq FROM blocked
            UNION SELECT seq FROM lease)";
        assert_eq!(self.number(places), self.rows.len(), "a message is in two places");
        let stray = "SELECT count(*) FROM history WHERE seq NOT IN (SELECT seq FROM message)";
        assert_eq!(self.number(stray), 0, "a history outlived its message");
        for key in 0..3 {
            let of_key = self.rows.iter().filter(|row| row.key == Some(key));
            let heads = of_key.clone().filter(|row| row.at != At::Blocked).count();
            assert_eq!(heads, usize::from(of_key.count() > 0));
        }
    }
}

fn acknowledgement(delivery: &Delivery<Receipt>) -> Settlement<Receipt> {
    let Delivery { receipt, message, .. } = delivery.clone();
    Settlement { receipt, message, verdict: Verdict::Ack }
}

#[test]
fn an_extension_that_is_rolled_back_leaves_the_lease_where_it_was() {
    let mut model = Model::new();
    model.publish(None, 0);
    model.claim(1);
    let receipt = model.out[0].receipt.clone();
    let mut tx = Tx::new(&model.conn);
    model.conn.execute_batch("BEGIN").unwrap();
    tx.begin_at(Instant::now(), model.now);
    assert!(settle::extend(&mut tx, &receipt, LEASE * 5).unwrap());
    assert!(settle::extend(&mut tx, &receipt, LEASE * 9).unwrap(), "it is where it moved to");
    model.conn.execute_batch("ROLLBACK").unwrap();
    tx.begin_at(Instant::now(), model.now);
    assert!(settle::settle(&mut tx, &acknowledgement(&model.out[0])).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_do_what_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
            model.invariants();
        }
    }
}
