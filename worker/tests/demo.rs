//! `forebay demo`, run as it is: what it reports is counted again from the rows it leaves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rusqlite::Connection;
use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

fn demo(args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["demo", "--burst", "0.6", "--dir"]).arg(folder).args(args).output().unwrap()
}

/// The rows of the table: a name, and the number behind it.
fn figures(stdout: &str) -> HashMap<String, u64> {
    let names = ["sent", "done", "retried", "put off", "came back", "dead", "failed", "in doubt"];
    let names = names.into_iter().chain(["refused", "lost", "duplicates"]);
    let of = |name: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.strip_prefix(' ')?.split_whitespace().next()?;
        Some((name.to_owned(), number.replace(',', "").parse().ok()?))
    };
    names.filter_map(of).collect()
}

fn number(file: &Path, sql: &str) -> u64 {
    let conn = Connection::open(file).unwrap();
    conn.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_burst_is_leveled_and_every_figure_is_in_the_database() {
    let home = tempfile::tempdir().unwrap();
    let (folder, picture) = (home.path().join("demo"), home.path().join("demo.svg"));
    let output = demo(&["--svg", picture.to_str().unwrap()], &folder);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");

    let told = figures(&stdout);
    let orders = folder.join("orders.db");
    let rows = number(&orders, "SELECT count(*) FROM effects");
    let distinct = number(&orders, "SELECT count(DISTINCT id) FROM effects");
    let dead = number(&folder.join("queue.db"), "SELECT count(*) FROM dead");
    assert_eq!(told["lost"], 0, "{stdout}");
    assert_eq!(told["done"], distinct, "{stdout}");
    assert_eq!(told["duplicates"], rows - distinct, "{stdout}");
    assert_eq!(told["dead"], dead, "{stdout}");
    assert_eq!(told["sent"], distinct + dead, "{stdout}");
    let again = number(&orders, "SELECT count(DISTINCT id) FROM effects WHERE attempt > 1");
    assert_eq!(told["retried"], again, "{stdout}");
    assert_eq!(number(&folder.join("queue.db"), "SELECT count(*) FROM message"), 0);
    // Two workers, and the one that took the place of the killed one.
    assert!(stderr.contains("killed by SIGKILL"), "{stderr}");
    assert!(stderr.contains("takes its place"), "{stderr}");
    assert_eq!(number(&orders, "SELECT count(DISTINCT pid) FROM effects"), 3);

    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for part in ["orders per second", "seconds", "SIGKILL", "0 lost"] {
        assert!(svg.contains(part), "{part} is not in the picture");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn without_a_queue_every_client_is_accounted_for() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("demo");
    let output = demo(&["--without"], &folder);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let told = figures(&stdout);
    let orders = folder.join("orders.db");
    let distinct = number(&orders, "SELECT count(DISTINCT id) FROM effects");
    assert_eq!(told["done"], distinct, "{stdout}");
    assert_eq!(told["sent"], told["done"] + told["refused"] + told["lost"], "{stdout}");
    assert_eq!(told["failed"], told["lost"] + told["in doubt"], "{stdout}");
    // Some three in a hundred fail whatever the load, and nobody tries them again.
    assert!(told["lost"] > 0, "{stdout}");
}

#[test]
fn an_interrupted_demo_leaves_no_processes_and_no_folder() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("demo")
        .env("TMPDIR", home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let workers = || children(demo.id());
    wait_until("the workers run", || workers().len() == 2);
    let workers = workers();
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    wait_until("the workers are gone", || {
        workers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

/// The process ids of a process's children.
fn children(of: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let lists: String = lists.collect();
    lists.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
