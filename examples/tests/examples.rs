//! Runs every example as its reader would, and checks what it prints and that it ends well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// An example that runs, in a folder of its own.
struct Example {
    name: &'static str,
    child: Child,
    folder: tempfile::TempDir,
}

impl Example {
    fn start(name: &'static str) -> Self {
        let program = program(name);
        assert!(
            program.is_file(),
            "{} is not built: `cargo test -p forebay-examples` builds the examples, with `--test` \
             they have to be built before, by `cargo build -p forebay-examples --examples`",
            program.display()
        );
        let folder = tempfile::tempdir().unwrap();
        let postgres = env::var("FOREBAY_TEST_POSTGRES");
        let usual = "postgres://postgres@127.0.0.1:25432/forebay";
        let child = Command::new(program)
            .arg(folder.path())
            .env("FOREBAY_POSTGRES", postgres.unwrap_or_else(|_| usual.to_owned()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { name, child, folder }
    }

    /// Waits for its end, which must be a good one. Returns the lines that it printed.
    fn finish(mut self) -> Vec<String> {
        let mut errors = String::new();
        let mut lines = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            lines = BufReader::new(stdout).lines().map(Result::unwrap).collect();
        }
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{} ended with {status}: {errors}", self.name);
        assert!(self.folder.path().join("queue.db").is_file(), "it uses the folder it is given");
        lines
    }
}

/// Examples are built beside the folder that this test is in: `target/<profile>/examples`.
fn program(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

fn run(name: &'static str) -> Vec<String> {
    Example::start(name).finish()
}

fn position(lines: &[String], line: &str) -> usize {
    lines.iter().position(|it| it == line).unwrap_or_else(|| panic!("no `{line}` in {lines:?}"))
}

#[test]
fn hello() {
    let mut lines = run("hello");
    assert_eq!(lines.pop().unwrap(), "everybody is greeted");
    lines.sort();
    assert_eq!(lines, ["hello, river", "hello, turbine", "hello, weir"]);
}

#[test]
fn typed_jobs() {
    let lines = run("typed_jobs");
    position(&lines, "attempt 1 at gate: reserved 2, 8 left");
    let first = position(&lines, "attempt 1 at penstock: no answer");
    let second = position(&lines, "attempt 2 at penstock: reserved 1, 2 left");
    assert!(first < second);
    let dead = "dead (permanent): there is no item called `perpetual motion machine`";
    assert_eq!(lines.last().unwrap(), dead);
    assert_eq!(lines.len(), 4);
}

#[test]
fn ordered() {
    let lines = run("ordered");
    let of = |account: &str| -> Vec<String> {
        lines.iter().filter_map(|line| line.strip_prefix(account)).map(str::to_owned).collect()
    };
    let retried = ["1: booked", "2: failed, to be tried again", "2: booked", "3: booked"];
    assert_eq!(of("alice "), retried);
    assert_eq!(of("bob "), ["1: booked", "2: booked", "3: booked"]);
}

#[test]
fn batches() {
    let lines = run("batches");
    assert_eq!(lines.last().unwrap(), "999 rows, 1 dead letter");
    let batches: Vec<usize> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("committed a batch of "))
        .map(|rows| rows.parse().unwrap())
        .collect();
    assert_eq!(batches.iter().sum::<usize>(), 999);
    assert!(batches.iter().all(|rows| *rows <= 100), "{batches:?}");
    assert!(batches.len() < 100, "batches, not single rows: {batches:?}");
}

#[test]
fn burst_smoothing() {
    let lines = run("burst_smoothing");
    position(&lines, "done 2000, recognised as done before 2000");
    position(&lines, "in the database: 2000 rows, 2000 different, 2199000 cents of 2199000");
    let most = lines.last().unwrap().strip_prefix("in its busiest tenth of a second: ").unwrap();
    let most: u32 = most.strip_suffix(" rows").unwrap().parse().unwrap();
    // A tenth of the rate, the bucket, and what four connections may have held up.
    assert!(most <= 100 + 50 + 4 + 1, "{most} rows in a tenth of a second");
}

/// Of the numbers in `finished 1, released 2, abandoned 3`, and those left in the queue.
fn check_drain(lines: &[String]) -> usize {
    let started = lines.iter().filter(|line| line.ends_with(": pumping")).count();
    let done = lines.iter().filter(|line| line.ends_with(": done")).count();
    let [.., report, left] = lines else { panic!("{lines:?}") };
    assert!(report.starts_with("drained: ") && report.ends_with("abandoned 0"), "{report}");
    let left = left.strip_prefix("left in the queue: ").unwrap().strip_suffix(" of 100").unwrap();
    assert_eq!(started, done, "what had started was finished");
    assert_eq!(done + left.parse::<usize>().unwrap(), 100, "nothing is lost: {lines:?}");
    done
}

#[test]
fn graceful_drain() {
    let lines = run("graceful_drain");
    position(&lines, "draining");
    let done = check_drain(&lines);
    assert!((1..100).contains(&done), "it stopped in the middle: {done}");
}

#[test]
fn graceful_drain_by_ctrl_c() {
    let mut example = Example::start("graceful_drain");
    let mut lines = BufReader::new(example.child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.ends_with(": pumping"), "{first}");
    let pid = i32::try_from(example.child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut all = vec![first];
    all.extend(lines.map(Result::unwrap));
    example.finish();
    // Without the handler of signals, it would have ended by the signal, and not well.
    check_drain(&all);
}
