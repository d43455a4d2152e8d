//! What is wrong with a config: file, line, key, problem, and the way out, always in that order.
//!
//! One type for every stage (syntax, unknown keys, values, relations between them), because the
//! person who reads it does not care which stage found it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Why a config cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file as it was named on the command line.
    pub(crate) file: PathBuf,
    /// The line, counting from 1; `None` where the problem is that something is not there.
    pub(crate) line: Option<usize>,
    /// The key with its tables (`worker.timeout`); empty for the file as a whole.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl ConfigError {
    /// About a file as a whole.
    pub(crate) fn whole(file: &Path, problem: impl Into<String>) -> Self {
        let (file, problem) = (file.to_owned(), problem.into());
        Self { file, line: None, key: String::new(), problem, help: None }
    }

    /// With the way out.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The names as a list for people: `a`, `b`, `c`.
pub(crate) fn quoted_list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The name most like `wrong`, if any is so much like it that it was probably meant.
pub(crate) fn nearest<'a, S: AsRef<str>>(wrong: &str, names: &'a [S]) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(wrong, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["concurrency", "timeout", "rate"];
        assert_eq!(nearest("concurency", &names), Some("concurrency"));
        assert_eq!(nearest("time_out", &names), Some("timeout"));
        assert_eq!(nearest("xyz", &names), None);
    }
}
