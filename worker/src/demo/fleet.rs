//! The worker processes, seen from the demo: started, heard, killed, started again, ended.

use super::worker::Report;
use crate::error::CliError;
use hdrhistogram::Histogram;
use std::{
    collections::HashMap,
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How long workers may take to drain at the end.
const DRAIN: Duration = Duration::from_secs(8);
/// How long they may take to start.
const START: Duration = Duration::from_secs(10);
/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(20);

/// What all workers have said together.
pub(super) struct Board {
    latest: HashMap<u32, Report>,
    /// How long the calls that succeeded took, in microseconds.
    pub(super) took: Histogram<u64>,
    /// Failed attempts that were made again, and what was put off, over all workers that ever were.
    pub(super) retried: u64,
    pub(super) postponed: u64,
}

impl Board {
    fn hear(&mut self, pid: u32, mut report: Report) {
        for took in report.took_us.drain(..) {
            self.took.saturating_record(took);
        }
        let before = self.latest.insert(pid, report.clone()).unwrap_or_default();
        self.retried += report.retried.saturating_sub(before.retried);
        self.postponed += report.postponed.saturating_sub(before.postponed);
    }

    /// How many calls the living workers allow themselves at once, all together.
    pub(super) fn limit(&self) -> u32 {
        self.latest.values().map(|report| report.limit).sum()
    }
}

/// The workers.
pub(super) struct Fleet {
    folder: PathBuf,
    workers: Vec<Process>,
    board: Arc<Mutex<Board>>,
}

struct Process {
    pid: u32,
    child: Child,
    /// Its end tells the worker to drain.
    stdin: Option<ChildStdin>,
    heard: JoinHandle<()>,
}

impl Fleet {
    /// Starts so many workers on the folder's queue and database.
    pub(super) fn start(folder: &Path, workers: usize) -> Result<Self, CliError> {
        let board = Board {
            latest: HashMap::new(),
            took: super::report::histogram(),
            retried: 0,
            postponed: 0,
        };
        let board = Arc::new(Mutex::new(board));
        let mut fleet = Self { folder: folder.to_owned(), workers: Vec::new(), board };
        for _ in 0..workers {
            fleet.add()?;
        }
        Ok(fleet)
    }

    /// What they have said so far.
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more; returns its process id.
    pub(super) fn add(&mut self) -> Result<u32, CliError> {
        let failed = |error| CliError::failed("cannot start a worker", error);
        let log = self.folder.join("workers.log");
        let log = File::options().append(true).create(true).open(log).map_err(failed)?;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["demo", "--as-worker", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the demo, which ends its workers.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pid = child.id().expect("it has not been waited for");
        let stdout = child.stdout.take().expect("it is piped");
        let heard = tokio::spawn(hear(pid, stdout, self.board.clone()));
        self.workers.push(Process { pid, stdin: child.stdin.take(), child, heard });
        Ok(pid)
    }

    /// Waits until all have said something.
    pub(super) async fn ready(&mut self) -> Result<(), CliError> {
        let started = Instant::now();
        while self.board().latest.len() < self.workers.len() {
            self.check()?;
            if started.elapsed() > START {
                let why = format!("not all of them have said anything within {START:?}");
                return Err(CliError::failed("the workers do not start", why));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Kills the oldest worker by SIGKILL, and waits until it is dead; returns its process id.
    pub(super) async fn kill_one(&mut self) -> Result<u32, CliError> {
        let mut victim = self.workers.remove(0);
        let failed = |error| CliError::failed("cannot kill a worker", error);
        victim.child.start_kill().map_err(failed)?;
        let status = victim.child.wait().await.map_err(failed)?;
        // What it wrote before it died is still in the pipe.
        let _ = victim.heard.await;
        self.board().latest.remove(&victim.pid);
        match status.signal() {
            Some(9) => Ok(victim.pid),
            _ => Err(early(victim.pid, status)),
        }
    }

    /// Whether they all live.
    ///
    /// # Errors
    /// Says which one has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), CliError> {
        for worker in &mut self.workers {
            if let Ok(Some(status)) = worker.child.try_wait() {
                return Err(early(worker.pid, status));
            }
        }
        Ok(())
    }

    /// Has all of them drain, and waits for their end.
    pub(super) async fn drain(&mut self) -> Result<(), CliError> {
        for worker in &mut self.workers {
            worker.stdin = None;
        }
        for mut worker in std::mem::take(&mut self.workers) {
            let status = timeout(DRAIN, worker.child.wait()).await;
            let status = status.map_err(|late| CliError::failed("a worker does not end", late))?;
            let status =
                status.map_err(|error| CliError::failed("a worker does not end", error))?;
            let _ = worker.heard.await;
            if !status.success() {
                return Err(early(worker.pid, status));
            }
        }
        Ok(())
    }
}

fn early(pid: u32, status: std::process::ExitStatus) -> CliError {
    let why = format!("{status}; with --dir, its log stays in workers.log there");
    CliError::failed(format!("worker {pid} ended by itself"), why)
}

async fn hear(pid: u32, stdout: ChildStdout, board: Arc<Mutex<Board>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The last line of a killed worker may be half of one.
        if let Ok(report) = serde_json::from_str(&line) {
            board.lock().unwrap_or_else(PoisonError::into_inner).hear(pid, report);
        }
    }
}
