//! `[log]`: what is logged, and how. Logs go to standard error.

use super::{document::Document, error::ConfigError};
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// `[log]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    /// How a line looks.
    pub(crate) format: LogFormat,
    /// What is logged: a level, or directives such as `info,forebay=debug`.
    pub(crate) level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        let RawLog { format, level } = RawLog::default();
        Self { format, level }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    format: LogFormat,
    level: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl RawLog {
    pub(super) fn check(self, document: &Document<'_>) -> Result<LogConfig, ConfigError> {
        let wrong = |why: String| {
            document
                .error("log.level", format!("`{}` is no level{why}", self.level))
                .help("error, warn, info, debug or trace; or per module: \"info,forebay=debug\"")
        };
        // A lone word that is no level would be taken for the name of a module.
        let is_word = self.level.chars().all(char::is_alphanumeric);
        if is_word && self.level.parse::<LevelFilter>().is_err() {
            return Err(wrong(String::new()));
        }
        EnvFilter::builder().parse(&self.level).map_err(|error| wrong(format!(": {error}")))?;
        Ok(LogConfig { format: self.format, level: self.level })
    }
}
