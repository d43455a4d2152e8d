//! The four troubles that a database can be in, begun and ended.

use super::{
    Fault,
    bed::{Bed, INDEX},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio_postgres::Client;

/// Of each tenth of a second, for how long the server may run when its processors are taken away.
const RUNS: Duration = Duration::from_millis(10);
const STANDS: Duration = Duration::from_millis(90);

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another session locks the table.
    Lock,
    /// The index is gone: each statement reads the whole table.
    Plan,
    /// The server's processes get a tenth of their time: they are stopped and continued ten times a
    /// second, as the quota of a container does it.
    Cpu,
    /// All of the server's processes are stopped: connections stand, and nothing completes.
    Stop,
}

/// All of them.
pub const TROUBLES: [Trouble; 4] = [Trouble::Lock, Trouble::Plan, Trouble::Cpu, Trouble::Stop];

impl Trouble {
    /// Whether calls fail in it, so that the breaker has to open.
    #[must_use]
    pub fn opens_the_breaker(self) -> bool {
        matches!(self, Self::Lock | Self::Stop)
    }

    /// Begins it. Dropping what is returned ends it, too.
    ///
    /// # Errors
    /// What the server says.
    pub async fn begin(self, bed: &Arc<Bed>) -> Result<Ongoing, Fault> {
        Ok(match self {
            Self::Lock => {
                let client = bed.client().await?;
                client.batch_execute("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE").await?;
                Ongoing::Lock(client)
            }
            Self::Plan => {
                let client = bed.client().await?;
                client.batch_execute("DROP INDEX accounts_id").await?;
                Ongoing::Plan(client)
            }
            Self::Cpu => Ongoing::Stopped(Stopper::start(bed, Some(RUNS))),
            Self::Stop => Ongoing::Stopped(Stopper::start(bed, None)),
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "a lock on the table",
            Self::Plan => "a plan without its index",
            Self::Cpu => "a tenth of the CPU",
            Self::Stop => "server stopped (SIGSTOP)",
        })
    }
}

/// A trouble that goes on.
#[derive(Debug)]
pub enum Ongoing {
    /// The session that holds the lock.
    Lock(Client),
    /// A session to make the index again with.
    Plan(Client),
    /// What stops the server's processes.
    Stopped(Stopper),
}

impl Ongoing {
    /// Ends it; it is over when this returns.
    ///
    /// # Errors
    /// What the server says.
    pub async fn end(self) -> Result<(), Fault> {
        match self {
            Self::Lock(client) => client.batch_execute("ROLLBACK").await?,
            Self::Plan(client) => client.batch_execute(INDEX).await?,
            Self::Stopped(stopper) => drop(stopper),
        }
        Ok(())
    }
}

/// A thread that stops the server's processes, so that nothing else holds it up. Dropping it lets them
/// go on.
#[derive(Debug)]
pub struct Stopper {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stopper {
    /// With `runs` they go on for so long in each tenth of a second.
    fn start(bed: &Arc<Bed>, runs: Option<Duration>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (bed, told) = (bed.clone(), over.clone());
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                let stopped = signal(bed.processes(), Signal::STOP);
                thread::sleep(STANDS);
                if let Some(runs) = runs {
                    signal(stopped, Signal::CONT);
                    thread::sleep(runs);
                }
            }
            signal(bed.processes(), Signal::CONT);
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // A panic there has been printed, and there is nothing to add.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends it to each. One that has ended meanwhile needs none.
fn signal(processes: Vec<i32>, signal: Signal) -> Vec<i32> {
    for pid in processes.iter().copied().filter_map(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
    processes
}
