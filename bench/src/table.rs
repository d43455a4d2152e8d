//! Tables in Markdown: they read well in a terminal, and go into a document as they are.

use std::{
    fmt,
    io::{self, Write},
};

/// A table, row by row.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it on stdout.
    ///
    /// # Errors
    /// When nobody reads stdout any more.
    pub fn print(&self) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{self}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |i| {
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (i, width) in widths.iter().enumerate() {
                write!(f, "| {:width$} ", row.get(i).map_or("", String::as_str))?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["loop", "ns"]);
        table.row(["Forebay".to_owned(), "1".to_owned()]);
        let lines = ["| loop    | ns |", "|---------|----|", "| Forebay | 1  |", ""];
        assert_eq!(table.to_string(), lines.join("\n"));
    }
}
