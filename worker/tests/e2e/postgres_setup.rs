//! What is wrong with `[handler.postgres]` is found by `check` and by `run` alike, at its line, and
//! before anything is written.

use crate::{
    bench::{Bench, wait_until},
    database::{Database, server},
};

/// Both commands refuse a config, with these words.
#[track_caller]
fn refused(bench: &Bench, code: i32, words: &[&str]) {
    for command in ["check", "run"] {
        let error = bench.forebay(&[command, "w.toml"]).err(code);
        for word in words {
            assert!(error.contains(word), "{command}: no `{word}` in {error}");
        }
    }
}

#[test]
fn check_says_what_would_be_done_and_makes_nothing() {
    let database = Database::new();
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, body jsonb)");
    let bench = Bench::new();
    let row = format!(
        "{}table = '{}'\ncolumns = {{ id = '$.id', body = '@payload' }}\nmethod = 'copy'\n\
         connections = 3\nbudget = {{ name = 'b', total = 9 }}\n",
        database.handler(),
        database.table("orders")
    );
    bench.config("", &row);
    bench.send(&["{\"id\": 1}"]);
    let said = bench.forebay(&["check", "w.toml"]).ok();
    for word in [
        "w.toml is sound",
        "`orders`, 3 at once, batches of 100",
        "orders` by COPY; one that is there already: a dead letter",
        "up to 3 connections",
        "body jsonb from @payload, id bigint from $.id",
        "inbox `orders`, 7d",
        "the first run makes Forebay's tables in",
        "budget `b`: 9 connections for all",
    ] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(database.number(tables), 1);
    assert_eq!(database.number("SELECT count(*) FROM orders"), 0);
    bench.work_off();
    let again = bench.forebay(&["check", "w.toml"]).ok();
    assert!(!again.contains("the first run makes"), "{again}");

    let statement = format!(
        "{}statement = 'UPDATE {} SET body = :body WHERE id = :id'\ninbox = false\n\
         params = {{ id = '$.id', body = '$' }}",
        database.handler(),
        database.table("orders")
    );
    bench.config("", &statement);
    let said = bench.forebay(&["check", "w.toml"]).ok();
    for word in [
        "postgres: a statement with 2 parameters",
        "jsonb from $, bigint from $.id",
        "no inbox: a message that comes again is written again",
    ] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
}

#[test]
fn what_the_database_does_not_have_is_named_at_its_line() {
    let database = Database::new();
    database.run("CREATE TABLE orders (id bigint, made int GENERATED ALWAYS AS IDENTITY)");
    let orders = database.table("orders");
    let bench = Bench::new();
    let handler = database.handler();
    for (keys, words) in [
        (
            "table = 'ordrs'\ncolumns = { id = '$.id' }".to_owned(),
            &["w.toml:13: handler.postgres.table: it is `ordrs`", "write schema.table"][..],
        ),
        (
            format!("table = '{orders}'\n[handler.postgres.columns]\nid = '$.id'\nidd = '$.id'"),
            &["w.toml:16: handler.postgres.columns.idd: it is `idd`", "has the columns \"id\""],
        ),
        (
            format!("table = '{orders}'\ncolumns = {{ made = '$.id' }}"),
            &["handler.postgres.columns.made", "the server makes its values itself"],
        ),
        (
            format!(
                "table = '{orders}'\ncolumns = {{ id = '$', made = '$' }}\nconflict = 'update'\nkey = ['id']"
            ),
            &["handler.postgres.columns.made"],
        ),
        (
            format!(
                "table = '{orders}'\ncolumns = {{ id = '$' }}\nconflict = 'skip'\nmethod = 'copy'"
            ),
            &["handler.postgres.method", "COPY knows no ON CONFLICT"],
        ),
        (
            format!(
                "statement = 'INSERT INTO {orders} (idd) VALUES (:id)'\nparams = {{ id = '$' }}"
            ),
            &["w.toml:13: handler.postgres.statement: ", "SQLSTATE 42703", "idd"],
        ),
        (
            format!(
                "statement = 'INSERT INTO {orders} VALUES (:id::text)'\nparams = {{ id = '$' }}"
            ),
            &["handler.postgres.statement: ", "SQLSTATE 42804"],
        ),
        (
            format!(
                "statement = 'INSERT INTO {orders} VALUES (:id); DROP TABLE {orders}'\nparams = {{ id = '$' }}"
            ),
            &["handler.postgres.statement: ", "SQLSTATE 42601"],
        ),
        (
            format!("statement = 'INSERT INTO {orders} VALUES (:id)'\nparams = {{ idd = '$' }}"),
            &[
                "w.toml:14: handler.postgres.params: `:id` is in the statement",
                "did you mean `:idd`?",
            ],
        ),
        (
            format!("statement = 'INSERT INTO {orders} VALUES ($1)'"),
            &["handler.postgres.statement: write `:name` instead of `$1`"],
        ),
        (
            "table = 'x'\ncolumns = { id = '$' }\nconnections = 0".to_owned(),
            &["w.toml:15: handler.postgres.connections: it is 0"],
        ),
    ] {
        bench.config("", &format!("{handler}{keys}"));
        refused(&bench, 2, words);
    }
    assert_eq!(database.number("SELECT count(*) FROM orders"), 0);
}

#[test]
fn a_server_that_cannot_be_used_is_named_and_its_secrets_are_not() {
    let database = Database::new();
    let bench = Bench::new();
    let row = "table = 't'\ncolumns = { id = '$' }\n";
    let with_url = |url: &str| {
        bench.config("", &format!("[handler.postgres]\nurl = {url}\n{row}"));
    };
    with_url("'postgres://app:hunter2@127.0.0.1:9/shop'");
    refused(&bench, 1, &["handler.postgres: ", "127.0.0.1:9/shop", "is the server running"]);
    bench.write("url", "postgres://app:hunter2@127.0.0.1:9/shop\n");
    with_url("{ file = 'url' }");
    refused(&bench, 1, &["127.0.0.1:9/shop"]);
    with_url("'host=127.0.0.1 port=9 user=app password=hunter2 dbname=shop'");
    refused(&bench, 1, &["127.0.0.1:9/shop"]);
    for url in [
        "'postgres://app:hunter2@127.0.0.1:9/shop'",
        "'host=127.0.0.1 port=9 user=app password=hunter2 dbname=shop'",
        "'postgres://app:hun@ter2@127.0.0.1:9/shop'",
        "'postgres://app:hunter2@:x/shop'",
    ] {
        with_url(url);
        let error = bench.forebay(&["check", "w.toml"]).stderr;
        assert!(!error.contains("ter2") && error.contains("handler.postgres"), "{error}");
    }
    let (address, _) =
        server().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    with_url(&format!("'{address}/no_such_database'"));
    refused(&bench, 1, &["no_such_database", "create the database"]);
    bench.config(
        "",
        &format!("[handler.postgres]\nurl = '{}'\nschema = 'No such'\n{row}", server()),
    );
    refused(&bench, 2, &["w.toml:12: handler.postgres.schema: ", "CREATE SCHEMA \"No such\""]);
    drop(database);
}

#[test]
fn a_right_that_is_missing_is_found_before_the_first_message() {
    let database = Database::new();
    let role = format!("role_{}", database.schema);
    let (orders, schema) = (database.table("orders"), &database.schema);
    database.run(&format!(
        "CREATE TABLE orders (id bigint); CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}"
    ));
    let url = server().replacen("postgres@", &format!("{role}@"), 1);
    let handler = database.handler_at(&url);
    let bench = Bench::new();
    bench.config("", &format!("{handler}table = '{orders}'\ncolumns = {{ id = '$' }}"));
    bench.send(&["1"]);
    let table = bench.forebay(&["check", "w.toml"]).err(2);
    database.run(&format!("GRANT INSERT ON orders TO {role}"));
    let schema_right = bench.forebay(&["check", "w.toml"]).err(2);
    database.run(&format!("GRANT CREATE ON SCHEMA {schema} TO {role}"));
    bench.forebay(&["check", "w.toml"]).ok();
    bench.work_off();
    assert_eq!(database.number("SELECT count(*) FROM orders"), 1);
    database.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    assert!(table.contains("handler.postgres.table") && table.contains("42501"), "{table}");
    assert!(schema_right.contains("w.toml:12: handler.postgres.schema"), "{schema_right}");
    assert!(schema_right.contains("GRANT CREATE ON SCHEMA"), "{schema_right}");
}

#[test]
fn a_memory_that_is_too_short_is_refused_with_both_times() {
    let database = Database::new();
    database.run("CREATE TABLE t (id bigint)");
    let bench = Bench::new();
    let keys = format!("table = '{}'\ncolumns = {{ id = '$' }}\n", database.table("t"));
    let handler = database.handler();
    bench.config("", &format!("{handler}{keys}inbox = {{ retention = '1day' }}"));
    bench.send(&["1"]);
    refused(&bench, 2, &["w.toml:15: handler.postgres.inbox.retention", "1d", "can come again"]);
    bench.config("", &format!("{handler}{keys}budget = {{ name = 'b', total = 0 }}"));
    let error = bench.forebay(&["run", "w.toml"]).err(2);
    assert!(error.contains("handler.postgres.budget.total: it is 0"), "{error}");
}

#[test]
fn workers_share_a_budget_and_the_drain_leaves_it() {
    let database = Database::new();
    database.run("CREATE TABLE t (id bigint)");
    let bench = Bench::new();
    bench.config(
        "batch = { size = 1 }",
        &format!(
            "{}table = '{}'\ncolumns = {{ id = '$' }}\n\
             budget = {{ name = 'shared', total = 5, lease = '6s', renew = '500ms' }}",
            database.handler(),
            database.table("t")
        ),
    );
    let shares = || database.number("SELECT coalesce(sum(share), 0) FROM forebay_budget_lease");
    let holders = || database.number("SELECT count(*) FROM forebay_budget_lease WHERE share > 0");
    let first = bench.run();
    wait_until("the first has its share", || {
        bench.read("run.err").contains("taking messages") && shares() == 5
    });
    let second = bench.run();
    wait_until("the two share", || holders() == 2 && shares() == 5);
    let ids: Vec<String> = (0..200).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.send(&ids);
    bench.wait_until_empty();
    assert_eq!(database.rows("t", "id"), (200, 200));
    first.stop().ok();
    assert_eq!(database.number("SELECT count(*) FROM forebay_budget_lease"), 1);
    second.stop().ok();
    assert_eq!(database.number("SELECT count(*) FROM forebay_budget_lease"), 0);
}
