//! The program `smoothing` in a very short form, against the real server: what it says of its books is
//! checked, and its figures are not.

use serde_json::Value;
use std::{fs, process::Command};

#[test]
fn a_short_run_loses_and_doubles_nothing_through_the_inbox() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_smoothing"))
        .args(["--lanes", "direct,single,batches", "--rounds", "1", "--full", "1"])
        .args(["--sustainable", "150", "--burst", "1", "--steady", "1", "--shower", "1"])
        .args(["--window", "3", "--pairs", "1", "--copy-rows", "1000", "--bystander-scale", "1"])
        .args(["--bystander-rate", "20"])
        .arg("--out")
        .arg(folder.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "is PostgreSQL up (`scripts/brokers up postgres`)? {words}");

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let results: Value = serde_json::from_str(&read("results.json")).unwrap();
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{words}");
    for run in runs {
        let number = |path: &str| run.pointer(path).and_then(Value::as_u64).unwrap();
        let lane = &run["lane"];
        assert!(number("/arrivals") > 1500, "{lane}: {run}");
        assert!(run["bystander"]["p95"].as_f64().unwrap() > 0.0, "{lane}: {run}");
        if lane != "direct" {
            assert_eq!((number("/lost"), number("/doubled")), (0, 0), "{lane}: {run}");
            assert_eq!(number("/left/waiting"), 0, "{lane}: {run}");
            // Nothing but the poison is missing in the table, and that is with the dead letters.
            let dead = number("/left/dead");
            assert!(dead > 0, "{lane}: {run}");
            assert_eq!(number("/rows/distinct") + dead, number("/arrivals"), "{lane}: {run}");
        }
    }
    for name in ["flow.svg", "backlog.svg", "bystander.svg"] {
        assert!(read(name).starts_with("<svg"), "{name}");
    }
    assert_eq!(read("copy.csv").lines().count(), 2);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("lost 0") && said.contains("Targets."), "{said}");
}
