//! An open file: its threads, and how commands reach them.

use crate::tx::Tx;
use crate::{
    OpenError, Queue, QueueStatus, StoreError, StoreOptions, backlog,
    bell::Bells,
    error::QueueError,
    open,
    place::Place,
    source,
    wake::{self, Listener, Peers},
    writer::{Command, Need, Task, Writer},
};
use rusqlite::{Connection, OptionalExtension};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// A file with queues. Cloning is cheap and shares the file's threads; opening the same file again,
/// in this process or another, works too, with threads of its own.
///
/// Any number of processes may have the file open at once, on one machine: not over a network file
/// system.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) max_payload: usize,
    pub(crate) bells: Arc<Bells>,
    pub(crate) commands: mpsc::Sender<Box<dyn Command>>,
    reads: mpsc::Sender<Read>,
    busy_timeout: Duration,
    wake_name: String,
    listener: OnceLock<Option<Listener>>,
}

impl Store {
    /// Opens the file, or creates it. Blocks for as long as that takes: some milliseconds.
    ///
    /// # Errors
    /// [`OpenError`], with what to do about it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Settings, to be followed by [`StoreOptions::open`].
    #[must_use]
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// The queue called `name`; creates it if it is new.
    ///
    /// # Errors
    /// [`QueueError`], for names that are empty, longer than 200 bytes, or have other characters
    /// than letters, digits and `-_.:/`; faults of the file.
    pub async fn queue(&self, name: &str) -> Result<Queue, QueueError> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if name.is_empty() || name.len() > 200 || !name.chars().all(ok) {
            return Err(QueueError::Invalid(name.to_owned()));
        }
        let owned = name.to_owned();
        let id = self.0.write(Need::Room, 1, move |tx| queue_id(tx.conn, &owned)).await?;
        Ok(Queue::new(Arc::clone(&self.0), id, name))
    }

    /// The queues of the file, by name, and what is in them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.0.read(backlog::all).await
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn open_with(path: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        open::prepare(path, options)?;
        let inner = start(path, options).map_err(|error| match error {
            Start::Sqlite(error) => StoreError::new(path, &error, options.busy_timeout),
            Start::Thread(error) => {
                StoreError::Io { path: path.to_owned(), detail: error.to_string() }
            }
        })?;
        Ok(Self(Arc::new(inner)))
    }
}

fn queue_id(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    let found = conn
        .prepare_cached("SELECT id FROM queue WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) => Ok(id),
        None => conn
            .prepare_cached("INSERT INTO queue (name) VALUES (?1) RETURNING id")?
            .query_row([name], |row| row.get(0)),
    }
}

enum Start {
    Sqlite(rusqlite::Error),
    Thread(io::Error),
}

impl From<rusqlite::Error> for Start {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for Start {
    fn from(error: io::Error) -> Self {
        Self::Thread(error)
    }
}

fn start(path: &Path, options: &StoreOptions) -> Result<Inner, Start> {
    let (commands, to_run) = mpsc::channel::<Box<dyn Command>>();
    let (reads, to_read) = mpsc::channel::<Read>();
    let bells = Arc::new(Bells::default());
    let wake_name = wake::name();
    let conn = open::connect_writer(path, options)?;
    let place = Place::of(path)?;
    let pages = open::max_pages(&conn, options)?;
    let peers = Peers::new(path, &wake_name);
    let (file, at, busy_timeout) = (path.to_owned(), place.clone(), options.busy_timeout);
    let rung = Arc::clone(&bells);
    let write = move || {
        let writer = Writer {
            tx: Tx::new(&conn),
            path: file,
            place: at,
            placed: Instant::now(),
            busy_timeout,
            pages,
            bells: rung,
            peers,
            mode: None,
            version: 0,
            contended: false,
        };
        writer.run(&to_run);
    };
    let reader = open::connect_reader(path, options)?;
    let watcher = open::connect_reader(path, options)?;
    let spawn = |name: &str| thread::Builder::new().name(name.into());
    spawn("forebay-write").spawn(write)?;
    spawn("forebay-read").spawn(move || to_read.iter().for_each(|read| read(&reader)))?;
    let (ring, poll, to_writer) = (Arc::clone(&bells), options.poll, commands.clone());
    let give_back = move |unseen| source::release_unattended(&to_writer, unseen);
    spawn("forebay-bell").spawn(move || ring.run(&watcher, &place, poll, give_back))?;
    Ok(Inner {
        path: path.to_owned(),
        max_payload: options.max_payload,
        bells,
        commands,
        reads,
        busy_timeout: options.busy_timeout,
        wake_name,
        listener: OnceLock::new(),
    })
}

impl Inner {
    /// Has the writer do `work` in a transaction, and tell `done` once that is committed. `work` may
    /// run several times; all but the last are rolled back.
    pub(crate) fn submit<T, W, D>(&self, need: Need, size: usize, work: W, done: D)
    where
        T: Send + 'static,
        W: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
        D: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let task = Box::new(Task::new(need, size, work, done));
        if let Err(mpsc::SendError(command)) = self.commands.send(task) {
            command.finish(Err(StoreError::Ended));
        }
    }

    /// As [`Inner::submit`], and waits for the outcome. Dropping the future changes nothing.
    pub(crate) async fn write<T, W>(
        &self,
        need: Need,
        size: usize,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.submit(need, size, work, |outcome| {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(outcome);
        });
        answered.await.unwrap_or(Err(StoreError::Ended))
    }

    /// Reads beside the writer, without waiting for it.
    pub(crate) async fn read<T, R>(&self, read: R) -> Result<T, StoreError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let sent = self.reads.send(Box::new(|conn| {
            let _ = answer.send(read(conn));
        }));
        match sent {
            Ok(()) => match answered.await {
                Ok(outcome) => {
                    outcome.map_err(|error| StoreError::new(&self.path, &error, self.busy_timeout))
                }
                Err(_) => Err(StoreError::Ended),
            },
            Err(_) => Err(StoreError::Ended),
        }
    }

    /// Listens for other processes, from the first source on. Where it cannot, sources poll.
    pub(crate) fn listen(&self) {
        self.listener.get_or_init(|| {
            Listener::start(&self.path, &self.wake_name, Arc::clone(&self.bells)).ok()
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bells.stop();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
