//! `bridge` between two queues, with a sink that refuses and a bridge that is killed.

use crate::bench::{Bench, signal, wait_until};
use rustix::process::Signal;
use std::collections::BTreeSet;

const FROM: &str = "[source.embedded]\npath = 'from.db'\nqueue = 'a'\n";
const INTO: &str = "[sink.embedded]\npath = 'to.db'\nqueue = 'b'\n";

/// A bridge between two embedded queues; `at.toml` takes from where it leads to.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("bridge.toml", &format!("{FROM}{INTO}[retry]\nbase = '1ms'\n"));
    let at = INTO.replace("sink", "source");
    bench.write("w.toml", &format!("{at}[handler.stdout]\nformat = 'json'\n"));
    bench
}

fn depth(bench: &Bench, file: &str, queue: &str, what: &str) -> u64 {
    let args = ["depth", "--path", file, "--queue", queue, "--json"];
    let done = bench.forebay(&args);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap_or_default();
    json[what].as_u64().unwrap_or(0)
}

#[test]
fn what_arrives_is_what_was_sent() {
    let bench = bench();
    let args = ["send", "--path", "from.db", "--queue", "a", "--header", "a=1", "--header", "a=2"];
    let more = ["--key-path", "$.c", "--id-path", "$.id", "{\"id\": \"o-7\", \"c\": \"x\"}"];
    bench.forebay(&[&args[..], &more[..]].concat()).ok();
    let plan = bench.forebay(&["check", "bridge.toml"]).ok();
    assert!(plan.contains("sink      embedded: to.db, queue `b`"), "{plan}");
    assert!(plan.contains("1 ready") && plan.contains("to.db is not there"), "{plan}");
    let bridge = bench.spawn(&["bridge", "bridge.toml"]);
    wait_until("it has arrived", || depth(&bench, "to.db", "b", "ready") == 1);
    wait_until("it has left", || depth(&bench, "from.db", "a", "leased") == 0);
    assert_eq!(depth(&bench, "from.db", "a", "ready"), 0);
    signal(&bridge, Signal::TERM);
    assert!(bridge.wait_with_output().unwrap().status.success());
    let line: serde_json::Value = serde_json::from_str(&bench.work_off().stdout).unwrap();
    assert_eq!((&line["id"], &line["key"]), (&"o-7".into(), &"x".into()));
    assert_eq!(line["headers"]["a"], serde_json::json!(["1", "2"]));
    assert_eq!(line["payload"]["c"], "x");
}

#[test]
fn a_bridge_that_is_killed_loses_nothing() {
    const SENT: usize = 3000;
    let bench = bench();
    bench.write("bridge.toml", &format!("{FROM}lease = '1s'\n{INTO}[worker.batch]\nsize = 20\n"));
    let lines: String = (0..SENT).map(|n| format!("{n}\n")).collect();
    bench.forebay_with(&["send", "--path", "from.db", "--queue", "a", "-"], &lines).ok();
    for kill in 1..=3 {
        let mut bridge = bench.spawn(&["bridge", "bridge.toml"]);
        let before = depth(&bench, "to.db", "b", "ready");
        wait_until("some have arrived", || depth(&bench, "to.db", "b", "ready") > before);
        bridge.kill().unwrap();
        bridge.wait().unwrap();
        assert!(kill < 3 || depth(&bench, "to.db", "b", "ready") > 0);
    }
    let bridge = bench.spawn(&["bridge", "bridge.toml"]);
    let left = || {
        ["ready", "delayed", "leased"].map(|what| depth(&bench, "from.db", "a", what)).iter().sum()
    };
    wait_until("all have left", || {
        let left: u64 = left();
        left == 0
    });
    signal(&bridge, Signal::TERM);
    assert!(bridge.wait_with_output().unwrap().status.success());
    let out = bench.work_off().stdout;
    let payload = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"].as_u64().unwrap()
    };
    let arrived: BTreeSet<u64> = out.lines().map(payload).collect();
    assert_eq!(arrived.len(), SENT);
}

#[test]
fn what_is_no_bridge_is_refused_before_anything_is_opened() {
    let bench = Bench::new();
    for (text, expected) in [
        (FROM.to_owned(), "`sink` is missing"),
        (format!("{FROM}{INTO}[handler.stdout]\n"), "b.toml:7: handler: a bridge has none"),
        (format!("{FROM}{}", FROM.replace("source", "sink")), "the queue that the source takes"),
        (
            format!("{FROM}[sink.embeded]\npath = 'x'\n"),
            "b.toml:4: sink.embeded: there is no key `embeded`\n  help: did you mean `embedded`?",
        ),
    ] {
        bench.write("b.toml", &text);
        let error = bench.forebay(&["bridge", "b.toml"]).err(2);
        assert!(error.contains(expected), "{error}");
    }
    assert!(!bench.path("from.db").exists());
}
