//! A statement of the user's own, run once for each row of a batch: for what a table and its columns
//! cannot say, such as an upsert that adds up, two tables at once, a function.
//!
//! It is tried out at start, and not run: `PREPARE` has the server read it and say which type each
//! parameter has, `EXPLAIN EXECUTE` asks for the rights. Both are SQL, in one transaction, and
//! deallocated in it: what the driver prepares has a name that PgBouncer would hand to whoever comes
//! next.

use crate::{DatabaseError, Kind, PgPool, SetupError};
use tokio_postgres::{Client, Error, types::Type};

/// What it is called while it is tried out.
const NAME: &str = "forebay_try_out";
/// A statement with parameters `$1`, `$2`, …, to be run for each row.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) sql: String,
    parameters: usize,
    types: Option<Vec<String>>,
}

impl Statement {
    /// Has the server read a statement with so many parameters, without running it: wrong names and
    /// types, and missing rights, are found now. A `CALL`, which cannot be prepared, is taken on trust.
    ///
    /// # Errors
    /// [`SetupError::Invalid`] for another number of parameters; [`SetupError::Server`] is what the
    /// server said.
    pub async fn open(
        pool: &PgPool,
        sql: impl Into<String>,
        parameters: usize,
    ) -> Result<Self, SetupError> {
        let sql = sql.into();
        if is_call(&sql) {
            return Ok(Self { sql, parameters, types: None });
        }
        let client = pool.inner().tls.connect(&pool.inner().config).await?;
        let types = try_out(&client, &sql).await;
        let types = types.map_err(SetupError::server("trying out the statement"))?;
        if types.len() != parameters {
            let value = format!("a statement with {} parameters", types.len());
            return Err(SetupError::invalid("statement", value, format!("{parameters} are bound")));
        }
        Ok(Self { sql, parameters, types: Some(types) })
    }

    /// How many values a row must have.
    #[must_use]
    pub fn width(&self) -> usize {
        self.parameters
    }

    /// The types that the server takes the parameters for, by their names in SQL; `None` if it could
    /// not be asked.
    #[must_use]
    pub fn types(&self) -> Option<&[String]> {
        self.types.as_deref()
    }
}

/// Whether it calls a procedure. Comments may come first.
fn is_call(sql: &str) -> bool {
    let mut rest = sql.trim_start();
    loop {
        let after = if rest.starts_with("--") {
            rest.split_once('\n').map(|(_, after)| after)
        } else if rest.starts_with("/*") {
            rest.split_once("*/").map(|(_, after)| after)
        } else {
            break;
        };
        let Some(after) = after else { return false };
        rest = after.trim_start();
    }
    let first = rest.split(|c: char| !c.is_ascii_alphabetic()).next();
    first.is_some_and(|word| word.eq_ignore_ascii_case("CALL"))
}

/// The parameters' types. An error leaves the connection to be closed.
async fn try_out(client: &Client, sql: &str) -> Result<Vec<String>, Error> {
    client.batch_execute("BEGIN").await?;
    // Not by `batch_execute`, which would run a second statement behind a semicolon.
    client.execute_typed(&format!("PREPARE {NAME} AS {sql}"), &[]).await?;
    let types = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = $1";
    let types: Vec<String> =
        client.query_typed_one(types, &[(&NAME, Type::TEXT)]).await?.try_get(0)?;
    let nulls = match types.len() {
        0 => String::new(),
        n => format!("({})", vec!["NULL"; n].join(", ")),
    };
    client.batch_execute("SAVEPOINT forebay_rights").await?;
    let explained = client.batch_execute(&format!("EXPLAIN EXECUTE {NAME}{nulls}")).await;
    client
        .batch_execute(&format!(
            "ROLLBACK TO SAVEPOINT forebay_rights; DEALLOCATE {NAME}; ROLLBACK"
        ))
        .await?;
    match explained.map_err(DatabaseError::new) {
        // What else it may have against so many NULLs says nothing of the messages to come.
        Err(error) if error.kind() == Kind::Misconfigured => Err(error.into_driver_error()),
        _ => Ok(types),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_first_word() {
        for sql in ["CALL book($1)", "\n -- why\n/* so */ call book()"] {
            assert!(is_call(sql), "{sql}");
        }
        for sql in ["INSERT INTO call VALUES ($1)", "", "-- CALL", "/* CALL", "CALLED"] {
            assert!(!is_call(sql), "{sql}");
        }
    }
}
