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
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// Makes the database, with a ledger of this many lines.
pub(super) fn create(path: &Path, ledger: u32) -> rusqlite::Result<()> {
    let mut conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    let tx = conn.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute(
        "WITH RECURSIVE line(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM line WHERE n < ?1)
         INSERT INTO ledger SELECT n, n % 997 FROM line",
        [ledger],
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
    /// How many transactions run.
    pub(super) fn running(&self) -> u32 {
        u32::try_from(POOL - self.0.turns.available_permits()).unwrap_or_default()
    }

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

/// What was found out about the database before the demo: how it bears what load.
#[derive(Clone, Debug)]
pub(super) struct Calibration {
    /// Lines of the ledger that each order reads.
    pub(super) lines: u32,
    /// What so many writers at once came to.
    pub(super) trials: Vec<Trial>,
}

/// So many writers at once, for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) writers: usize,
    pub(super) per_second: f64,
    /// The slowest but one in a hundred.
    pub(super) p99: Duration,
    /// How many were told that the database is locked.
    pub(super) locked: usize,
}

impl Calibration {
    /// Orders per second that the database sustains: the best of the trials.
    pub(super) fn sustainable(&self) -> f64 {
        self.trials.iter().map(|trial| trial.per_second).fold(1.0, f64::max)
    }
}

/// The ledger's length, and the most that an order reads. Long enough that the write-ahead log grows
/// to its full length when it is filled: commits are slower while the log grows.
pub(super) const LEDGER: u32 = 400_000;
/// How long one order is to take at the least: on a fast disk it reads the ledger for as long.
const TAKES: Duration = Duration::from_millis(5);
/// With how many writers at once it is tried, and for how long each.
const WRITERS: [usize; 5] = [1, 2, 4, 8, 32];
const TRIAL: Duration = Duration::from_millis(600);

/// Sizes an order's work, then measures what the database bears. Leaves no rows.
pub(super) fn calibrate(path: &Path) -> rusqlite::Result<Calibration> {
    let bare = time(path, 0)?;
    let reading = time(path, LEDGER)?.saturating_sub(bare).max(Duration::from_micros(1));
    let missing = TAKES.saturating_sub(bare);
    let share = (missing.as_secs_f64() / reading.as_secs_f64()).min(1.0);
    let lines = (share * f64::from(LEDGER)) as u32;
    let conn = connect(path)?;
    conn.execute("UPDATE load SET lines = ?1", [lines])?;
    let trials =
        WRITERS.map(|writers| trial(path, writers)).into_iter().collect::<Result<_, _>>()?;
    conn.execute_batch("DELETE FROM effects; UPDATE account SET cents = 0, orders = 0;")?;
    Ok(Calibration { lines, trials })
}

/// How long an order takes alone that reads so much of the ledger: the median.
fn time(path: &Path, lines: u32) -> rusqlite::Result<Duration> {
    let mut conn = connect(path)?;
    conn.execute("UPDATE load SET lines = ?1", [lines])?;
    let mut took = Vec::new();
    for _ in 0..15 {
        took.push(one(&mut conn)?);
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

fn one(conn: &mut Connection) -> rusqlite::Result<Duration> {
    let (order, started) = (Order { id: 0, cents: 1, sent_us: 0, fails: 0 }, Instant::now());
    let execution = Execution { attempt: 1, redelivered: false, started_us: 0 };
    book(conn, &order, execution)?;
    Ok(started.elapsed())
}

fn trial(path: &Path, writers: usize) -> rusqlite::Result<Trial> {
    let started = Instant::now();
    let outcomes = thread::scope(|scope| {
        let write = || -> rusqlite::Result<(Vec<Duration>, usize)> {
            let (mut conn, mut took, mut locked) = (connect(path)?, Vec::new(), 0);
            while started.elapsed() < TRIAL {
                match one(&mut conn) {
                    // Those who wait at the end would make the trial longer than it was.
                    Ok(time) if started.elapsed() <= TRIAL => took.push(time),
                    Ok(_) => {}
                    Err(error) if is_locked(&error) => locked += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok((took, locked))
        };
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<rusqlite::Result<Vec<_>>>()
    })?;
    let locked = outcomes.iter().map(|(_, locked)| locked).sum();
    let mut took: Vec<_> = outcomes.into_iter().flat_map(|(took, _)| took).collect();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(TRIAL);
    Ok(Trial { writers, per_second: took.len() as f64 / TRIAL.as_secs_f64(), p99, locked })
}
