//! This test binary once more, as a process that can be killed.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A child that runs only the test `name`, with some variables set; what it prints is collected.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env::current_exe().expect("this binary has a path"))
            .args(["--ignored", "--exact", name, "--nocapture"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started");
        let stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let push = |line| read.lock().expect("no reader panics").push(line);
            stdout.lines().map_while(Result::ok).for_each(push);
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// Waits until it has printed this line.
    pub(crate) fn wait_for_line(&self, line: &str) {
        let start = Instant::now();
        while !self.lines.lock().expect("no reader panics").iter().any(|it| it == line) {
            assert!(start.elapsed() < Duration::from_secs(25), "it never said `{line}`");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it (SIGKILL), and gives what it printed.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("it is a child of ours");
        self.child.wait().expect("it is a child of ours");
        self.reader.take().expect("read once").join().expect("no reader panics");
        std::mem::take(&mut self.lines.lock().expect("no reader panics"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
