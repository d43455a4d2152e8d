//! The orders database: a real one, on disk, that gets slow when it is pushed too hard.
//!
//! SQLite in its safest mode (write-ahead log, full sync: a commit returns when it is on disk), where
//! every order is a transaction of its own that appends a row and updates one hot account. So it has
//! what every database has: one place that all must pass, a bounded pool of connections, waiting that
//! grows with the number of those who wait, and an error when that gets too long.
//!
//! The rows are the truth that the report is checked against: an order that is handled twice leaves
//! two rows, one that is lost leaves none.

use super::plan::Order;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Connections in a pool.
pub(super) const POOL: usize = 16;
/// How often a transaction asks for the lock, every 1 to 4 ms, before it gives up after about a second:
/// "database is locked". (SQLite's own pauses grow to 100 ms, by which newcomers overtake those who
/// have waited long.)
const TRIES: i32 = 400;

const SCHEMA: &str = "
    CREATE TABLE effects (        -- one row for each time that an order was carried out
        seq INTEGER PRIMARY KEY,
        id INTEGER NOT NULL, attempt INTEGER NOT NULL, redelivered INTEGER NOT NULL,
        pid INTEGER NOT NULL, cents INTEGER NOT NULL,
        sent_us INTEGER NOT NULL, started_us INTEGER NOT NULL, written_us INTEGER NOT NULL);
    CREATE TABLE account (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, orders INTEGER NOT NULL);
    INSERT INTO account VALUES (1, 0, 0);
    CREATE TABLE ledger (line INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE load (lines INTEGER NOT NULL); -- how much of the ledger each order reads
    INSERT INTO load VALUES (0);";

/// Who carries out an order, and which time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Execution {
    pub(super) attempt: u32,
    /// Whether the order was with another worker before, which died.
    pub(super) redelivered: bool,
    /// When the handler was called.
    pub(super) started_us: i64,
}

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Whether the database had no time for us, which passes.
pub(super) fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The ledger's length, and the most that an order reads. Long enough that the write-ahead log grows
/// to its full length when it is filled: commits are slower while the log grows.
pub(super) const LEDGER: u32 = 400_000;

/// Makes the database.
pub(super) fn create(path: &Path) -> rusqlite::Result<()> {
    let mut conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    let tx = conn.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute(
        "WITH RECURSIVE line(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM line WHERE n < ?1)
         INSERT INTO ledger SELECT n, n % 997 FROM line",
        [LEDGER],
    )?;
    tx.commit()
}

/// A connection, with full sync and a bounded wait for the lock.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.busy_handler(Some(|tries| {
        thread::sleep(Duration::from_micros(fastrand::u64(1000..4000)));
        tries < TRIES
    }))?;
    Ok(conn)
}

/// Carries out an order: one transaction.
pub(super) fn book(
    conn: &mut Connection,
    order: &Order,
    execution: Execution,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sum = "SELECT coalesce(sum(cents), 0) FROM ledger
        WHERE line <= (SELECT lines FROM load)";
    let _limit: i64 = tx.prepare_cached(sum)?.query_row((), |row| row.get(0))?;
    tx.prepare_cached(
        "INSERT INTO effects (id, attempt, redelivered, pid, cents, sent_us, started_us, written_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        order.id.cast_signed(),
        execution.attempt,
        execution.redelivered,
        std::process::id(),
        order.cents,
        order.sent_us,
        execution.started_us,
        now_us(),
    ])?;
    tx.prepare_cached("UPDATE account SET cents = cents + ?1, orders = orders + 1 WHERE id = 1")?
        .execute([order.cents])?;
    tx.commit()
}

/// A bounded pool of connections.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// A pool of [`POOL`] connections, each opened when it is first needed.
    pub(super) fn new(path: PathBuf) -> Self {
        let turns = Arc::new(Semaphore::new(POOL));
        Self(Arc::new(Inner { path, turns, idle: Mutex::default() }))
    }

    /// Carries out an order on a free connection, and waits for one. A transaction that has begun goes
    /// on even if nobody waits for it any more, as it does in any database.
    pub(super) async fn book(&self, order: Order, execution: Execution) -> rusqlite::Result<()> {
        let turn = self.0.turns.clone().acquire_owned().await;
        let pool = self.0.clone();
        let booked = spawn_blocking(move || {
            let mut conn = match pool.idle().pop() {
                Some(conn) => conn,
                None => connect(&pool.path)?,
            };
            let booked = book(&mut conn, &order, execution);
            pool.idle().push(conn);
            drop(turn);
            booked
        });
        booked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

impl Pool {
    /// Waits until no transaction runs.
    pub(super) async fn at_rest(&self) {
        let all = u32::try_from(POOL).expect("it is a small number");
        // Nobody closes it, so there is nothing that could fail.
        let _ = self.0.turns.acquire_many(all).await;
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
