//! What a PostgreSQL error means for a message: one table over SQLSTATEs, and the text for people.
//!
//! | SQLSTATE | kind | because |
//! |---|---|---|
//! | 40xxx but 40002, 55P03, 55006, 25xxx | transient | another transaction was in the way; the next attempt has the way free |
//! | 08xxx, 57xxx but 57P04, 58xxx, XXxxx | transient | the server restarts, fails over, or called the statement off |
//! | 53xxx, PgBouncer's queue | throttled | it has no connections, memory or disk left: come slower |
//! | 42P01, 42703, 42704, 42883, 42501, 3Dxxx, 3Fxxx, 28xxx, 57P04 | misconfigured | see below |
//! | 22xxx, 23xxx, 21xxx, 54xxx, 0Axxx, 40002, 44xxx, P0xxx, other 42xxx | permanent | this row can never be written |
//! | anything else | transient | in doubt, nothing is lost |
//!
//! # Why a missing table is no poison
//!
//! An undefined table, column or function, or a missing right, refuses every message alike: a worker
//! was deployed before its migration, or a grant was forgotten. The messages are sound, and go
//! through once somebody has mended the database. As permanent failures they would all go to the
//! dead letters. So they are failures of the system behind: retried, and, since all fail, the breaker
//! opens, and the queue keeps the backlog. A batch is not searched row by row for a culprit either:
//! most likely there is none. Should there be one after all (a trigger that looks for a table by the
//! row's content), the runtime's splitting of failed batches finds it.

use forebay::Failure;
use std::fmt;
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
};

/// What an SQLSTATE means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may work later.
    Transient,
    /// The server has nothing left to give: later, and slower.
    Throttled,
    /// The database is not as the statement needs it: every message fails alike until it is mended.
    Misconfigured,
    /// This row can never be written.
    Permanent,
}

/// The table. `message` tells PgBouncer's refusals apart, which share one SQLSTATE.
#[must_use]
pub fn kind_of(code: &str, message: &str) -> Kind {
    match code {
        "40002" => return Kind::Permanent,
        "42P01" | "42703" | "42704" | "42883" | "42501" | "57P04" => return Kind::Misconfigured,
        // PgBouncer says 08P01 for nearly everything: these two mean that its own queue is full.
        "08P01"
            if message.contains("query_wait_timeout") || message.contains("max_client_conn") =>
        {
            return Kind::Throttled;
        }
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "53" => Kind::Throttled,
        "28" | "3D" | "3F" => Kind::Misconfigured,
        "0A" | "21" | "22" | "23" | "27" | "42" | "44" | "54" | "P0" => Kind::Permanent,
        _ => Kind::Transient,
    }
}

/// What an error of the driver means: by its SQLSTATE if the server sent one. Without one, the
/// connection was lost or never came about, which may pass.
#[must_use]
pub fn kind(error: &Error) -> Kind {
    error.as_db_error().map_or(Kind::Transient, |db| kind_of(db.code().code(), db.message()))
}

/// An error of the database, in the server's own words: SQLSTATE, message, column, constraint.
#[derive(Debug)]
pub struct DatabaseError {
    text: String,
    source: Error,
}

impl DatabaseError {
    pub(crate) fn new(error: Error) -> Self {
        Self { text: describe(&error), source: error }
    }

    /// With what was being done, in front of the text.
    pub(crate) fn while_doing(mut self, doing: &str) -> Self {
        self.text = format!("{doing}: {}", self.text);
        self
    }

    /// The SQLSTATE, if the server sent one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.source.code()
    }

    /// The driver's error, with every field that the server sent.
    #[must_use]
    pub fn driver_error(&self) -> &Error {
        &self.source
    }

    pub(crate) fn into_driver_error(self) -> Error {
        self.source
    }

    /// What it means for a message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        kind(&self.source)
    }

    /// The failure of a message that ran into it.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self.kind() {
            Kind::Transient | Kind::Misconfigured => Failure::transient(self),
            Kind::Throttled => Failure::throttled(self, None),
            Kind::Permanent => Failure::permanent(self),
        }
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// The driver's error is not the `source`: its text says the same again, and less of it.
impl std::error::Error for DatabaseError {}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

/// The failure that an error of the database is, by its SQLSTATE.
#[must_use]
pub fn failure(error: Error) -> Failure {
    DatabaseError::new(error).into_failure()
}

/// A handler's failure, sorted by SQLSTATE where it is a database error passed on by a plain `?`.
/// What the handler has sorted itself stays as it is.
pub(crate) fn sorted(failure: Failure) -> Failure {
    match failure {
        Failure::Transient { error, after: None } => match error.downcast::<Error>() {
            Ok(error) => self::failure(*error),
            Err(error) => match error.downcast::<DatabaseError>() {
                Ok(error) => error.into_failure(),
                Err(error) => Failure::Transient { error, after: None },
            },
        },
        other => other,
    }
}

fn describe(error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        return with_causes(error);
    };
    let mut text = format!("SQLSTATE {}: {}", db.code().code(), db.message());
    let mut part = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str("; ");
            text.push_str(name);
            text.push(' ');
            text.push_str(value);
        }
    };
    part("column", column(db));
    part("constraint", db.constraint());
    part("detail:", db.detail());
    part("hint:", db.hint());
    text
}

/// The column: by the field, or by the context that COPY gives (`COPY t, line 3, column b: "x"`).
fn column(db: &DbError) -> Option<&str> {
    db.column().or_else(|| {
        let rest = db.where_()?.lines().next()?.split_once(", column ")?.1;
        Some(rest.split_once(':').map_or(rest, |(name, _)| name))
    })
}

pub(crate) fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_kind() {
        let table: [(Kind, &[&str]); 4] = [
            (
                Kind::Transient,
                &[
                    "40001", "40P01", "55P03", "55006", "57P03", "57P01", "57P02", "57014",
                    "08006", "08001", "08P01", "25006", "25P02", "58030", "XX000", "72000",
                    "ZZ999", "",
                ],
            ),
            (Kind::Throttled, &["53300", "53200", "53100", "53400", "53000"]),
            (
                Kind::Misconfigured,
                &["42P01", "42703", "42704", "42883", "42501", "3D000", "3F000", "28P01", "57P04"],
            ),
            (
                Kind::Permanent,
                &[
                    "22001", "22P02", "22021", "23502", "23503", "23505", "23514", "23P01",
                    "21000", "42601", "42804", "54000", "0A000", "44000", "P0001", "40002",
                ],
            ),
        ];
        for (kind, codes) in table {
            for code in codes {
                assert_eq!(kind_of(code, ""), kind, "{code}");
            }
        }
    }

    #[test]
    fn a_full_queue_of_pgbouncer_is_backpressure() {
        assert_eq!(kind_of("08P01", "query_wait_timeout"), Kind::Throttled);
        let full = "no more connections allowed (max_client_conn)";
        assert_eq!(kind_of("08P01", full), Kind::Throttled);
    }

    #[test]
    fn what_the_handler_has_sorted_stays() {
        let sorted_by_hand = Failure::permanent("no");
        assert!(matches!(sorted(sorted_by_hand), Failure::Permanent(_)));
        let other = Failure::transient("away");
        assert!(matches!(sorted(other), Failure::Transient { .. }));
    }
}
