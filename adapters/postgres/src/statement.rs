//! The text of the statements that write a batch, made once when the table is opened.
//!
//! A batch of any size is one statement with one parameter per column: an array of texts, taken
//! apart by `unnest` and cast to the column's type. So the text never changes, no limit of 65,535
//! parameters is near, and nothing needs to be prepared. Two finer points:
//!
//! - Casts are to the type without its length: an explicit cast to `varchar(3)` would cut a text
//!   silently, where the assignment to the column refuses it.
//! - `ON CONFLICT DO UPDATE` may not touch a row twice. Of rows of one batch that have the same key,
//!   the last wins, as if they had come one after the other; rows with a NULL in their key have no
//!   equal. Sorted by key, batches that share keys do not wait for each other in a circle.

use crate::{
    Conflict,
    name::{list, quoted},
    options::BEGUN,
};

/// A column, as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type's name in SQL, without length.
    pub(crate) sql_type: String,
}

/// `INSERT` of as many rows as the arrays hold.
pub(crate) fn insert(table: &str, columns: &[Column], conflict: &Conflict) -> String {
    let names = list(columns.iter().map(|column| column.name.as_str()), str::to_owned);
    let cast = |index: usize| format!("r.c{index}::{}", columns[index].sql_type);
    let values: Vec<String> = (0..columns.len()).map(cast).collect();
    let arrays: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let aliases: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    let (values, arrays, aliases) = (values.join(", "), arrays.join(", "), aliases.join(", "));
    let rows = format!("unnest({arrays}) WITH ORDINALITY AS r({aliases}, n) WHERE {BEGUN}");
    match conflict {
        Conflict::Fail => {
            format!("INSERT INTO {table} ({names}) SELECT {values} FROM {rows} ORDER BY n")
        }
        Conflict::Skip => format!(
            "INSERT INTO {table} ({names}) SELECT {values} FROM {rows} ORDER BY n \
             ON CONFLICT DO NOTHING"
        ),
        Conflict::Update { key, set } => {
            let places: Vec<usize> = columns
                .iter()
                .enumerate()
                .filter(|(_, c)| key.contains(&c.name))
                .map(|(i, _)| i)
                .collect();
            let keys: Vec<String> = places.iter().map(|index| cast(*index)).collect();
            let nulls: Vec<String> =
                places.iter().map(|index| format!("r.c{index} IS NULL")).collect();
            let by = format!("{}, CASE WHEN {} THEN n END", keys.join(", "), nulls.join(" OR "));
            let target = list(key.iter().map(String::as_str), str::to_owned);
            let set: Vec<String> =
                set.iter().map(|name| format!("{0} = EXCLUDED.{0}", quoted(name))).collect();
            format!(
                "INSERT INTO {table} ({names}) SELECT DISTINCT ON ({by}) {values} FROM {rows} \
                 ORDER BY {by}, n DESC ON CONFLICT ({target}) DO UPDATE SET {}",
                set.join(", ")
            )
        }
    }
}

/// `COPY` from the client.
pub(crate) fn copy(table: &str, columns: &[Column]) -> String {
    let names = list(columns.iter().map(|column| column.name.as_str()), str::to_owned);
    format!("COPY {table} ({names}) FROM STDIN")
}

/// The line that COPY says the error is in, from 1: `COPY orders, line 3, column amount: "x"`.
pub(crate) fn line_of(context: &str) -> Option<usize> {
    let rest = context.lines().find_map(|line| line.strip_prefix("COPY "))?;
    let digits = rest.split_once(", line ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column =
            |name: &str, sql_type: &str| Column { name: name.into(), sql_type: sql_type.into() };
        vec![column("id", "bigint"), column("Amount", "numeric")]
    }

    #[test]
    fn the_statements_read_as_they_should() {
        let rows = format!("unnest($1, $2) WITH ORDINALITY AS r(c0, c1, n) WHERE {BEGUN}");
        let values = "r.c0::bigint, r.c1::numeric";
        let fail = insert("s.t", &columns(), &Conflict::Fail);
        assert_eq!(
            fail,
            format!("INSERT INTO s.t (\"id\", \"Amount\") SELECT {values} FROM {rows} ORDER BY n")
        );
        let update = insert(
            "s.t",
            &columns(),
            &Conflict::Update { key: vec!["id".into()], set: vec!["Amount".into()] },
        );
        let by = "r.c0::bigint, CASE WHEN r.c0 IS NULL THEN n END";
        assert_eq!(
            update,
            format!(
                "INSERT INTO s.t (\"id\", \"Amount\") SELECT DISTINCT ON ({by}) {values} FROM {rows} \
                 ORDER BY {by}, n DESC ON CONFLICT (\"id\") DO UPDATE SET \"Amount\" = EXCLUDED.\"Amount\""
            )
        );
        assert_eq!(copy("s.t", &columns()), "COPY s.t (\"id\", \"Amount\") FROM STDIN");
    }

    #[test]
    fn the_line_of_a_copy_is_read_from_its_context() {
        assert_eq!(line_of("COPY orders, line 3, column amount: \"x\""), Some(3));
        assert_eq!(line_of("COPY orders, line 12"), Some(12));
        assert_eq!(line_of("PL/pgSQL function f() line 2\nCOPY t, line 7: \"a\""), Some(7));
        assert_eq!(line_of("something else"), None);
    }
}
