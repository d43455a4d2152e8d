//! The index of the MUSTs and the cases tell the same.

use forebay_conformance::CASES;

const INDEX: &str = include_str!("../MUSTS.md");

const SOURCES: [(&str, &str); 10] = [
    ("settle", include_str!("../src/cases/settle.rs")),
    ("retry", include_str!("../src/cases/retry.rs")),
    ("lease", include_str!("../src/cases/lease.rs")),
    ("dead", include_str!("../src/cases/dead.rs")),
    ("redrive", include_str!("../src/cases/redrive.rs")),
    ("order", include_str!("../src/cases/order.rs")),
    ("receive", include_str!("../src/cases/receive.rs")),
    ("close", include_str!("../src/cases/close.rs")),
    ("backlog", include_str!("../src/cases/backlog.rs")),
    ("sink", include_str!("../src/cases/sink.rs")),
];

/// The number of the MUST that a case's documentation names.
fn must_of(source: &str, case: &str) -> Option<u32> {
    let at = source.find(&format!("pub async fn {case}<"))?;
    let doc = source[..at].rfind("/// MUST ")? + "/// MUST ".len();
    source[doc..].split(':').next()?.parse().ok()
}

#[test]
fn every_case_is_in_the_index_under_the_must_that_it_names() {
    for name in CASES {
        let (theme, case) = name.split_once("::").unwrap();
        let source = SOURCES.iter().find(|(t, _)| *t == theme).unwrap().1;
        let must = must_of(source, case).unwrap_or_else(|| panic!("{name} names no MUST"));
        let row = INDEX.lines().find(|line| line.starts_with(&format!("| {must} |")));
        let row = row.unwrap_or_else(|| panic!("there is no MUST {must}, which {name} names"));
        assert!(row.contains(&format!("`{name}`")), "{name} is not in the row of MUST {must}");
    }
}

#[test]
fn every_case_that_is_written_is_run() {
    for (theme, source) in SOURCES {
        for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
            let case = line.split('<').next().unwrap();
            let name = format!("{theme}::{case}");
            assert!(CASES.contains(&name.as_str()), "{name} is not in the list of cases");
        }
    }
}

#[test]
fn the_index_names_only_cases_that_there_are() {
    for name in INDEX.split('`').filter(|part| part.contains("::")) {
        assert!(CASES.contains(&name), "the index names `{name}`");
    }
}
