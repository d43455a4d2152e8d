//! `${NAME}` in the strings of a config.

use super::document::child;
use std::env;
use toml::de::{DeTable, DeValue};

/// What is wrong, and what to do about it.
pub(super) type Wrong = (String, String);

/// Visits every string value with its key; an element of an array goes by the array's key.
pub(super) fn for_each_string(
    table: &mut DeTable<'_>,
    parent: &str,
    visit: &mut dyn FnMut(&str, &mut String),
) {
    for (name, value) in table.iter_mut() {
        visit_strings(value.get_mut(), &child(parent, name.get_ref()), visit);
    }
}

fn visit_strings(value: &mut DeValue<'_>, key: &str, visit: &mut dyn FnMut(&str, &mut String)) {
    match value {
        DeValue::String(text) => visit(key, text.to_mut()),
        DeValue::Table(table) => for_each_string(table, key, visit),
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                visit_strings(element.get_mut(), key, visit);
            }
        }
        _ => {}
    }
}

/// Replaces `${NAME}` and `$$`; any other `$` stays, since JSON paths begin with one.
pub(super) fn expand_text(text: &str) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err((
                    "`${` without a `}`".to_owned(),
                    "write `$$` for a plain dollar sign".to_owned(),
                ));
            };
            out.push_str(&variable(name)?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(name: &str) -> Result<String, Wrong> {
    env::var(name).map_err(|error| match error {
        env::VarError::NotPresent => (
            format!("the environment variable `{name}` is not set"),
            format!("set it, or write `$${{{name}}}` if the text itself is meant"),
        ),
        env::VarError::NotUnicode(_) => (
            format!("the environment variable `{name}` is not UTF-8"),
            "read the value from a file instead: { file = \"…\" }".to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_dollars_escaped() {
        assert_eq!(expand_text("$.a.b $$ $${X} 5$"), Ok("$.a.b $ ${X} 5$".to_owned()));
        let path = env::var("PATH").unwrap();
        assert_eq!(expand_text("<${PATH}>"), Ok(format!("<{path}>")));
        assert!(expand_text("${PATH").unwrap_err().0.contains("without a `}`"));
        assert!(expand_text("${FOREBAY_NO_SUCH}").unwrap_err().0.contains("is not set"));
    }
}
