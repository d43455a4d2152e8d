//! Names in SQL text.

/// A name as an SQL identifier, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as a list of identifiers, each made by `f` from the quoted name.
pub(crate) fn list<'a>(
    names: impl IntoIterator<Item = &'a str>,
    f: impl Fn(&str) -> String,
) -> String {
    names.into_iter().map(|name| f(&quoted(name))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quoted(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(list(["a", "B c"], |name| format!("x.{name}")), r#"x."a", x."B c""#);
    }
}
