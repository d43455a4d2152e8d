//! `init`, `check`, `send`, `depth`: everything around a queue but the work.

use crate::bench::{Bench, Done, signal, wait_until};
use rustix::process::Signal;
use std::{fs, io::Write};

const STDOUT: &str = "[handler.stdout]";

#[test]
fn without_a_command_it_says_where_to_begin() {
    let help = Bench::new().forebay(&[]).ok();
    let (_, start) =
        help.split_once("Getting started:").expect("a section that says where to begin");
    assert!(["forebay demo", "forebay init"].iter().all(|way| start.contains(way)), "{help}");
}

#[test]
fn every_command_shows_examples() {
    let bench = Bench::new();
    let commands = ["run", "check", "init", "send", "depth", "dead", "demo"];
    let dead = ["list", "show", "redrive", "purge"];
    for command in commands {
        let help = bench.forebay(&[command, "--help"]).ok();
        assert!(help.contains(&format!("Examples:\n  forebay {command}")), "{help}");
    }
    for command in dead {
        let help = bench.forebay(&["dead", command, "--help"]).ok();
        assert!(help.contains(&format!("Examples:\n  forebay dead {command}")), "{help}");
    }
}

#[test]
fn what_init_writes_can_be_checked_sent_to_and_run() {
    let bench = Bench::new();
    bench.forebay(&["init", "w.toml"]).ok();
    let again = bench.forebay(&["init", "w.toml"]).err(2);
    assert!(again.contains("w.toml is there already"), "{again}");
    bench.forebay(&["init", "w.toml", "--force"]).ok();
    let checked = bench.forebay(&["check", "w.toml"]).ok();
    assert!(checked.starts_with("w.toml is sound\n"), "{checked}");
    assert!(!bench.path("forebay.db").exists(), "check made a file");
    bench.send(&["{\"id\": 1}"]);
    assert_eq!(bench.work_off().stdout, "{\"id\": 1}\n");
}

#[test]
fn send_takes_arguments_a_file_and_standard_input() {
    let bench = Bench::with_handler(STDOUT);
    let sent = bench.forebay(&["send", "--config", "w.toml", "1", "[2]"]).ok();
    assert!(sent.starts_with("sent 2 in "), "{sent}");
    bench.write("more.jsonl", "{\"a\": 3}\n\n4\n");
    bench.forebay(&["send", "--path", "q.db", "--queue", "orders", "--file", "more.jsonl"]).ok();
    bench.forebay_with(&["send", "--config", "w.toml", "-"], "\"five\"").ok();
    assert_eq!(bench.depth()["ready"], 5);
    let table = bench.forebay(&["depth", "--config", "w.toml"]).ok();
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["QUEUE", "READY", "DELAYED", "LEASED", "DEAD", "OLDEST"]);
    assert_eq!(rows[1][..5], ["orders", "5", "0", "0", "0"]);
}

#[test]
fn a_bad_line_stops_with_its_number_and_what_is_confirmed() {
    let bench = Bench::with_handler(STDOUT);
    let lines = "1\n2\nnot json\n4\n";
    let error = bench.forebay_with(&["send", "--config", "w.toml", "-"], lines).err(1);
    assert!(error.contains("2 confirmed, then stopped at line 3: not JSON"), "{error}");
    assert_eq!(bench.depth()["ready"], 2);
    let done = bench.forebay_with(&["send", "--config", "w.toml", "-", "--skip-invalid"], lines);
    assert!(done.stderr.contains("skipped line 3: not JSON"), "{done:?}");
    assert!(done.ok().starts_with("sent 3, skipped 1 in "));
    bench.forebay_with(&["send", "--config", "w.toml", "-", "--raw"], lines).ok();
    assert_eq!(bench.depth()["ready"], 2 + 3 + 4);
}

#[test]
fn keys_identities_headers_and_delay_arrive() {
    let bench = Bench::with_handler("[handler.stdout]\nformat = 'json'");
    let args = ["send", "--config", "w.toml", "--key-path", "$.c", "--id-path", "$.id"];
    let more = ["--header", "a=1", "--header", "b=x=y", "{\"id\": \"o-7\", \"c\": 42}"];
    bench.forebay(&[&args[..], &more[..]].concat()).ok();
    bench.forebay(&["send", "--config", "w.toml", "--delay", "1h", "0"]).ok();
    assert_eq!(bench.depth()["delayed"], 1);
    let worker = bench.run();
    wait_until("it is printed", || !bench.read("run.out").is_empty());
    let line: serde_json::Value = serde_json::from_str(&worker.stop().stdout).unwrap();
    assert_eq!(line["id"], "o-7");
    assert_eq!(line["key"], "42");
    assert_eq!(line["attempt"], 1);
    assert_eq!(line["headers"]["a"], "1");
    assert_eq!(line["headers"]["b"], "x=y");
    assert_eq!(line["payload"]["c"], 42);
    let error = bench.forebay(&["send", "--config", "w.toml", "--key-path", "$.k", "{}"]).err(1);
    assert!(error.contains("argument 1: no text or number at $.k"), "{error}");
}

#[test]
fn send_keeps_its_rate() {
    let bench = Bench::with_handler(STDOUT);
    let started = std::time::Instant::now();
    let lines = "1\n".repeat(60);
    bench.forebay_with(&["send", "--config", "w.toml", "--rate", "100", "-"], &lines).ok();
    // Ten at once, then 50 more at 100 per second.
    assert!(started.elapsed().as_millis() >= 490, "{:?}", started.elapsed());
}

#[test]
fn send_that_is_interrupted_says_what_is_confirmed() {
    let bench = Bench::with_handler(STDOUT);
    let mut child = bench.spawn(&["send", "--config", "w.toml", "-"]);
    // The pipe stays open: the command waits for more.
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"1\n2\n").unwrap();
    wait_until("they are sent", || {
        bench.path("q.db").exists()
            && bench.forebay(&["depth", "--config", "w.toml"]).stdout.contains("orders  2 ")
    });
    signal(&child, Signal::INT);
    let error = Done::from(child.wait_with_output().unwrap()).err(1);
    assert!(error.contains("2 confirmed, then stopped by a signal: interrupted"), "{error}");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let bench = Bench::with_handler(STDOUT);
    let mut child = bench.spawn(&["init", "-"]);
    drop(child.stdout.take());
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, &*done.stderr), (Some(0), ""));
}

#[test]
fn a_queue_misspelt_is_not_made() {
    let bench = Bench::with_handler(STDOUT);
    let error = bench.forebay(&["depth", "--config", "w.toml"]).err(2);
    assert!(error.contains("q.db is not there"), "{error}");
    assert!(!bench.path("q.db").exists());
    bench.send(&["1"]);
    let error = bench.forebay(&["depth", "--path", "q.db", "--queue", "order"]).err(2);
    assert!(error.contains("q.db has no queue `order`: did you mean `orders`?"), "{error}");
    let error = bench.forebay(&["depth", "--path", "q.db"]).err(2);
    assert!(error.contains("--queue <NAME>"), "{error}");
    let error = bench.forebay(&["depth"]).err(2);
    assert!(error.contains("--config <FILE>"), "{error}");
    bench.write("other.db", "not a database, but long enough to look at: nothing is done to it");
    let before = fs::read(bench.path("other.db")).unwrap();
    let error = bench.forebay(&["send", "--path", "other.db", "--queue", "x", "1"]).err(2);
    assert!(error.contains("other.db"), "{error}");
    assert_eq!(fs::read(bench.path("other.db")).unwrap(), before);
}

#[test]
fn check_shows_the_plan_without_its_secrets() {
    let bench = Bench::new();
    bench.write("token", "hunter2\n");
    let handler = "[handler.http]\nurl = 'http://127.0.0.1:1/x'\ndiscard = [410]\n\
                   headers = { authorization = { file = 'token' } }";
    bench.config("concurrency = { adaptive = { min = 2, max = 9 } }\nordered = true", handler);
    bench.send(&["1"]);
    let plan = bench.forebay(&["check", "w.toml"]).ok();
    for expected in [
        "queue `orders`",
        "1 ready, 0 delayed, 0 leased, 0 dead",
        "2 to 9 at once, as it goes, in order by key",
        "3 attempts, waits of up to 20ms",
        "http: POST http://127.0.0.1:1/x, headers authorization: ***, timeout 10s (410 discard)",
    ] {
        assert!(plan.contains(expected), "{expected}\n{plan}");
    }
    assert!(!plan.contains("hunter2"), "{plan}");
}

#[test]
fn check_refuses_what_could_not_run() {
    let bench = Bench::new();
    for (worker, handler, expected) in [
        (
            "concurency = 3",
            STDOUT,
            "w.toml:5: worker.concurency: there is no key `concurency`\n  help: did you mean `concurrency`?",
        ),
        (
            "",
            "[handler.command]\nprogram = 'no-such-program'",
            "w.toml:11: handler.command.program: no program `no-such-program` in PATH",
        ),
        ("", "[handler.command]\nprogram = './w.toml'", "w.toml is not there, or not executable"),
        (
            "",
            "[handler.sqlite]\npath = 'no.db'\nstatement = 'SELECT 1'",
            "w.toml:11: handler.sqlite.path: cannot open",
        ),
        (
            "",
            "[handler.http]\nurl = '${FOREBAY_NO_SUCH}'",
            "the environment variable `FOREBAY_NO_SUCH` is not set",
        ),
    ] {
        bench.config(worker, handler);
        for command in ["check", "run"] {
            let error = bench.forebay(&[command, "w.toml"]).err(2);
            assert!(error.contains(expected), "{command} {handler}\n{error}");
        }
    }
    assert!(!bench.path("q.db").exists());
    assert!(!bench.path("no.db").exists());
    let error = bench.forebay(&["check", "no.toml"]).err(2);
    assert!(error.contains("no.toml: cannot be read"), "{error}");
}
