//! `adapters`: what each broker can do, and the page that is made of it.

use crate::bench::Bench;
use std::{collections::BTreeSet, fs, path::Path};

const BROKERS: [&str; 4] = ["embedded", "kafka", "rabbitmq", "sqs"];

#[test]
fn the_page_in_the_docs_is_what_the_command_prints() {
    let printed = Bench::new().forebay(&["adapters", "--markdown"]).ok();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/brokers-matrix.md");
    let page = fs::read_to_string(page).unwrap();
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
        assert!(adapter["built_in"].is_boolean(), "{adapter}");
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
