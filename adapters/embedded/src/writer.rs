//! The one thread of a store that writes its file.
//!
//! SQLite allows one writer at a time, and a confirmed write costs a sync of the disk. So all
//! commands go to one thread, which runs those that are ready in one transaction: the more load,
//! the more of them share a sync (group commit), and async callers never block. A group that fails
//! is rolled back and its commands are run one by one, so that a publish that finds the disk full
//! does not take down the settlements beside it.
//!
//! Claims alone need no sync: a claim that a power cut undoes is only handed out again. Commits
//! append to one log file, and a later sync covers all that was appended before it, by whatever
//! process; so an acknowledgement on disk never depends on a claim that is not.

use crate::{StoreError, bell::Bells, place::Place, time, tx::Tx, wake::Peers};
use rusqlite::{Connection, ErrorCode, ffi};
use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A group ends when it has this many messages, to keep transactions short.
const GROUP: usize = 1024;

/// A process that sees others write leaves the lock free for this long between its groups; a
/// waiting process tries more often than that. SQLite itself has no queue for its write lock.
const GAP: Duration = Duration::from_micros(600);

/// How long a claim may take the file to be where it was.
const LOOK: Duration = Duration::from_millis(100);

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const DATA_VERSION: &str = "PRAGMA data_version";

/// What a command needs of its transaction; a group takes the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// May be lost in a power cut: claims and extensions.
    Light,
    /// Must be on disk, and must work when the queue is full: it makes room in the end.
    Sure,
    /// Must be on disk, and makes the file grow.
    Room,
}

/// A command on its way to the writer.
pub(crate) trait Command: Send {
    fn need(&self) -> Need;
    fn size(&self) -> usize;
    /// May run again after a rollback.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Told once, after the commit.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A command made of two closures: what to do, and whom to tell.
pub(crate) struct Task<T, W, D> {
    need: Need,
    size: usize,
    work: W,
    made: Option<T>,
    done: D,
}

impl<T, W, D> Task<T, W, D>
where
    T: Send,
    W: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    pub(crate) fn new(need: Need, size: usize, work: W, done: D) -> Self {
        Self { need, size, work, made: None, done }
    }
}

impl<T, W, D> Command for Task<T, W, D>
where
    T: Send,
    W: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    fn need(&self) -> Need {
        self.need
    }

    fn size(&self) -> usize {
        self.size
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.made = Some((self.work)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let made = self.made;
        (self.done)(outcome.and_then(|()| made.ok_or(StoreError::Ended)));
    }
}

/// The thread's own.
pub(crate) struct Writer<'a> {
    pub(crate) tx: Tx<'a>,
    pub(crate) path: PathBuf,
    pub(crate) place: Place,
    /// When the file was last seen to be in its place.
    pub(crate) placed: Instant,
    pub(crate) busy_timeout: Duration,
    /// Pages that publishing may fill, and those that everything else may; `None`: no limit.
    pub(crate) pages: Option<[i64; 2]>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) peers: Peers,
    pub(crate) mode: Option<Need>,
    /// What [`data_version`] was in the last transaction.
    pub(crate) version: i64,
    /// Whether another process has written since the transaction before the last.
    pub(crate) contended: bool,
}

impl Writer<'_> {
    /// Runs until the last sender is gone.
    pub(crate) fn run(mut self, commands: &mpsc::Receiver<Box<dyn Command>>) {
        while let Ok(first) = commands.recv() {
            let mut size = first.size();
            let mut group = vec![first];
            while size < GROUP {
                let Ok(next) = commands.try_recv() else { break };
                size += next.size();
                group.push(next);
            }
            self.serve(group);
        }
    }

    fn serve(&mut self, mut group: Vec<Box<dyn Command>>) {
        match self.commit(&mut group) {
            Ok(()) => group.into_iter().for_each(|command| command.finish(Ok(()))),
            Err(error) if group.len() == 1 || matches!(error, StoreError::Locked { .. }) => {
                group.into_iter().for_each(|command| command.finish(Err(error.clone())));
            }
            Err(_) => group.into_iter().for_each(|command| self.serve(vec![command])),
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Command>]) -> Result<(), StoreError> {
        let need = group.iter().map(|command| command.need()).max().unwrap_or(Need::Sure);
        let started = Instant::now();
        let written = self.set_mode(need).and_then(|()| self.begin(started)).and_then(|()| {
            self.tx.begin();
            for command in &mut *group {
                command.run(&mut self.tx)?;
            }
            self.tx.finish()?;
            if self.has_moved(need) {
                // SQLite's own word for it, which it has for its other journals only.
                let error = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
                return Err(rusqlite::Error::SqliteFailure(error, None));
            }
            self.tx.execute(COMMIT, ()).map(drop)
        });
        match written {
            Ok(()) => {
                for (queue, due) in self.tx.committed() {
                    self.bells.due(*queue, *due);
                    self.peers.tell(*queue, *due);
                }
                Ok(())
            }
            Err(error) => {
                if !self.tx.conn.is_autocommit() {
                    // If even this fails, the connection is gone and says so at its next use.
                    let _ = self.tx.conn.execute_batch("ROLLBACK");
                }
                Err(StoreError::new(&self.path, &error, started.elapsed()))
            }
        }
    }

    /// Takes the write lock, within the busy timeout.
    fn begin(&mut self, started: Instant) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.contended) {
            thread::sleep(GAP);
        }
        let mut pause = Duration::from_micros(50);
        loop {
            match self.tx.execute(BEGIN, ()) {
                Ok(_) => break,
                Err(error) if is_busy(&error) && started.elapsed() < self.busy_timeout => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(GAP / 2);
                }
                Err(error) => return Err(error),
            }
        }
        // Asked for in here, where it takes no lock of its own.
        let version = self.tx.statement(DATA_VERSION)?.query_row((), |row| row.get(0))?;
        self.contended = std::mem::replace(&mut self.version, version) != version;
        Ok(())
    }

    /// Whether the file has left its place. Looked at before all that is confirmed; what is not, the
    /// claims, looks now and then, so that those who wait for messages get to know.
    fn has_moved(&mut self, need: Need) -> bool {
        if need == Need::Light && self.placed.elapsed() < LOOK {
            return false;
        }
        self.placed = Instant::now();
        self.place.is_left()
    }

    /// Sets how much is synced and how far the file may grow; not possible inside a transaction.
    fn set_mode(&mut self, need: Need) -> rusqlite::Result<()> {
        if self.mode == Some(need) {
            return Ok(());
        }
        let light = need == Need::Light;
        // Unknown until all of it is set.
        let before = self.mode.take();
        if before.is_none_or(|before| (before == Need::Light) != light) {
            let level = if light { "NORMAL" } else { "FULL" };
            self.tx.conn.execute_batch(&format!("PRAGMA synchronous = {level}"))?;
        }
        if let Some([publish, all]) = self.pages {
            let pages = if need == Need::Room { publish } else { all };
            self.tx.conn.pragma_update(None, "max_page_count", pages)?;
        }
        self.mode = Some(need);
        Ok(())
    }
}

/// A number that changes when another connection has committed.
pub(crate) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(DATA_VERSION)?.query_row((), |row| row.get(0))
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// When to look again at a queue in which nothing could be claimed.
pub(crate) fn soonest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    [a, b].into_iter().flatten().min().map(|at| at.max(time::now()))
}
