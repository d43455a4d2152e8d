//! What a value of a statement, or of a row, is taken from: a place in the payload, or the message
//! itself. The same for each database.

use crate::{
    config::{
        document::Document,
        error::{ConfigError, nearest, quoted_list},
    },
    json_path::JsonPath,
};
use std::{collections::BTreeMap, fmt};

/// What a value is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// A place in the payload; NULL where it is not there.
    Json(JsonPath),
    /// `@id`: the message's identity, as text.
    Id,
    /// `@key`: its key, or NULL.
    Key,
    /// `@payload`: all of the payload, as it is.
    Payload,
    /// `@attempt`: which attempt this is, from 1.
    Attempt,
    /// `@enqueued_at`: when it was enqueued, or NULL.
    EnqueuedAt,
}

/// As it is written.
impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) => path.fmt(f),
            special => {
                SPECIALS.iter().filter(|it| it.1 == *special).try_for_each(|it| f.write_str(it.0))
            }
        }
    }
}

const SPECIALS: [(&str, Param); 5] = [
    ("@id", Param::Id),
    ("@key", Param::Key),
    ("@payload", Param::Payload),
    ("@attempt", Param::Attempt),
    ("@enqueued_at", Param::EnqueuedAt),
];

/// Reads a table of them, found under `key`.
pub(super) fn params(
    written: BTreeMap<String, String>,
    key: &str,
    document: &Document<'_>,
) -> Result<BTreeMap<String, Param>, ConfigError> {
    let read = |(name, text): (String, String)| match param(&text) {
        Ok(param) => Ok((name, param)),
        Err((problem, help)) => Err(document.error(&format!("{key}.{name}"), problem).help(help)),
    };
    written.into_iter().map(read).collect()
}

fn param(text: &str) -> Result<Param, (String, String)> {
    if !text.starts_with('@') {
        return text.parse().map(Param::Json).map_err(|problem| {
            let names = quoted_list(&SPECIALS.map(|(name, _)| name));
            (problem, format!("or one of the message itself: {names}"))
        });
    }
    let names = SPECIALS.map(|(name, _)| name);
    SPECIALS.into_iter().find(|(name, _)| *name == text).map(|(_, param)| param).ok_or_else(|| {
        let meant = nearest(text, &names).map(|name| format!("did you mean `{name}`? "));
        let list = quoted_list(&names);
        (
            format!("a message has no `{text}`"),
            format!("{}there are {list}", meant.unwrap_or_default()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was() {
        for text in ["$", "$.a.b[0]", "@id", "@key", "@payload", "@attempt", "@enqueued_at"] {
            assert_eq!(param(text).unwrap().to_string(), text);
        }
    }
}
