//! The promise, seen from outside: a worker that is killed at any instant loses nothing. The real
//! binary works at a real queue into a real database, is killed again and again, and the database's
//! own rows say what was done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that a worker has in hand.
const WINDOW: u32 = 16;

/// A queue, a database, and a worker between the two. Each execution of the handler leaves a row.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let database = site.database();
        database.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE effects (n)").unwrap();
        let config = format!(
            "[source.embedded]\npath = 'queue.db'\nqueue = 'orders'\nlease = '1s'\n\
             [worker]\nconcurrency = 4\nwindow = {{ messages = {WINDOW}, bytes = '1MiB' }}\n\
             [retry]\nattempts = 1000\nbase = '1ms'\ncap = '50ms'\n\
             [handler.sqlite]\npath = 'effects.db'\nparams = {{ n = '$' }}\n\
             statement = 'INSERT INTO effects VALUES (:n)'\n"
        );
        fs::write(site.path("worker.toml"), config).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self) -> Connection {
        let database = Connection::open(self.path("effects.db")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database
    }

    fn forebay(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(args).current_dir(self.0.path()).stdout(Stdio::piped());
        command
    }

    fn send(&self, numbers: Range<u32>) {
        let mut sending = self
            .forebay(&["send", "--config", "worker.toml", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines: String = numbers.map(|n| format!("{n}\n")).collect();
        sending.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(sending.wait().unwrap().success());
    }

    /// A worker; it says what it does in `log`.
    fn worker(&self) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.forebay(&["run", "worker.toml"]);
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    /// What is in the queue: outstanding, and dead.
    fn depth(&self) -> (u64, u64) {
        let output =
            self.forebay(&["depth", "--config", "worker.toml", "--json"]).output().unwrap();
        let depth: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let queue = if depth.is_array() { &depth[0] } else { &depth };
        let count = |name: &str| queue[name].as_u64().unwrap_or_else(|| panic!("{name}: {depth}"));
        (count("ready") + count("delayed") + count("leased"), count("dead"))
    }

    /// Lets an unharmed worker finish what is left, and returns how often each message was handled.
    fn finish(&self) -> BTreeMap<u32, u32> {
        let mut worker = Killed(self.worker().spawn().unwrap());
        let began = Instant::now();
        while self.depth().0 > 0 {
            assert!(began.elapsed() < PATIENCE, "{:?} left\n{}", self.depth(), self.log());
            sleep(Duration::from_millis(100));
        }
        worker.kill();
        let database = self.database();
        let mut query = database.prepare("SELECT n, count(*) FROM effects GROUP BY n").unwrap();
        query.query_map([], |row| row.try_into()).unwrap().map(Result::unwrap).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// A worker that does not outlive its test.
struct Killed(Child);

impl Killed {
    /// SIGKILL: no handler, no goodbye.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Ended already, in a test that passes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn twenty_kills_under_load_lose_nothing() {
    const KILLS: u32 = 20;
    const EACH: u32 = 150;
    let site = Site::new();
    for kill in 0..KILLS {
        site.send(kill * EACH..(kill + 1) * EACH);
        let mut worker = Killed(site.worker().spawn().unwrap());
        sleep(Duration::from_millis(120 + 41 * (u64::from(kill % 7))));
        worker.kill();
    }
    let before: u32 =
        site.database().query_row("SELECT count(*) FROM effects", [], |row| row.get(0)).unwrap();
    assert!(before > KILLS, "only {before} handled before the last kill: no load");
    let handled = site.finish();
    let sent = KILLS * EACH;
    assert!(handled.keys().copied().eq(0..sent), "{} of {sent}\n{}", handled.len(), site.log());
    assert_eq!(site.depth(), (0, 0), "nothing is dead");
    let again: u32 = handled.values().map(|times| times - 1).sum();
    assert!(again <= KILLS * WINDOW, "{again} repeated after {KILLS} kills of up to {WINDOW} each");
    println!("{sent} sent, {sent} handled, {again} of them again, after {KILLS} kills");
}

#[test]
fn a_kill_at_each_touch_of_the_disk_loses_nothing() {
    /// Far enough to pass through opening, claiming, settling and a checkpoint of each kind.
    const TOUCHES: u32 = 48;
    const EACH: u32 = 6;
    let site = Site::new();
    let killer = build_killer(site.0.path());
    let mut killed = 0;
    site.send(0..EACH);
    for touch in 1..=TOUCHES {
        site.send(touch * EACH..(touch + 1) * EACH);
        let mut worker = site.worker();
        worker.env("LD_PRELOAD", &killer).env("KILLER_PATH", site.path("queue.db"));
        let mut worker = Killed(worker.env("KILLER_AT", touch.to_string()).spawn().unwrap());
        let began = Instant::now();
        while worker.0.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(5));
        }
        killed += u32::from(worker.0.try_wait().unwrap().is_some());
    }
    assert_eq!(killed, TOUCHES, "a worker lived on: the killer did not bite\n{}", site.log());
    let handled = site.finish();
    let sent = (TOUCHES + 1) * EACH;
    assert!(handled.keys().copied().eq(0..sent), "{} of {sent}\n{}", handled.len(), site.log());
    assert_eq!(site.depth(), (0, 0), "nothing is dead");
}

fn build_killer(directory: &Path) -> PathBuf {
    let library = directory.join("killer.so");
    let source = Path::new("tests/crash/killer.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, source])
        .arg("-ldl")
        .status()
        .expect("a C compiler, which building SQLite needs too");
    assert!(built.success());
    library
}
