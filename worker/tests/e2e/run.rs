//! `run`: what runs is finished, what has not begun goes back, and the exit code says how it went.

use crate::bench::{Bench, wait_until, wait_until_gone};
use rustix::process::Signal;

#[test]
fn sigterm_finishes_what_runs_and_gives_back_the_rest() {
    let bench = Bench::new();
    // Each waits until it is let go, then says that it is done.
    let script = "echo started >> log; while [ ! -e go ]; do sleep 0.02; done; echo done >> log";
    bench.config(
        "concurrency = 2",
        &format!("[handler.command]\nprogram = 'sh'\nargs = ['-c', '{script}']"),
    );
    bench.send(&["1", "2", "3", "4", "5"]);
    let worker = bench.run();
    wait_until("two have started", || bench.read("log").lines().count() == 2);
    worker.signal(Signal::TERM);
    wait_until("it drains", || bench.read("run.err").contains("draining"));
    bench.write("go", "");
    let done = worker.ended();
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stderr.contains("drained finished=2"), "{done:#?}");
    assert_eq!(bench.read("log"), "started\nstarted\ndone\ndone\n");
    assert_eq!(bench.depth()["ready"], 3);
    assert_eq!(bench.depth()["leased"], 0);
}

#[test]
fn a_second_signal_calls_off_what_runs_and_loses_nothing() {
    let bench = Bench::with_handler(
        "[handler.command]\nprogram = 'sh'\nargs = ['-c', 'echo started >> log; exec sleep 600']",
    );
    bench.send(&["1"]);
    let worker = bench.run();
    wait_until("it has started", || bench.read("log") == "started\n");
    worker.signal(Signal::TERM);
    wait_until("it drains", || bench.read("run.err").contains("draining"));
    worker.signal(Signal::INT);
    let done = worker.ended();
    assert_eq!(done.code, Some(0), "{done:#?}");
    let depth = bench.depth();
    let left = depth["ready"].as_u64().unwrap() + depth["delayed"].as_u64().unwrap();
    assert_eq!(left, 1, "{depth}");
}

#[test]
fn a_program_that_ignores_sigterm_does_not_outlive_the_worker() {
    let script = r#"trap "" TERM; sleep 600 & echo $! >> pids; echo $$$$ >> pids; wait"#;
    for signals in [2, 3] {
        let handler = format!("[handler.command]\nprogram = 'sh'\nargs = ['-c', '{script}']");
        let bench = Bench::with_handler(&handler);
        bench.send(&["1"]);
        let worker = bench.run();
        wait_until("it has started", || bench.read("pids").lines().count() == 2);
        for count in 1..=signals {
            worker.signal(Signal::TERM);
            let drains = || bench.read("run.err").matches("draining").count() >= count;
            wait_until("it has heard", || drains() || count > 1);
        }
        worker.ended();
        wait_until_gone(&bench.read("pids"));
        bench.forebay(&["depth", "--config", "w.toml"]).ok();
    }
}

#[test]
fn a_queue_file_that_is_replaced_ends_the_worker_with_an_error() {
    let bench = Bench::with_handler("[handler.stdout]");
    // Due when the worker has nothing to do, and the file is another.
    bench.forebay(&["send", "--config", "w.toml", "--raw", "--delay", "3s", "late"]).ok();
    bench.send(&["early"]);
    let worker = bench.run();
    wait_until("it works", || bench.read("run.out") == "early\n");
    bench.write("garbage", "this is no database");
    std::fs::rename(bench.path("garbage"), bench.path("q.db")).unwrap();
    let done = worker.ended();
    assert_eq!(done.code, Some(1), "{done:#?}");
    let expected = "forebay: the worker stopped: ";
    let last = done.stderr.lines().last().unwrap();
    assert!(last.starts_with(expected), "{done:#?}");
    assert!(last.contains("q.db` can no longer be written: it was moved, deleted"), "{done:#?}");
    assert_eq!(bench.read("q.db"), "this is no database");
}

#[test]
fn a_queue_file_that_is_damaged_ends_the_worker_with_an_error() {
    let bench = Bench::with_handler("[handler.stdout]");
    bench.send(&["1"]);
    let mut bytes = std::fs::read(bench.path("q.db")).unwrap();
    // All but the first page, which says that it is ours.
    bytes[4096..].fill(0x5a);
    std::fs::write(bench.path("q.db"), bytes).unwrap();
    let done = bench.run().ended();
    assert_eq!(done.code, Some(1), "{done:#?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(last.contains("q.db` is damaged (") && last.contains(".recover"), "{done:#?}");
}

#[test]
fn logs_are_json_if_so_configured_and_apart_from_the_output() {
    let bench = Bench::with_handler("[handler.stdout]\n[log]\nformat = 'json'\nlevel = 'info'");
    bench.send(&["hello"]);
    let done = bench.work_off();
    assert_eq!(done.stdout, "hello\n");
    let lines: Vec<serde_json::Value> =
        done.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let drained = lines.iter().find(|line| line["message"] == "drained").unwrap();
    assert_eq!(drained["done"], 1);
    assert_eq!(drained["level"], "INFO");
}

#[test]
fn messages_with_one_key_keep_their_order() {
    let bench = Bench::new();
    bench.config("ordered = true\nconcurrency = 8", "[handler.stdout]");
    let numbers: String = (0..200).map(|n| format!("{{\"k\": {}, \"n\": {n}}}\n", n % 3)).collect();
    bench.forebay_with(&["send", "--config", "w.toml", "--key-path", "$.k", "-"], &numbers).ok();
    let out = bench.work_off().stdout;
    let mut last = [None; 3];
    assert_eq!(out.lines().count(), 200);
    for line in out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = usize::try_from(line["k"].as_u64().unwrap()).unwrap();
        let number = line["n"].as_u64();
        assert!(last[key] < number, "{out}");
        last[key] = number;
    }
}

#[test]
fn a_worker_that_is_killed_loses_nothing() {
    let bench = Bench::new();
    bench.write(
        "w.toml",
        "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\nlease = '1s'\n\
         [worker]\nconcurrency = 4\n[handler.command]\nprogram = 'sh'\n\
         args = ['-c', 'read n; sleep 0.01; echo $n >> log']\n",
    );
    let numbers: String = (0..200).map(|n| format!("{n}\n")).collect();
    bench.forebay_with(&["send", "--config", "w.toml", "-"], &numbers).ok();
    for round in 1..=3 {
        let worker = bench.run();
        let lines = || bench.read("log").lines().count();
        wait_until("it is in the middle of it", || lines() >= round * 30);
        worker.signal(Signal::KILL);
        worker.ended();
    }
    bench.work_off();
    // Each line is a whole number: a program never sees half a payload.
    let log = bench.read("log");
    let mut seen: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200, "{log}");
    assert_eq!(bench.dead().len(), 0);
}
