//! Four bridges in a row, over every broker there is: embedded, RabbitMQ, SQS, Kafka, embedded.

#![allow(clippy::print_stdout, reason = "what a test that failed has to say")]

use crate::{
    bench::{Bench, signal, wait_within},
    brokers_at::{Broker, fresh},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{collections::BTreeMap, process::Child, thread, time::Duration};

const SENT: u32 = 600;
/// Four brokers one after the other, beside other tests: an idle SQS queue alone may let 11 s pass.
const PATIENCE: Duration = Duration::from_secs(90);

/// Bridges under way; drained by `stop`, killed when dropped, and then a test that failed has their logs.
struct Bridges(Vec<Child>);

impl Bridges {
    #[track_caller]
    fn stop(mut self) {
        for child in std::mem::take(&mut self.0) {
            signal(&child, Signal::TERM);
            let output = child.wait_with_output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{log}", output.status);
        }
    }
}

impl Drop for Bridges {
    fn drop(&mut self) {
        for (number, mut child) in std::mem::take(&mut self.0).into_iter().enumerate() {
            // Fails where it has ended, which is as well.
            let _ = child.kill();
            let Ok(output) = child.wait_with_output() else { continue };
            if thread::panicking() {
                println!("bridge {number}:\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

#[test]
fn four_bridges_over_every_broker_lose_nothing() {
    let bench = Bench::new();
    let embedded = |file: &str| format!("path = '{file}'\nqueue = 'orders'\n");
    let at = |broker: Broker| (broker.name(), broker.keys(&fresh("chain")));
    let stations = [
        ("embedded", embedded("from.db")),
        at(Broker::Rabbitmq),
        at(Broker::Sqs),
        at(Broker::Kafka),
        ("embedded", embedded("to.db")),
    ];
    let lines = (0..SENT).map(|i| format!("{{\"id\": \"o-{i}\", \"key\": \"k{}\"}}\n", i % 7));
    let send = ["send", "--path", "from.db", "--queue", "orders", "--id-path", "$.id", "-"];
    let more = ["--key-path", "$.key", "--header", "trace=abc", "--header", "trace=def"];
    bench.forebay_with(&[&send[..], &more[..]].concat(), &lines.collect::<String>()).ok();

    let bridges = stations.windows(2).enumerate().map(|(i, pair)| {
        let [(from, source), (to, sink)] = pair else { unreachable!("windows of two") };
        let file = format!("bridge-{i}.toml");
        bench.write(&file, &format!("[source.{from}]\n{source}[sink.{to}]\n{sink}"));
        bench.spawn(&["bridge", &file])
    });
    let bridges = Bridges(bridges.collect());

    let at_the_end = "[source.embedded]\npath = 'to.db'\nqueue = 'orders'\n";
    bench.write("w.toml", &format!("{at_the_end}[handler.stdout]\nformat = 'json'\n"));
    let arrived = || {
        let done = bench.forebay(&["depth", "--config", "w.toml", "--json"]);
        let depth: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
        depth["ready"].as_u64().unwrap_or(0)
    };
    wait_within(PATIENCE, "all have arrived", || arrived() >= u64::from(SENT));
    bridges.stop();

    // At least once: what came twice has the same identity.
    let mut seen = BTreeMap::new();
    for line in bench.work_off().stdout.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        seen.insert(message["id"].as_str().unwrap().to_owned(), message);
    }
    assert_eq!(seen.len(), SENT as usize);
    for i in 0..SENT {
        let message = &seen[&format!("o-{i}")];
        assert_eq!(message["key"], format!("k{}", i % 7), "{message}");
        assert_eq!(message["payload"]["id"], format!("o-{i}"), "{message}");
        assert_eq!(message["headers"]["trace"], serde_json::json!(["abc", "def"]), "{message}");
    }
}
