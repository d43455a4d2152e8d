//! What is wrong is found at start, and named.

use crate::support::{Place, client, inbox, server, stable};
use forebay::Capabilities;
use forebay_postgres::{
    Budget, BudgetOptions, Conflict, Inbox, InboxOptions, Method, OwnTables, PgPool, PoolOptions,
    SetupError, Table, TableOptions,
};
use futures_util::future::join_all;
use std::time::Duration;

#[tokio::test]
async fn ten_workers_may_start_at_once() {
    let place = Place::new().await;
    let starts = (0..10).map(|_| async {
        let pool = PgPool::connect(place.options().connections(1)).await?;
        Inbox::open(&pool, &stable(), InboxOptions::new("test")).await
    });
    for started in join_all(starts).await {
        started.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM forebay_schema").await, 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let place = Place::new().await;
    let pool = place.pool().await;
    inbox(&pool).await;
    place.run("UPDATE forebay_schema SET version = 99").await;
    let error = Inbox::open(&pool, &stable(), InboxOptions::new("test")).await.unwrap_err();
    assert!(matches!(error, SetupError::NewerSchema { found: 99, known: 1 }), "{error}");
    assert_eq!(place.number("SELECT version FROM forebay_schema").await, 99, "left alone");
}

#[tokio::test]
async fn a_source_without_identity_is_refused() {
    let place = Place::new().await;
    let mut source = stable();
    source.stable_identity = false;
    let pool = place.pool().await;
    let error = Inbox::open(&pool, &source, InboxOptions::new("test")).await.unwrap_err();
    assert!(error.to_string().contains("forebay-id"), "{error}");
}

#[tokio::test]
async fn a_retention_below_the_horizon_is_refused_with_both_numbers() {
    let place = Place::new().await;
    let pool = place.pool().await;
    let day = Duration::from_secs(86_400);
    let options = InboxOptions::new("test").retention(3 * day).redrive(2 * day);
    let error = Inbox::open(&pool, &stable(), options).await.unwrap_err();
    let SetupError::ShortRetention { retention, horizon, .. } = error else { panic!("{error}") };
    assert_eq!(retention, 3 * day);
    assert!(horizon > 4 * day, "two days of throttling, and two of redrive: {horizon:?}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("{retention:?}")) && text.contains(&format!("{horizon:?}")),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_its_address() {
    let connect =
        async |url: &str| PgPool::connect(PoolOptions::new(url)).await.unwrap_err().to_string();
    let refused = connect("postgres://postgres@127.0.0.1:9/app").await;
    assert!(
        refused.contains("127.0.0.1:9/app") && refused.contains("is the server running"),
        "{refused}"
    );
    let (address, _) =
        server().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let database = connect(&format!("{address}/no_such_database")).await;
    assert!(
        database.contains("no_such_database") && database.contains("create the database"),
        "{database}"
    );
    let tls = connect(&format!("{}?sslmode=require", server())).await;
    assert!(tls.contains("TLS"), "{tls}");
    let schema = PgPool::connect(PoolOptions::new(server()).schema("No such")).await.unwrap_err();
    assert!(schema.to_string().contains(r#"CREATE SCHEMA "No such""#), "{schema}");
}

#[tokio::test]
async fn a_table_that_cannot_be_written_is_refused() {
    let place = Place::new().await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, a text, g int GENERATED ALWAYS AS (id + 1) STORED)").await;
    let pool = place.pool().await;
    let table = place.table("t");
    let error =
        async |options: TableOptions| Table::open(&pool, options).await.unwrap_err().to_string();
    let missing = error(TableOptions::new(place.table("nothing"), ["id"])).await;
    assert!(missing.contains("no such table"), "{missing}");
    let column = error(TableOptions::new(&table, ["id", "b"])).await;
    assert!(column.contains("`b`") && column.contains(r#""id", "a", "g""#), "{column}");
    let generated = error(TableOptions::new(&table, ["id", "g"])).await;
    assert!(generated.contains("`g`"), "{generated}");
    let update = Conflict::Update { key: vec!["a".into()], set: vec!["id".into()] };
    let index = error(TableOptions::new(&table, ["id", "a"]).conflict(update)).await;
    assert!(index.contains("42P10"), "{index}");
    let copy = TableOptions::new(&table, ["id"]).conflict(Conflict::Skip).method(Method::Copy);
    assert!(error(copy).await.contains("ON CONFLICT"));
    place.run("CREATE VIEW w AS SELECT id, a FROM t").await;
    let view = TableOptions::new(place.table("w"), ["id", "a"]);
    assert!(Table::open(&pool, view.clone()).await.is_ok(), "it takes an INSERT");
    assert!(error(view.method(Method::Copy)).await.contains("42809"));
    assert_eq!(place.number("SELECT count(*) FROM t").await, 0, "nothing was written");
}

#[tokio::test]
async fn a_right_that_is_missing_is_found_before_the_first_message() {
    let place = Place::new().await;
    let role = format!("role_{}", place.schema);
    place
        .run(&format!(
            "CREATE TABLE t (id int); CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {} TO {role}",
            place.schema
        ))
        .await;
    let url = server().replacen("postgres@", &format!("{role}@"), 1);
    let pool = PgPool::connect(place.options_at(&url)).await.unwrap();
    let error = Table::open(&pool, TableOptions::new(place.table("t"), ["id"])).await.unwrap_err();
    // A worker without the right to create tables starts well once somebody else has.
    let early = Inbox::open(&pool, &stable(), InboxOptions::new("test")).await.unwrap_err();
    inbox(&place.pool().await).await;
    place.run(&format!("GRANT ALL ON ALL TABLES IN SCHEMA {} TO {role}", place.schema)).await;
    let late = Inbox::open(&pool, &stable(), InboxOptions::new("test")).await;
    let table = Table::open(&pool, TableOptions::new(place.table("t"), ["id"])).await;
    drop((pool, late.unwrap(), table.unwrap()));
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert!(error.to_string().contains("42501"), "{error}");
    assert!(early.to_string().contains("42501"), "{early}");
}

#[tokio::test]
async fn looking_makes_nothing_and_finds_what_opening_would() {
    let place = Place::new().await;
    let role = format!("role_{}", place.schema);
    place
        .run(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {} TO {role}", place.schema))
        .await;
    let url = server().replacen("postgres@", &format!("{role}@"), 1);
    let theirs = PgPool::connect(place.options_at(&url)).await.unwrap();
    let ours = place.pool().await;
    let look =
        async |pool: &PgPool| Inbox::look(pool, Some(&stable()), &InboxOptions::new("test")).await;
    let may_not_make = look(&theirs).await.unwrap_err().to_string();
    assert_eq!(look(&ours).await.unwrap(), OwnTables::ToBeMade);
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(place.number(tables).await, 0);
    inbox(&ours).await;
    assert_eq!(look(&ours).await.unwrap(), OwnTables::There);
    place.run(&format!("GRANT SELECT ON forebay_schema, forebay_inbox TO {role}")).await;
    let may_not_use = look(&theirs).await.unwrap_err().to_string();
    place.run(&format!("GRANT INSERT, DELETE ON forebay_inbox TO {role}")).await;
    let may = look(&theirs).await;
    place.run("UPDATE forebay_schema SET version = 99").await;
    let newer = look(&ours).await.unwrap_err();
    let unstable = Capabilities { stable_identity: false, ..stable() };
    let unstable =
        Inbox::look(&ours, Some(&unstable), &InboxOptions::new("test")).await.unwrap_err();
    drop(theirs);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert!(may_not_make.contains("GRANT CREATE ON SCHEMA"), "{may_not_make}");
    assert!(may_not_use.contains("GRANT SELECT, INSERT, DELETE ON"), "{may_not_use}");
    assert_eq!(may.unwrap(), OwnTables::There);
    assert!(matches!(newer, SetupError::NewerSchema { found: 99, .. }), "{newer}");
    assert!(matches!(unstable, SetupError::NoIdentity { .. }), "{unstable}");
}

#[tokio::test]
async fn a_budget_that_makes_no_sense_is_refused() {
    let place = Place::new().await;
    let pool = place.pool().await;
    let nothing = Budget::join(&pool, "b", 0, BudgetOptions::default()).await.unwrap_err();
    assert!(nothing.to_string().contains("`budget.total` is 0"), "{nothing}");
    let second = Duration::from_secs(1);
    let options = BudgetOptions { lease: 2 * second, renew: second };
    let lease = Budget::join(&pool, "b", 1, options).await.unwrap_err();
    assert!(lease.to_string().contains("`budget.lease`"), "{lease}");
    drop(client(&server()).await);
}
