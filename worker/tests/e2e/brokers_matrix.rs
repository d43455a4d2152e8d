//! `adapters`: what each broker can do, and the page that is made of it.

use crate::{
    bench::Bench,
    brokers_at::{Broker, fresh},
};
use forebay::{Capabilities, Exactness, Source};
use forebay_embedded::{SourceOptions, Store};
use forebay_kafka::{Create, KafkaOptions, KafkaQueue};
use forebay_rabbitmq::{RabbitOptions, RabbitQueue, Topology};
use forebay_sqs::{SqsOptions, SqsQueue};
use serde_json::Value;
use std::{collections::BTreeSet, env, fs, process::Command};

const BROKERS: [&str; 4] = ["embedded", "kafka", "rabbitmq", "sqs"];

#[test]
fn the_page_in_the_docs_is_what_the_command_prints() {
    let printed = Bench::new().forebay(&["adapters", "--markdown"]).ok();
    let page = fs::read_to_string("../docs/brokers-matrix.md").unwrap();
    assert!(
        page == printed,
        "docs/brokers-matrix.md is out of date: forebay adapters --markdown > docs/brokers-matrix.md"
    );
}

#[test]
fn every_broker_says_something_of_every_feature() {
    let bench = Bench::new();
    let json = bench.forebay(&["adapters", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let adapters = json["adapters"].as_array().unwrap();
    let names: Vec<_> = adapters.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, BROKERS);
    let mut seen = BTreeSet::new();
    for adapter in adapters {
        assert_eq!(adapter["built_in"], true, "{adapter}");
        for (name, feature) in adapter["features"].as_object().unwrap() {
            let how = feature["how"].as_str().unwrap();
            assert!(["native", "emulated", "refused", "n.a."].contains(&how), "{name}: {how}");
            assert!(feature["says"].as_str().unwrap().len() > 2, "{name}");
            seen.insert(name.clone());
        }
    }
    let table = bench.forebay(&["adapters"]).ok();
    assert_eq!(table.lines().count(), seen.len() + 2, "{table}");
    assert!(table.starts_with("FEATURE"), "{table}");
    assert!(table.lines().skip(2).all(|line| line.split_whitespace().count() == 5), "{table}");
}

#[test]
fn one_adapter_is_told_in_words() {
    let bench = Bench::new();
    let sqs = bench.forebay(&["adapters", "sqs"]).ok();
    assert!(sqs.contains("max-retry-delay") && sqs.contains("12 hours"), "{sqs}");
    let error = bench.forebay(&["adapters", "kafak"]).err(2);
    assert!(error.contains("there is no adapter `kafak`: did you mean `kafka`?"), "{error}");
}

/// A number with its thousands apart: `983,616`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Holds what the matrix says of a broker to what its adapter says of itself.
#[track_caller]
fn agrees(json: &Value, can: &Capabilities) {
    let adapters = json["adapters"].as_array().unwrap();
    let adapter = adapters.iter().find(|it| it["name"] == can.broker).unwrap();
    let how = |name: &str| adapter["features"][name]["how"].as_str().unwrap();
    let says = |name: &str| adapter["features"][name]["says"].as_str().unwrap();
    let holds = |what: &str, is: bool, told: bool| {
        assert_eq!(is, told, "{}: {what}: {} ({})", can.broker, how(what), says(what));
    };
    holds("attempts", can.attempts == Exactness::Exact, says("attempts").starts_with("exact"));
    holds("backlog", can.backlog == Exactness::Exact, says("backlog").starts_with("exact"));
    holds("max-retry-delay", can.max_delay.is_none(), says("max-retry-delay") == "any");
    holds("lease-extension", can.lease.is_none(), how("lease-extension") == "n.a.");
    holds("identity", can.stable_identity, how("identity") == "native");
    for (what, is) in [
        ("release-keeps-attempt", can.release_keeps_attempt),
        ("history", can.durable_history),
        ("suspects", can.counts_interruptions),
        ("delayed-publish", can.delayed_publish),
    ] {
        holds(what, is, how(what) != "refused");
    }
    let most = grouped(can.max_payload.unwrap());
    assert!(says("max-payload").contains(&most), "{}: {most}", can.broker);
}

#[tokio::test]
async fn the_matrix_says_what_the_adapters_say_of_themselves() {
    let name = "brokers_matrix::the_matrix_says_what_the_adapters_say_of_themselves";
    if !has_credentials(name) {
        return;
    }
    let bench = Bench::new();
    let json = bench.forebay(&["adapters", "--json"]).ok();
    let json: Value = serde_json::from_str(&json).unwrap();

    let queue = Store::open(bench.path("q.db")).unwrap().queue("q").await.unwrap();
    agrees(&json, queue.source(&SourceOptions::default()).capabilities());

    let mut options = KafkaOptions::new(Broker::Kafka.address(), fresh("matrix"));
    options.create = Some(Create { partitions: 1, replication: 1 });
    agrees(&json, KafkaQueue::open(options).await.unwrap().capabilities());

    let options = RabbitOptions::new(Broker::Rabbitmq.address(), fresh("matrix"));
    let queue = RabbitQueue::open(options.topology(Topology::Leave)).await.unwrap();
    agrees(&json, &queue.capabilities());

    let options = SqsOptions::new(fresh("matrix")).endpoint(Broker::Sqs.address());
    let queue = SqsQueue::open(options.topology(forebay_sqs::Topology::Create)).await;
    agrees(&json, queue.unwrap().capabilities());
}

/// Runs the test of this name in a process that has credentials for an emulator, any of them. Whether
/// this process is that one.
fn has_credentials(test: &str) -> bool {
    if env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return true;
    }
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .status();
    assert!(status.unwrap().success(), "{test} failed in a process of its own");
    false
}
