//! `[handler.postgres]`: what it may say, and what it may not.

use super::*;

#[test]
fn what_is_written_into_postgresql_is_said_once_and_whole() {
    let postgres =
        |keys: &str| parse(&format!("{SOURCE}[handler.postgres]\nurl = 'postgres://h/d'\n{keys}"));
    let row = "table = 't'\ncolumns = { id = '$.id', n = '$.n' }\n";
    let HandlerConfig::Postgres(config) = postgres(row).unwrap().handler else { panic!() };
    assert!(config.inbox.is_some() && config.budget.is_none(), "{config:?}");
    assert_eq!(
        config.writes.to_string(),
        "rows of `t` by INSERT; one that is there already: a dead letter"
    );
    let updated = format!("{row}conflict = 'update'\nkey = ['id']");
    let HandlerConfig::Postgres(config) = postgres(&updated).unwrap().handler else { panic!() };
    assert!(config.writes.to_string().ends_with("gets a new n"), "{}", config.writes);
    let worker = postgres(row).unwrap().settings.worker;
    assert_eq!(worker.concurrency, Concurrency::Fixed(8));
    assert_eq!(worker.batch.map(|batch| batch.size), Some(100));
    for (keys, expected) in [
        ("", "w.toml:4: handler.postgres: it says not what to write"),
        ("table = 't'\nstatement = ''", "it has a `table` and a `statement`"),
        ("table = 't'", "handler.postgres.columns: it names no column"),
        (
            "table = 't'\ncolumns = { a = 'id' }",
            "w.toml:7: handler.postgres.columns.a: `id` is no path",
        ),
        ("table = 't'\nparams = { a = '$' }", "handler.postgres.params: a table has none"),
        (
            "statement = ''\nmethod = 'copy'",
            "w.toml:7: handler.postgres.method: it belongs to a `table`",
        ),
        (&format!("{row}method = 'cpoy'"), "did you mean `copy`?"),
        (
            &format!("{row}conflict = 'update'"),
            "handler.postgres.conflict: which rows are the same",
        ),
        (&format!("{row}key = ['id']"), "handler.postgres.key: only conflict = \"update\""),
        (&format!("{row}conflict = 'update'\nkey = ['x']"), "`x` is none of `columns`"),
        (
            &format!("{row}conflict = 'update'\nkey = ['id', 'n']"),
            "there is nothing to update: all columns are the key's",
        ),
        (&format!("{row}inbox = 'off'"), "expected false, or { consumer = \"orders\""),
        (&format!("{row}inbox = {{ retain = '1day' }}"), "did you mean `retention`?"),
        (&format!("{row}statement_timeout = '1m'"), "it is longer than `worker.timeout`"),
        (&format!("{row}budget = {{ name = '', total = 4 }}"), "budget.name: it is empty"),
        (&format!("{row}budget = {{ name = 'b' }}"), "`total` is missing"),
    ] {
        let error = postgres(keys).unwrap_err();
        assert!(error.contains(expected), "{keys}\n{error}");
    }
}

#[test]
fn a_url_of_postgresql_is_a_secret() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "postgres://app:hunter2@db/shop\n").unwrap();
    let text = |url: &str| {
        format!("{SOURCE}[handler.postgres]\nurl = {url}\ntable = 't'\ncolumns = {{ a = '$' }}\n")
    };
    for url in [
        format!("{{ file = '{}' }}", secret.path().display()),
        "'postgres://app:hunter2@db/shop'".to_owned(),
        "'host=db user=app password=hunter2'".to_owned(),
    ] {
        let config = parse(&text(&url)).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
    let error = parse(&text("{ file = '/no/such' }")).unwrap_err();
    assert!(error.contains("w.toml:5: handler.postgres.url: /no/such cannot be read"), "{error}");
}
