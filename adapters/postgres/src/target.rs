//! What a batch is written by: a table, or a statement for each row.

use crate::{Statement, Table};

/// What a [`BatchSink`](crate::BatchSink) writes by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Target {
    /// Rows of a table, all in one statement.
    Table(Table),
    /// A statement for each row, all in one round trip.
    Statement(Statement),
}

impl Target {
    /// How many values a row must have.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Table(table) => table.width(),
            Self::Statement(statement) => statement.width(),
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Table(table) => table.name(),
            Self::Statement(_) => "the statement",
        }
    }

    /// Whether constraints may wait for the commit. Which tables a statement touches is not known.
    pub(crate) fn may_defer(&self) -> bool {
        match self {
            Self::Table(table) => table.deferred,
            Self::Statement(_) => true,
        }
    }

    pub(crate) fn way(&self) -> Way<'_> {
        match self {
            Self::Table(table) => Way::Table(table),
            Self::Statement(statement) => Way::Statement(statement),
        }
    }
}

impl From<Table> for Target {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Statement> for Target {
    fn from(statement: Statement) -> Self {
        Self::Statement(statement)
    }
}

/// A [`Target`], lent.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    Table(&'a Table),
    Statement(&'a Statement),
}
