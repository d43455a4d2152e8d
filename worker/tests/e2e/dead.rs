//! `dead`: what could not be handled, until somebody decides.

use crate::bench::Bench;

/// Four dead letters: 1 and 2 by exit code 65, 3 and 4 by attempts.
fn bench() -> Bench {
    let script = "read n; case $n in 1|2) echo no such customer >&2; exit 65;; \
                  3|4) echo timed out >&2; exit 1;; esac";
    let bench = Bench::with_handler(&format!(
        "[handler.command]\nprogram = 'sh'\nargs = ['-c', '''{script}''']"
    ));
    bench.send(&["0", "0", "0", "0", "0", "0"]);
    bench.work_off();
    bench.send(&["1", "2", "3", "4"]);
    bench.work_off();
    assert_eq!(bench.dead().len(), 4);
    bench
}

fn dead<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["dead", command, "--config", "w.toml"][..], more].concat()
}

#[test]
fn list_filters_and_show_tells_all() {
    let bench = bench();
    let table = bench.forebay(&dead("list", &[])).ok();
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.starts_with("ID"), "{table}");
    let lines = |more: &[&str]| bench.forebay(&dead("list", more)).ok().lines().count();
    assert_eq!(lines(&["--reason", "permanent"]), 3);
    assert_eq!(lines(&["--error", "timed out"]), 3);
    assert_eq!(lines(&["--error", "timed out", "--reason", "permanent"]), 0);
    assert_eq!(lines(&["--older-than", "1h"]), 0);
    assert_eq!(lines(&["--limit", "2"]), 3);
    let error = bench.forebay(&dead("list", &["--reason", "bad"])).err(2);
    assert!(error.contains("attempts_exhausted"), "{error}");

    let letter = bench.dead().into_iter().find(|it| it["message"]["payload"] == 3).unwrap();
    let id = letter["dead_id"].as_str().unwrap().to_owned();
    assert_eq!(letter["attempts"], 3);
    assert_eq!(letter["history"].as_array().unwrap().len(), 3);
    let shown = bench.forebay(&dead("show", &[&id])).ok();
    assert_eq!(shown.matches("transient: exit code 1: timed out").count(), 3, "{shown}");
    assert!(shown.contains("reason    attempts_exhausted") && shown.ends_with("\n3\n"), "{shown}");
    for unknown in ["999", "nonsense"] {
        let error = bench.forebay(&dead("show", &[unknown])).err(2);
        assert!(error.contains(&format!("orders has no dead letter {unknown}")), "{error}");
    }
}

#[test]
fn redrive_moves_what_is_meant_and_says_so_line_by_line() {
    let bench = bench();
    let error = bench.forebay(&dead("redrive", &[])).err(2);
    assert!(error.contains("redrive which?"), "{error}");
    let preview = bench.forebay(&dead("redrive", &["--error", "timed out", "--dry-run"]));
    assert_eq!(preview.ok().lines().count(), 2);
    assert_eq!(bench.depth()["dead"], 4);
    let done = bench.forebay(&dead("redrive", &["--error", "timed out"]));
    assert!(done.stderr.contains("redrove 2"), "{done:#?}");
    let done_log = done.stderr.clone();
    let audit = done.ok();
    assert_eq!(audit.lines().count(), 2);
    assert!(audit.starts_with("redrove dead="), "{audit}");
    let expected = "from=orders to=orders reason=attempts_exhausted redrives=1 attempts=3 \
                    error=\"exit code 1: timed out\"";
    assert!(audit.contains(expected), "{audit}");
    assert_eq!(done_log.matches("redriven").count(), 2, "{done_log}");
    assert!(
        done_log.contains("to=\"orders\" reason=\"attempts_exhausted\" redrives=1"),
        "{done_log}"
    );
    assert_eq!((&bench.depth()["dead"], &bench.depth()["ready"]), (&2.into(), &2.into()));
}

#[test]
fn a_filter_may_be_written_as_key_and_value() {
    let bench = bench();
    let lines = |more: &[&str]| bench.forebay(&dead("list", more)).ok().lines().count();
    assert_eq!(lines(&["--filter", "reason=permanent"]), 3);
    assert_eq!(lines(&["--filter", "error=timed out", "--filter", "reason=permanent"]), 0);
    assert_eq!(lines(&["--from", "orders"]), 5);
    assert_eq!(lines(&["--filter", "from=elsewhere"]), 0);
    let error = bench.forebay(&dead("redrive", &["--filter", "eror=x"])).err(2);
    assert!(error.contains("there is no key `eror`: did you mean `error`?"), "{error}");
    let error = bench.forebay(&dead("redrive", &["--error", "x", "--filter", "error=y"])).err(2);
    assert!(error.contains("`error` is given twice"), "{error}");
    let json = bench.forebay(&dead("redrive", &["--filter", "reason=permanent", "--json"])).ok();
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["from"], "orders");
    assert_eq!((&line["to"], &line["redrives"]), (&"orders".into(), &1.into()));
}

#[test]
fn redrive_does_not_go_round_in_circles() {
    let bench = bench();
    for _ in 0..2 {
        bench.forebay(&dead("redrive", &["--all", "--max-redrives", "2", "--rate", "1000"])).ok();
        bench.work_off();
        assert_eq!(bench.depth()["dead"], 4);
    }
    let done = bench.forebay(&dead("redrive", &["--all", "--max-redrives", "2"]));
    assert!(done.stderr.contains("left 4 that had been redriven 2 times or more"), "{done:#?}");
    assert_eq!(done.ok(), "");
    assert_eq!(bench.depth()["dead"], 4);
}

#[test]
fn purge_asks_and_deletes_only_what_is_meant() {
    let bench = bench();
    let error = bench.forebay(&dead("purge", &["--yes"])).err(2);
    assert!(error.contains("purge which?"), "{error}");
    let error = bench.forebay(&dead("purge", &["--all"])).err(2);
    assert!(error.contains("nobody to ask on standard input: say --yes"), "{error}");
    let purged = bench.forebay(&dead("purge", &["--reason", "permanent", "--yes"])).ok();
    assert_eq!(purged, "purged 2\n");
    assert_eq!(bench.depth()["dead"], 2);
    let id = bench.dead()[0]["dead_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.forebay(&dead("purge", &[&id, "-y"])).ok(), "purged 1\n");
    assert_eq!(bench.forebay(&dead("purge", &["--all", "--yes"])).ok(), "purged 1\n");
}
