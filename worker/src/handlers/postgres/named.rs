//! `:name` in a statement, which PostgreSQL does not know: each becomes `$1`, `$2`, …
//!
//! What is inside of strings, quoted names, comments and dollar quotes is left as it is, and so are the
//! casts of `::type`. A slice is to be written with spaces, `a[1 : n]`.

/// A statement as the server reads it, and what its parameters are called, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// With `$1` in place of the first name.
    pub(super) sql: String,
    /// Without their colons; each once.
    pub(super) names: Vec<String>,
}

impl Named {
    /// Reads a statement.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (mut sql, mut names) = (String::with_capacity(text.len()), Vec::<String>::new());
        let mut rest = text;
        // What comes right before decides whether a quote, a dollar or a colon begins something.
        let mut before = None;
        while let Some(next) = rest.chars().next() {
            let escapes = matches!(before, Some('e' | 'E')) && !ends_in_longer_word(&sql);
            let taken = match next {
                '\'' => quoted(rest, '\'', escapes)?,
                '"' => quoted(rest, '"', false)?,
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => comment(rest)?,
                '$' if !before.is_some_and(is_word) => match dollar_quoted(rest)? {
                    Some(taken) => taken,
                    None if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                        let number = &rest[..=word(&rest[1..])];
                        return Err(format!("write `:name` instead of `{number}`"));
                    }
                    None => 1,
                },
                ':' if rest.starts_with("::") => 2,
                ':' if rest[1..].starts_with(|c: char| c == '_' || c.is_alphabetic()) => {
                    let name = &rest[1..=word(&rest[1..])];
                    let place = names.iter().position(|it| it == name).unwrap_or_else(|| {
                        names.push(name.to_owned());
                        names.len() - 1
                    });
                    sql.push_str(&format!("${}", place + 1));
                    rest = &rest[1 + name.len()..];
                    before = Some('1');
                    continue;
                }
                other => other.len_utf8(),
            };
            let (token, after) = rest.split_at(taken);
            sql.push_str(token);
            before = token.chars().next_back();
            rest = after;
        }
        Ok(Self { sql, names })
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of the word that a text begins with.
fn word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// Whether the last letter is not alone: `E'…'` has escapes, `name'…'` does not.
fn ends_in_longer_word(sql: &str) -> bool {
    sql.chars().rev().nth(1).is_some_and(is_word)
}

/// The length of a quoted text. A quote in it is doubled; or, with escapes, behind a backslash.
fn quoted(text: &str, quote: char, escapes: bool) -> Result<usize, String> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if escapes && c == '\\' {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + 1);
        }
    }
    Err(format!("there is no end to what begins at `{}`", beginning(text)))
}

/// The length of a comment, which may have others in it.
fn comment(text: &str) -> Result<usize, String> {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text[at..] {
            rest if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            rest if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            rest => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(format!("there is no end to what begins at `{}`", beginning(text)))
}

/// The length of `$tag$ … $tag$`, if that is what a text begins with.
fn dollar_quoted(text: &str) -> Result<Option<usize>, String> {
    let tag = &text[1..=word(&text[1..])];
    if tag.starts_with(|c: char| c.is_ascii_digit()) || !text[1 + tag.len()..].starts_with('$') {
        return Ok(None);
    }
    let fence = &text[..tag.len() + 2];
    match text[fence.len()..].find(fence) {
        Some(at) => Ok(Some(at + 2 * fence.len())),
        None => Err(format!("there is no end to what begins at `{}`", beginning(text))),
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Vec<String>) {
        let Named { sql, names } = Named::read(text).unwrap();
        (sql, names)
    }

    #[test]
    fn names_become_numbers_and_a_name_that_comes_again_keeps_its_own() {
        let (sql, names) = read("INSERT INTO t VALUES (:id, :größe::int, :id + 1)");
        assert_eq!(sql, "INSERT INTO t VALUES ($1, $2::int, $1 + 1)");
        assert_eq!(names, ["id", "größe"]);
    }

    #[test]
    fn what_is_quoted_or_a_comment_is_left_alone() {
        for text in [
            "SELECT ':a', 'it''s :a', \"x:a\", \"y\"\":a\"",
            "SELECT E'\\':a', e'\\\\' -- :a ' and more",
            "SELECT 1 /* :a /* :b */ :c */",
            "DO $$ x := :a $$; SELECT $tag$ :a $$ :b $tag$",
            "SELECT a[1 : 2], now()::timestamptz, '\\', 5:: text, a$1b",
            "SELECT '12:30'::time, x := 3",
        ] {
            assert_eq!(read(text), (text.to_owned(), vec![]), "{text}");
        }
        assert_eq!(read("SELECT '\\', :a, name'x'").0, "SELECT '\\', $1, name'x'");
        assert_eq!(read("SELECT ''||:a||''").0, "SELECT ''||$1||''");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, expected) in [
            ("SELECT 'abc", "no end to what begins at `'abc`"),
            ("SELECT \"abc", "no end"),
            ("SELECT /* /* */", "no end"),
            ("SELECT $a$ $b$", "no end"),
            ("SELECT E'\\'", "no end"),
            ("SELECT $1", "write `:name` instead of `$1`"),
        ] {
            let error = Named::read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
