//! Holds the documentation to the repository: links lead somewhere, the tests that the guarantees
//! name exist, and the keys of the config are those that the binary reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The repository. Cargo runs tests in the package's folder.
fn root() -> PathBuf {
    PathBuf::from("..")
}

/// All files below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path, extension),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect()
}

/// What is between `open` and `close`, each time.
fn between<'t>(text: &'t str, open: &'t str, close: char) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(it, _)| it)
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let pages = files(&root().join("docs"), "md");
    assert!(pages.len() > 5, "{pages:?}");
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for link in between(&text, "](", ')').filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", page.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let found = text.lines().any(|line| {
                    line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading
                });
                assert!(found, "{}: no such heading: `{link}`", page.display());
            }
        }
    }
}

/// The fields of the structs that a config file is read into: lines such as `    size: usize,`.
fn config_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let folders = ["worker/src/config", "worker/src/brokers"];
    for file in folders.iter().flat_map(|folder| files(&root().join(folder), "rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let (text, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        for item in text.split("Deserialize)]").skip(1) {
            let is_enum = item.find("enum ").is_some_and(|at| !item[..at].contains("struct "));
            if is_enum {
                continue;
            }
            let body = item.split_once("struct ").and_then(|(_, rest)| rest.split_once('{'));
            let Some((fields, _)) = body.and_then(|(_, rest)| rest.split_once('}')) else {
                continue;
            };
            let names = fields.lines().filter_map(|line| line.split_once(": "));
            let names = names.map(|(name, _)| name.trim().trim_start_matches("pub(crate) "));
            let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            keys.extend(names.filter(plain).map(str::to_owned));
        }
    }
    keys
}

#[test]
fn every_key_of_the_config_is_documented_and_no_other() {
    let keys = config_keys();
    assert!(keys.len() > 40, "only {keys:?}");
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let code: String = page.split('`').skip(1).step_by(2).flat_map(|code| [code, " "]).collect();
    let words: BTreeSet<&str> =
        code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    for key in &keys {
        assert!(words.contains(&**key), "`{key}` is not in configuration.md");
    }
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let names = line.split('|').nth(1).unwrap();
        for name in names.split('`').skip(1).step_by(2) {
            assert!(keys.contains(name), "configuration.md has `{name}`, which is no key");
        }
    }
}

#[test]
fn the_tests_that_hold_the_guarantees_exist() {
    let sources: Vec<(String, String)> = ["core", "adapters", "worker"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .filter(|path| {
            path.components().any(|it| it.as_os_str() == "tests" || it.as_os_str() == "cases")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut seen = 0;
    for (file, test) in between(&page, "(`", ')')
        .flat_map(|list| list.split('`'))
        .filter_map(|name| name.split_once("::"))
    {
        let signature = format!("fn {test}");
        let exists = sources.iter().any(|(name, text)| {
            let mut places = text.match_indices(&signature);
            name == file
                && places.any(|(at, _)| text[at + signature.len()..].starts_with(['(', '<']))
        });
        assert!(exists, "guarantees.md names `{file}::{test}`, which is no test");
        seen += 1;
    }
    assert!(seen > 30, "only {seen} tests were found in guarantees.md");
}
