//! Writing a batch so that one bad row harms nobody: try all of it behind a savepoint, and halve what
//! the server refuses until the culprit stands alone.
//!
//! For `n` rows with `k` bad ones that is at most about `2k log2(n/k) + 2k + 1` statements, and one if
//! none is bad. COPY names the line that it stopped at, and of statements sent one for each row it is
//! known which was the first to fail: there, each bad row costs three more sendings.

use crate::{
    DatabaseError, Kind, Row, Statement, Table, Transaction,
    statement::line_of,
    target::Way,
    value::{Value, copy_text},
};
use bytes::Bytes;
use futures_util::{
    FutureExt, SinkExt,
    future::{join, join3, maybe_done},
};
use std::{ops::Range, pin::pin};
use tokio_postgres::{
    Error,
    types::{ToSql, Type},
};

const SAVE: &str = "SAVEPOINT forebay_rows";
const KEEP: &str = "RELEASE SAVEPOINT forebay_rows";
const UNDO: &str = "ROLLBACK TO SAVEPOINT forebay_rows; RELEASE SAVEPOINT forebay_rows";

/// How a batch went.
pub(crate) struct Written {
    /// What the server has against each row.
    pub(crate) refused: Vec<Option<DatabaseError>>,
    /// How many times rows were sent.
    pub(crate) statements: u64,
}

/// Writes rows, and finds those that cannot be written. Rows keep their order.
pub(crate) async fn isolating(
    way: Way<'_>,
    transaction: &Transaction,
    rows: &[&Row],
) -> Result<Written, DatabaseError> {
    let mut refused: Vec<Option<DatabaseError>> = rows.iter().map(|_| None).collect();
    let mut statements = 0;
    let mut todo = Vec::new();
    if !rows.is_empty() {
        todo.push(0..rows.len());
    }
    while let Some(range) = todo.pop() {
        statements += 1;
        let attempt = attempt(way, transaction, &rows[range.clone()]).await;
        let Err(Stopped { error, at }) = attempt else { continue };
        let error = DatabaseError::new(error);
        if error.kind() != Kind::Permanent {
            return Err(error);
        }
        transaction.batch_execute(UNDO).await?;
        match range.len() {
            1 => refused[range.start] = Some(error),
            _ => todo.extend(parts(range, at)),
        }
    }
    Ok(Written { refused, statements })
}

/// A range that was refused, in parts, the first to be done at the end: around the row that is known
/// to be at fault (from 1), else in halves.
fn parts(range: Range<usize>, line: Option<usize>) -> Vec<Range<usize>> {
    let (start, end) = (range.start, range.end);
    let parts = match line {
        Some(line) if (1..=range.len()).contains(&line) => {
            let bad = start + line - 1;
            vec![bad + 1..end, bad..bad + 1, start..bad]
        }
        _ => {
            let middle = start + range.len() / 2;
            vec![middle..end, start..middle]
        }
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// Why rows were not written.
struct Stopped {
    error: Error,
    /// The row that was at fault, from 1, if that is known.
    at: Option<usize>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        let context = error.as_db_error().and_then(|db| db.where_());
        Self { at: context.and_then(line_of), error }
    }
}

/// Writes rows behind a savepoint, which is left in place if they are refused.
async fn attempt(way: Way<'_>, transaction: &Transaction, rows: &[&Row]) -> Result<(), Stopped> {
    match way {
        Way::Table(table) => Ok(together(table, transaction, rows).await?),
        Way::Statement(statement) => one_by_one(statement, transaction, rows).await,
    }
}

/// All rows by one statement.
async fn together(table: &Table, transaction: &Transaction, rows: &[&Row]) -> Result<(), Error> {
    let client = transaction.client();
    if let Some(copy) = &table.copy {
        // What follows without an answer to wait for is sent along. If the rows are refused, so is the
        // release, and the savepoint stays.
        let copied = async {
            let saving = client.batch_execute(SAVE);
            let (saved, sink) = join(saving, client.copy_in::<_, Bytes>(copy.as_str())).await;
            saved?;
            let mut sink = pin!(sink?);
            sink.send(copy_text(rows.iter().copied()).into()).await?;
            let (copied, kept) = join(sink.finish(), client.batch_execute(KEEP)).await;
            copied?;
            kept
        };
        return transaction.counted(copied).await;
    }
    let columns = by_column(table.width(), rows);
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
        columns.iter().map(|column| (column as _, Type::TEXT_ARRAY)).collect();
    // One round trip.
    let all = join3(
        client.batch_execute(SAVE),
        client.execute_typed(&table.insert, &parameters),
        client.batch_execute(KEEP),
    );
    let (saved, inserted, kept) = transaction.counted(all).await;
    saved?;
    inserted?;
    kept
}

/// A statement for each row, sent in one go. Behind the first that fails, the server refuses the rest.
async fn one_by_one(
    statement: &Statement,
    transaction: &Transaction,
    rows: &[&Row],
) -> Result<(), Stopped> {
    let client = transaction.client();
    let runs = rows.iter().map(|row| async move {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            row.iter().map(|value| (value as _, Type::UNKNOWN)).collect();
        client.execute_typed(&statement.sql, &parameters).await
    });
    // One round trip.
    let all = join3(client.batch_execute(SAVE), pipelined(runs), client.batch_execute(KEEP));
    let (saved, ran, kept) = transaction.counted(all).await;
    saved?;
    if let Some((index, error)) =
        ran.into_iter().enumerate().find_map(|(index, ran)| Some((index, ran.err()?)))
    {
        return Err(Stopped { error, at: Some(index + 1) });
    }
    Ok(kept?)
}

/// Sends requests in their order before it waits for the first answer: each is sent when it is first
/// polled. Then waits for the answers, which come in the same order.
async fn pipelined<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut sent: Vec<_> = requests.map(|request| Box::pin(maybe_done(request))).collect();
    for request in &mut sent {
        let _ = request.as_mut().now_or_never();
    }
    let mut answers = Vec::with_capacity(sent.len());
    for request in &mut sent {
        request.as_mut().await;
        answers.extend(request.as_mut().take_output());
    }
    answers
}

/// Rows turned into columns, as `unnest` wants them.
pub(crate) fn by_column<'a>(width: usize, rows: &[&'a Row]) -> Vec<Vec<Option<&'a str>>> {
    (0..width)
        .map(|column| rows.iter().map(|row| row.get(column).and_then(Value::as_text)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays the server: a range with a bad row in it is refused; COPY names the first one.
    fn play(n: usize, bad: &[usize], names_lines: bool) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut written, mut refused, mut statements) = (vec![], vec![], 0);
        let mut todo = Vec::from([Range { start: 0, end: n }]);
        while let Some(range) = todo.pop() {
            statements += 1;
            match range.clone().find(|row| bad.contains(row)) {
                None => written.extend(range),
                Some(row) if range.len() == 1 => refused.push(row),
                Some(row) => {
                    let line = names_lines.then(|| row - range.start + 1);
                    todo.extend(parts(range, line));
                }
            }
        }
        (written, refused, statements)
    }

    proptest! {
        #[test]
        fn every_row_is_written_once_or_refused_and_in_order(
            n in 1_usize..600,
            bad in proptest::collection::btree_set(0_usize..600, 0..20),
            names_lines: bool,
        ) {
            let bad: Vec<usize> = bad.into_iter().filter(|row| *row < n).collect();
            let (written, refused, statements) = play(n, &bad, names_lines);
            let good: Vec<usize> = (0..n).filter(|row| !bad.contains(row)).collect();
            prop_assert_eq!(written, good);
            prop_assert_eq!(&refused, &bad);
            let k = bad.len();
            let log = (n.max(2) as f64).log2().ceil() as usize;
            let most = if names_lines { 3 * k + 1 } else { 2 * k * log + 1 };
            prop_assert!(statements <= most, "{} statements for {} of {}", statements, k, n);
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_halved_instead() {
        assert_eq!(parts(4..8, Some(9)), [6..8, 4..6]);
        assert_eq!(parts(4..8, Some(0)), [6..8, 4..6]);
        assert_eq!(parts(4..8, Some(1)), [5..8, 4..5]);
        assert_eq!(parts(4..6, None), [5..6, 4..5]);
    }
}
