//! A test binary once more, as a process that can be killed: what a crash test kills.
//!
//! The child runs one test of the same binary, marked `#[ignore]` so that it runs in no other way, and
//! tells by lines on standard output how far it is.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a line may take to come.
const PATIENCE: Duration = Duration::from_secs(25);

/// A child that runs only one test of this binary. What it prints is collected to its end, however that
/// comes. Dropping kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it has printed so far.
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the test `name`, with some variables set.
    ///
    /// # Panics
    /// When this binary cannot be started.
    #[must_use]
    pub fn start<V: AsRef<OsStr>>(name: &str, variables: &[(&str, V)]) -> Self {
        let mut child = Command::new(env::current_exe().expect("this binary has a path"))
            .args(["--ignored", "--exact", name, "--nocapture"])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started");
        let stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| lock(&read).push(line));
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// Waits until it has printed this line.
    ///
    /// # Panics
    /// When it does not for 25 s.
    pub fn wait_for_line(&self, line: &str) {
        let start = Instant::now();
        while !lock(&self.lines).iter().any(|printed| printed == line) {
            assert!(start.elapsed() < PATIENCE, "it never said `{line}`");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it (SIGKILL), and gives what it printed.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("a child can be killed, and one that has ended is no error");
        self.child.wait().expect("a child of ours can be waited for");
        self.printed()
    }

    /// Waits for its end, which must be a good one, and gives what it printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn finish(mut self) -> Vec<String> {
        let status = self.child.wait().expect("a child of ours can be waited for");
        let lines = self.printed();
        assert!(status.success(), "a child failed: {lines:#?}");
        lines
    }

    /// All that it printed, once it has ended.
    fn printed(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading lines does not panic");
        }
        std::mem::take(&mut lock(&self.lines))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
