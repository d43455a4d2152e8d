//! Forebay's own tables, and how they come to be: numbered steps, each done once, also when ten
//! workers start at once.
//!
//! Every message writes a row into the inbox, so that it has one index only, and compares byte by byte: a
//! database's own collation takes longer. `consumer` comes first, though `id` would tell rows apart sooner:
//! identities mostly rise, in several places at once, and below an equal first column PostgreSQL then
//! fills its pages (nine tenths in place of a half).
//!
//! The lock is an advisory one of the transaction, which PgBouncer's transaction mode keeps. It is
//! taken only when there is something to do, so that a worker without the right to create tables
//! starts well once somebody else has.

use crate::{DatabaseError, PgPool, SetupError, name::quoted};
use tokio_postgres::{Client, types::Type};

/// What this program knows: the number of steps.
const VERSION: i32 = STEPS.len() as i32;

/// The steps, oldest first; `{s}` stands for the schema. A step that was released never changes.
const STEPS: [&str; 1] = ["
    CREATE TABLE {s}.forebay_inbox (
        consumer text COLLATE \"C\" NOT NULL,
        id text COLLATE \"C\" NOT NULL,
        done_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, id)
    );
    CREATE TABLE {s}.forebay_budget (
        name text PRIMARY KEY,
        total integer NOT NULL CHECK (total >= 0)
    );
    CREATE TABLE {s}.forebay_budget_lease (
        holder bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        name text NOT NULL REFERENCES {s}.forebay_budget ON DELETE CASCADE,
        wanted integer NOT NULL,
        share integer NOT NULL CHECK (share >= 0),
        expires_at timestamptz NOT NULL
    );
    CREATE INDEX forebay_budget_lease_name ON {s}.forebay_budget_lease (name);
"];

/// The key of the lock that serializes migrations in a database: `forebay` in ASCII.
const LOCK: i64 = 0x66_6f72_6562_6179;

/// The quoted name of the schema for Forebay's tables.
pub(crate) async fn resolve(client: &Client, schema: Option<&str>) -> Result<String, SetupError> {
    let sql = "SELECT coalesce($1, current_schema())::text, \
               to_regnamespace(quote_ident(coalesce($1, current_schema()))) IS NOT NULL";
    let row = client
        .query_typed_one(sql, &[(&schema, Type::TEXT)])
        .await
        .map_err(SetupError::server("looking for the schema"))?;
    let name: Option<String> = row.get(0);
    let there: Option<bool> = row.get(1);
    match name {
        Some(name) if there == Some(true) => Ok(quoted(&name)),
        Some(schema) => Err(SetupError::NoSchema { quoted: quoted(&schema), schema }),
        None => Err(SetupError::invalid(
            "schema",
            "not set",
            "no schema of the connection's search_path is there: name one",
        )),
    }
}

/// What there is of Forebay's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnTables {
    /// They are there.
    There,
    /// They are not, or are older: whoever starts first makes them, and this role may.
    ToBeMade,
}

/// Says what there is, and changes nothing.
pub(crate) async fn look(pool: &PgPool) -> Result<OwnTables, SetupError> {
    let schema = &pool.inner().schema;
    let client = pool.inner().tls.connect(&pool.inner().config).await?;
    let doing = || SetupError::server("looking for Forebay's tables");
    let found = version(&client, schema).await.map_err(doing())?;
    if found > VERSION {
        return Err(SetupError::NewerSchema { found, known: VERSION });
    }
    if found == VERSION {
        return Ok(OwnTables::There);
    }
    let sql = "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE oid = to_regnamespace($1)";
    let row = client.query_typed_one(sql, &[(schema, Type::TEXT)]).await.map_err(doing())?;
    match row.get::<_, bool>(0) {
        true => Ok(OwnTables::ToBeMade),
        false => Err(lacks("CREATE", &format!("SCHEMA {schema}"), schema)),
    }
}

/// Whether the inbox can be used that is there.
pub(crate) async fn may_use_inbox(pool: &PgPool) -> Result<(), SetupError> {
    let schema = &pool.inner().schema;
    let client = pool.inner().tls.connect(&pool.inner().config).await?;
    let table = format!("{schema}.forebay_inbox");
    let sql = "SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, 'INSERT') \
               AND has_table_privilege($1, 'DELETE')";
    let row = client
        .query_typed_one(sql, &[(&table, Type::TEXT)])
        .await
        .map_err(SetupError::server("looking for the inbox"))?;
    match row.get::<_, bool>(0) {
        true => Ok(()),
        false => Err(lacks("SELECT, INSERT, DELETE", &table, schema)),
    }
}

fn lacks(right: &str, on: &str, schema: &str) -> SetupError {
    SetupError::invalid(
        "schema",
        schema,
        format!("the role lacks a right: GRANT {right} ON {on} TO it"),
    )
}

/// Brings the tables to the version that this program knows.
///
/// # Errors
/// [`SetupError::NewerSchema`] when they are beyond it; else what the server said.
pub(crate) async fn migrate(pool: &PgPool) -> Result<(), SetupError> {
    let schema = &pool.inner().schema;
    let client = pool.inner().tls.connect(&pool.inner().config).await?;
    let doing = SetupError::server("making Forebay's tables");
    // In one transaction each, for PgBouncer: what is read and what is written must be one session.
    if version(&client, schema).await.map_err(doing)? == VERSION {
        return Ok(());
    }
    let done = steps(&client, schema).await;
    match done {
        Ok(found) if found > VERSION => Err(SetupError::NewerSchema { found, known: VERSION }),
        Ok(_) => Ok(()),
        Err(error) => {
            let error = DatabaseError::new(error).while_doing("making Forebay's tables");
            Err(SetupError::Server(error))
        }
    }
}

/// Does the steps that are missing, in one transaction; the version that was found.
async fn steps(client: &Client, schema: &str) -> Result<i32, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    client.execute_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    let found = version(client, schema).await?;
    if found < VERSION {
        let missing = STEPS.iter().skip(usize::try_from(found).unwrap_or(0));
        let mut sql: String = missing.map(|step| step.replace("{s}", schema)).collect();
        if found == 0 {
            sql.push_str(&format!(
                "CREATE TABLE {schema}.forebay_schema (version integer NOT NULL);
                 INSERT INTO {schema}.forebay_schema VALUES ({VERSION});"
            ));
        } else {
            sql.push_str(&format!("UPDATE {schema}.forebay_schema SET version = {VERSION};"));
        }
        client.batch_execute(&sql).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(found)
}

/// The version of the tables that are there; 0: none.
async fn version(client: &Client, schema: &str) -> Result<i32, tokio_postgres::Error> {
    // Not `to_regclass`: it answers from the session's cache, which does not notice, within one
    // transaction, what another has created while this one waited for the lock.
    let there = "SELECT EXISTS (SELECT FROM pg_class \
                 WHERE relname = 'forebay_schema' AND relnamespace = to_regnamespace($1))";
    if !client.query_typed_one(there, &[(&schema, Type::TEXT)]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let sql = format!("SELECT max(version) FROM {schema}.forebay_schema");
    let row = client.query_typed_one(&sql, &[]).await?;
    Ok(row.get::<_, Option<i32>>(0).unwrap_or(0))
}
