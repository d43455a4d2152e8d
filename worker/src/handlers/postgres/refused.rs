//! What the database has against a config, at the line of the key that has to change.

use crate::{config::Lines, error::CliError};
use forebay_postgres::{Kind, SetupError};

/// An error for people. `key` is what a refused statement of the setup was for.
pub(super) fn refused(lines: &Lines, key: &str, error: SetupError) -> CliError {
    let at = |key: &str, problem: String| lines.error(&format!("handler.postgres.{key}"), problem);
    match error {
        SetupError::Invalid { setting, value, allowed } => {
            // A column is named by its own line.
            let key = match (setting, value.strip_prefix('`').and_then(|it| it.strip_suffix('`'))) {
                ("columns", Some(column)) => format!("columns.{column}"),
                _ => setting.to_owned(),
            };
            at(&key, format!("it is {value}")).help(allowed).into()
        }
        SetupError::Server(error)
            if matches!(error.kind(), Kind::Permanent | Kind::Misconfigured) =>
        {
            at(key, error.to_string()).into()
        }
        SetupError::NoSchema { schema, quoted } => {
            at("schema", format!("there is no schema `{schema}` for Forebay's tables"))
                .help(format!("run `CREATE SCHEMA {quoted}`, or name another"))
                .into()
        }
        SetupError::NoIdentity { broker } => {
            let problem = format!(
                "{broker}, as it is set up, gives a message that comes again another identity, so an \
                 inbox would recognise nothing"
            );
            let help = "give messages an identity (RabbitMQ: identity = \"required\" in its table), or \
                        switch the inbox off: inbox = false";
            at("inbox", problem).help(help).into()
        }
        SetupError::ShortRetention { retention, horizon, retries, redrive } => {
            let shown = crate::output::age;
            let problem = format!(
                "messages are remembered for {}, and one can come again {} after it was done (retries \
                 {}, redrive {})",
                shown(retention),
                shown(horizon),
                shown(retries),
                shown(redrive)
            );
            at("inbox.retention", problem)
                .help("raise it, or lower `inbox.redrive`, `retry.max_age`, `retry.attempts`")
                .into()
        }
        error @ SetupError::NewerSchema { .. } => {
            CliError::Usage(format!("handler.postgres: {error}"))
        }
        // The server is away, or busy: the config may be sound.
        error => CliError::failed("handler.postgres", error),
    }
}
