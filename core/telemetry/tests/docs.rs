//! docs/telemetry.md says of each metric what the table says, and names no other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use forebay_telemetry::{Instrument, METRICS};
use std::{collections::BTreeSet, fs};

#[test]
fn the_page_and_the_table_hold_the_same_metrics() {
    let page = fs::read_to_string("../../docs/telemetry.md").unwrap();
    let (_, metrics) = page.split_once("\n## Metrics\n").unwrap();
    let (table, _) = metrics.split_once("\n\nHistograms").unwrap();
    let rows: BTreeSet<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let instrument = match metric.instrument {
                Instrument::Counter => "counter",
                Instrument::Gauge => "gauge",
                Instrument::Histogram => "histogram",
            };
            let attributes: Vec<_> = metric.attributes.iter().map(|a| format!("`{a}`")).collect();
            let attributes = match attributes.is_empty() {
                true => "-".to_owned(),
                false => attributes.join(", "),
            };
            let (name, unit, about) = (metric.name, metric.unit, metric.about);
            format!("| `{name}` | {instrument} | `{unit}` | {about} | {attributes} |")
        })
        .collect();
    assert_eq!(rows, expected.iter().map(String::as_str).collect());
    for attribute in METRICS.iter().flat_map(|metric| metric.attributes) {
        let is_explained = page.contains(&format!("\n| `{attribute}` | "));
        assert!(is_explained || attribute.starts_with("messaging."), "{attribute} has no values");
    }
}
