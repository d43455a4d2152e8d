//! A folder with a queue in it, and the binary at hand.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// Standard output, of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Standard error, of a command that must have ended with this code.
    #[track_caller]
    pub(crate) fn err(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.stderr
    }
}

/// A folder that goes when the test ends.
pub(crate) struct Bench(TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With `w.toml`: the queue `orders`, quick retries, and this handler.
    pub(crate) fn with_handler(handler: &str) -> Self {
        let bench = Self::new();
        bench.config("", handler);
        bench
    }

    /// Writes `w.toml`, with more under `[worker]`.
    pub(crate) fn config(&self, worker: &str, handler: &str) {
        let text = format!(
            "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\n\
             [worker]\n{worker}\n\
             [retry]\nbase = '1ms'\ncap = '20ms'\nattempts = 3\n{handler}\n"
        );
        self.write("w.toml", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(args).current_dir(self.0.path());
        // Any will do for an emulator; without, the SDK would ask the network for some.
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }

    /// Runs a command to its end.
    pub(crate) fn forebay(&self, args: &[&str]) -> Done {
        self.forebay_with(args, "")
    }

    /// Starts a command, with pipes to all that it reads and writes.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a command to its end, with this on standard input.
    pub(crate) fn forebay_with(&self, args: &[&str], stdin: &str) -> Done {
        let mut child = self.spawn(args);
        let mut pipe = child.stdin.take().unwrap();
        let text = stdin.to_owned();
        // A command that fails early does not read all of it.
        let feed = thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        output.into()
    }

    /// Sends payloads.
    pub(crate) fn send(&self, payloads: &[&str]) {
        let mut args = vec!["send", "--config", "w.toml", "--raw"];
        args.extend(payloads);
        self.forebay(&args).ok();
    }

    /// Starts `run w.toml`.
    pub(crate) fn run(&self) -> Worker {
        self.run_with(&[])
    }

    /// Starts `run w.toml` with these variables.
    pub(crate) fn run_with(&self, env: &[(&str, &str)]) -> Worker {
        let stderr = File::create(self.path("run.err")).unwrap();
        self.start(env, stderr.into())
    }

    /// Starts `run w.toml` with this as standard error.
    pub(crate) fn run_on(&self, stderr: Stdio) -> Worker {
        self.write("run.err", "");
        self.start(&[("TERM", "xterm")], stderr)
    }

    /// Starts a command that goes on, with `name.out` and `name.err` as its output.
    pub(crate) fn launch(&self, args: &[&str], name: &str) -> Worker {
        let stderr = File::create(self.path(&format!("{name}.err"))).unwrap();
        self.start_as(args, name, &[], stderr.into())
    }

    fn start(&self, env: &[(&str, &str)], stderr: Stdio) -> Worker {
        self.start_as(&["run", "w.toml"], "run", env, stderr)
    }

    fn start_as(&self, args: &[&str], name: &str, env: &[(&str, &str)], stderr: Stdio) -> Worker {
        let out = self.path(&format!("{name}.out"));
        let err = self.path(&format!("{name}.err"));
        let child = self
            .command(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Worker { child, out, err }
    }

    /// Runs the worker until nothing is left in the queue, then drains it.
    #[track_caller]
    pub(crate) fn work_off(&self) -> Done {
        let worker = self.run();
        self.wait_until_empty();
        let done = worker.stop();
        assert_eq!(done.code, Some(0), "{done:#?}");
        done
    }

    #[track_caller]
    pub(crate) fn wait_until_empty(&self) {
        wait_until("the queue is empty", || {
            let depth = self.depth();
            ["ready", "delayed", "leased"].iter().all(|name| depth[name] == 0)
        });
    }

    pub(crate) fn depth(&self) -> Value {
        let text = self.forebay(&["depth", "--config", "w.toml", "--json"]).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// The dead letters, as `dead list --json` gives them.
    pub(crate) fn dead(&self) -> Vec<Value> {
        let text = self.forebay(&["dead", "list", "--config", "w.toml", "--json"]).ok();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last error of the dead letter with this payload, with its reason: `permanent: …`.
    #[track_caller]
    pub(crate) fn death_of(&self, payload: &str) -> String {
        let dead = self.dead();
        let payload: Value = serde_json::from_str(payload).unwrap_or_else(|_| payload.into());
        let letter = dead.iter().find(|letter| letter["message"]["payload"] == payload);
        let letter = letter.unwrap_or_else(|| panic!("{payload} is not among {dead:#?}"));
        let last = letter["history"].as_array().unwrap().last().unwrap();
        format!("{}: {}", letter["reason"].as_str().unwrap(), last["error"].as_str().unwrap())
    }
}

/// A worker under way. Killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Worker {
    pub(crate) fn signal(&self, sent: Signal) {
        signal(&self.child, sent);
    }

    /// Drains it.
    #[track_caller]
    pub(crate) fn stop(self) -> Done {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Done {
        let mut code = None;
        wait_until("the worker has ended", || {
            code = self.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        Done {
            code: code.unwrap(),
            stdout: fs::read_to_string(&self.out).unwrap(),
            stderr: fs::read_to_string(&self.err).unwrap(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails where it has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals a process.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, is_so);
}

/// The same, for so long.
#[track_caller]
pub(crate) fn wait_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < patience, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until none of these processes runs; a zombie that nobody has collected yet runs no more.
#[track_caller]
pub(crate) fn wait_until_gone(pids: &str) {
    let runs = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    assert!(pids.lines().all(|pid| pid.parse::<u32>().is_ok()), "{pids}");
    wait_until("they have ended", || !pids.lines().any(runs));
}
