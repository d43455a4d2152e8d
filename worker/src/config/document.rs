//! A TOML file that remembers where everything was written.
//!
//! The text is parsed into a tree with positions; `${NAME}` is replaced in the tree, not in the text,
//! so that a secret's content can never become configuration; then serde reads the tree. Positions
//! outlive all of it: an error found late, between two valid values, still names its line.

use super::{
    error::{ConfigError, nearest, quoted_list},
    expand::{expand_text, for_each_string},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

/// Where a key is, in bytes of the text.
#[derive(Clone, Debug)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// On which line each key of a file is. Outlives the text, for errors that are found when a broker is
/// asked.
#[derive(Debug)]
pub(crate) struct Lines {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Lines {
    /// An error about a key. Where the key itself is not in the file, the line is that of the
    /// nearest table around it.
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let mut around = key;
        let line = loop {
            if let Some(line) = self.lines.get(around) {
                break Some(*line);
            }
            match around.rfind(['.', '[']) {
                Some(cut) => around = &around[..cut],
                None => break None,
            }
        };
        let (file, key, problem) = (self.file.clone(), key.to_owned(), problem.into());
        ConfigError { file, line, key, problem, help: None }
    }
}

/// A config file, parsed and not yet understood.
pub(crate) struct Document<'t> {
    file: &'t Path,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    places: BTreeMap<String, Place>,
    lines: Arc<Lines>,
    /// Values that held `${…}`, by key; several where it is an array.
    templates: BTreeMap<String, Vec<Template>>,
}

/// A value that held `${…}`.
struct Template {
    /// As it was written, which may be shown.
    written: String,
    /// What it became, which may be secret.
    expanded: String,
}

impl<'t> Document<'t> {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// When it is not TOML.
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|error| ConfigError {
            line: error.span().map(|span| line_at(text, span.start)),
            ..ConfigError::whole(file, format!("not valid TOML: {}", error.message()))
        })?;
        let mut places = BTreeMap::new();
        locate("", root.get_ref(), &mut places);
        let line = |place: &Place| line_at(text, place.key.start);
        let lines = places.iter().map(|(key, place)| (key.clone(), line(place))).collect();
        let lines = Arc::new(Lines { file: file.to_owned(), lines });
        Ok(Self { file, text, root, places, lines, templates: BTreeMap::new() })
    }

    /// Replaces `${NAME}` by the environment's value and `$$` by `$`, in every string under `within`
    /// (a key with its tables; empty: everywhere).
    ///
    /// # Errors
    /// When a variable is not set.
    pub(crate) fn expand(&mut self, within: &str) -> Result<(), ConfigError> {
        let mut root = std::mem::take(self.root.get_mut());
        let mut problem = None;
        for_each_string(&mut root, "", &mut |key, text| {
            if problem.is_some() || !is_within(key, within) || !text.contains('$') {
                return;
            }
            match expand_text(text) {
                Ok(expanded) => {
                    let written = std::mem::replace(text, expanded);
                    if written.contains("${") {
                        let template = Template { written, expanded: text.clone() };
                        self.templates.entry(key.to_owned()).or_default().push(template);
                    }
                }
                Err((what, help)) => problem = Some(self.error(key, what).help(help)),
            }
        });
        *self.root.get_mut() = root;
        problem.map_or(Ok(()), Err)
    }

    /// Reads the tree as a `T`.
    ///
    /// # Errors
    /// Unknown keys (naming the nearest right one), missing ones, wrong types and values.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(Deserializer::from(self.root.clone())).map_err(|error| self.explain(&error))
    }

    /// An error about a key; see [`Lines::error`].
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.lines.error(key, problem)
    }

    /// Whether there is a key of this name.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Where its keys are.
    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// How the value under a key was written, if it held `${…}`: what may be shown of it.
    pub(crate) fn template(&self, key: &str) -> Option<&str> {
        self.templates.get(key)?.last().map(|template| &*template.written)
    }

    /// A path in the config, which is relative to the config's own folder: a service and a person
    /// with a shell then mean the same file.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    /// Turns serde's error into one for people. Its text has a fixed form for unknown names, "unknown
    /// field `x`, expected one of `a`, `b`", which is the only way that serde hands them on.
    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let is_missing = error.message().starts_with("missing field");
        let key = error.span().map(|span| self.key_at(&span, is_missing)).unwrap_or_default();
        let message = &*self.masked(error.message(), &key);
        let line = error.span().map(|span| line_at(self.text, span.start));
        // What is missing from the file as a whole is on no line.
        let line = line.filter(|_| !key.is_empty());
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (problem, help) = match names.split_first() {
            Some((wrong, known)) if message.starts_with("unknown field") => {
                (format!("there is no key `{wrong}`"), Some(suggest(wrong, known)))
            }
            Some((wrong, known)) if message.starts_with("unknown variant") => {
                (format!("`{wrong}` is none of its values"), Some(suggest(wrong, known)))
            }
            Some((missing, _)) if is_missing => {
                let help = match *missing {
                    table @ ("source" | "sink") => {
                        format!("add `[{table}.embedded]`, or another broker's table")
                    }
                    "handler" => "add `[handler.http]`, or another table of it".to_owned(),
                    key => format!("add `{key} = …` to it"),
                };
                (format!("`{missing}` is missing"), Some(help))
            }
            _ => match message.split_once(", expected struct ") {
                // What follows is the name of a type.
                Some((found, _)) => {
                    let name = key.rsplit('.').next().unwrap_or_default();
                    let help = format!("write `[{key}]` with lines below, or `{name} = {{ … }}`");
                    (format!("{found}, expected a table"), Some(help))
                }
                None => (message.to_owned(), None),
            },
        };
        ConfigError { file: self.file.to_owned(), line, key, problem, help }
    }

    /// A text about what is under a key, with nothing in it that came from the environment: serde
    /// quotes the value that it does not like, and that may be a password in the wrong place.
    fn masked(&self, text: &str, key: &str) -> String {
        /// Shorter ones are left where nothing is around them: they are in half of all words.
        const LEAST: usize = 4;
        // What is expected comes from the program alone.
        let (found, expected) = text.find(", expected").map_or((text, ""), |at| text.split_at(at));
        let mut found = found.to_owned();
        let templates = self.templates.iter().filter(|(own, _)| own.starts_with(key));
        for Template { written, expanded } in templates.flat_map(|(_, templates)| templates) {
            found = found.replace(&format!("{expanded:?}"), &format!("{written:?}"));
            found = found.replace(&format!("`{expanded}`"), &format!("`{written}`"));
            if expanded.len() >= LEAST {
                found = found.replace(expanded, written);
            }
        }
        found + expected
    }

    /// Which key a position belongs to: the one whose name or value is there; the innermost. With
    /// `exactly`, the one whose value is all of it.
    fn key_at(&self, span: &Range<usize>, exactly: bool) -> String {
        let holds = |range: &Range<usize>| match exactly {
            true => range == span,
            false => range.start <= span.start && span.end <= range.end,
        };
        self.places
            .iter()
            .filter(|(_, place)| holds(&place.key) || holds(&place.value))
            .max_by_key(|(key, _)| key.len())
            .map(|(key, _)| key.clone())
            .unwrap_or_default()
    }
}

fn suggest(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known) {
        Some(name) => format!("did you mean `{name}`? there are {}", quoted_list(known)),
        None => format!("there are {}", quoted_list(known)),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn is_within(key: &str, within: &str) -> bool {
    within.is_empty()
        || key.strip_prefix(within).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(super) fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Notes where each key and its value are.
fn locate(parent: &str, table: &DeTable<'_>, places: &mut BTreeMap<String, Place>) {
    for (name, value) in table {
        let key = child(parent, name.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            locate(&key, inner, places);
        }
        places.insert(key, Place { key: name.span(), value: value.span() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read from the file")]
    struct Top {
        #[serde(default)]
        inner: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        name: String,
        count: u8,
    }

    fn parse(text: &str) -> Result<Top, String> {
        let mut document = Document::new(Path::new("x.toml"), text).map_err(|e| e.to_string())?;
        document.expand("").map_err(|e| e.to_string())?;
        document.parse().map_err(|e| e.to_string())
    }

    #[test]
    fn errors_name_file_line_key_and_the_way_out() {
        assert_eq!(
            parse("[inner]\nname = 'a'\ncuont = 3\n").unwrap_err(),
            "x.toml:3: inner.cuont: there is no key `cuont`\n  \
             help: did you mean `count`? there are `name`, `count`"
        );
        let error = parse("\n[inner]\ncount = 'three'\n").unwrap_err();
        assert!(error.starts_with("x.toml:3: inner.count: invalid type: string"), "{error}");
        assert_eq!(
            parse("inner = true").unwrap_err(),
            "x.toml:1: inner: invalid type: boolean `true`, expected a table\n  \
             help: write `[inner]` with lines below, or `inner = { … }`"
        );
        let error = parse("[inner]\ncount = \n").unwrap_err();
        assert!(error.starts_with("x.toml:2: not valid TOML"), "{error}");
        let error = parse("inner = { name = 'a', name = 'b' }").unwrap_err();
        assert!(error.starts_with("x.toml:1: not valid TOML"), "{error}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_place() {
        let error = parse("inner.name = 'a ${FOREBAY_NO_SUCH}'").unwrap_err();
        assert_eq!(
            error,
            "x.toml:1: inner.name: the environment variable `FOREBAY_NO_SUCH` is not set\n  \
             help: set it, or write `$${FOREBAY_NO_SUCH}` if the text itself is meant"
        );
        assert!(parse("inner.name = '${PATH'").unwrap_err().contains("without a `}`"));
    }

    #[test]
    fn what_came_from_the_environment_is_shown_as_it_was_written() {
        let text = "inner = { name = 'x ${PATH}', count = 1 }";
        let mut document = Document::new(Path::new("x.toml"), text).unwrap();
        document.expand("").unwrap();
        assert_eq!(document.template("inner.name"), Some("x ${PATH}"));
        assert_eq!(document.template("inner.count"), None);
    }

    #[test]
    fn what_came_from_the_environment_is_in_no_error() {
        let path = std::env::var("PATH").unwrap();
        for text in ["inner.count = 'a ${PATH}'", "inner = '${PATH}'", "inner = ['x', '${PATH}']"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("invalid type") && !error.contains(&path), "{error}");
        }
        let error = parse("inner.count = 'a ${PATH}'").unwrap_err();
        assert!(error.contains("string \"a ${PATH}\""), "{error}");
        let error = parse("inner.count = ['${HOME}', '${PATH}']").unwrap_err();
        assert!(!error.contains(&path), "{error}");
        let error = parse("inner = '${HOME}'").unwrap_err();
        assert!(error.contains("string \"${HOME}\""), "{error}");
    }

    #[test]
    fn only_the_part_asked_for_is_expanded() {
        let text = "[a]\nx = '${FOREBAY_NO_SUCH}'\n[ab]\nx = '${FOREBAY_NO_SUCH}'\n[b]\nx = '$$'";
        let mut document = Document::new(Path::new("x.toml"), text).unwrap();
        document.expand("b").unwrap();
        assert!(document.expand("a").is_err());
    }
}
