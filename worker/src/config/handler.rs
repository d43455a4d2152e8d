//! `[handler.*]`: what is done with each message. Exactly one table.

use super::{
    codes::{Codes, Lists, Meaning},
    document::Document,
    error::{ConfigError, nearest, quoted_list},
    values::{Secret, Span},
};
use crate::json_path::JsonPath;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

/// What is done with each message, validated.
#[derive(Clone, Debug)]
pub(crate) enum HandlerConfig {
    /// Posted to a URL.
    Http(HttpConfig),
    /// Given to a process of its own.
    Command(CommandConfig),
    /// Written into a database by a statement.
    Sqlite(SqliteConfig),
    /// Printed.
    Stdout(StdoutConfig),
}

/// `[handler.http]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    /// Where to.
    pub(crate) url: reqwest::Url,
    /// The URL as it may be shown: without what came from the environment, and without a password.
    pub(crate) shown_url: String,
    /// Headers of every request. The values are secret.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// Statuses that mean something else than usual.
    pub(crate) codes: Codes,
}

/// `[handler.command]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct CommandConfig {
    /// The program: a name to be looked up in `PATH`, or a path.
    pub(crate) program: PathBuf,
    /// Its arguments, as they are.
    pub(crate) args: Vec<String>,
    /// Environment variables that it gets on top of ours. The values are secret.
    pub(crate) env: BTreeMap<String, String>,
    /// Exit codes that mean something else than usual.
    pub(crate) codes: Codes,
}

/// `[handler.sqlite]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct SqliteConfig {
    /// The database; it must exist.
    pub(crate) path: PathBuf,
    /// One statement with `:name` parameters.
    pub(crate) statement: String,
    /// What each parameter is bound to.
    pub(crate) params: BTreeMap<String, Param>,
}

/// What a parameter of a statement is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// A place in the payload; NULL where it is not there.
    Json(JsonPath),
    /// `@id`: the message's identity, as text.
    Id,
    /// `@key`: its key, or NULL.
    Key,
    /// `@payload`: all of the payload, as text, or as a blob where it is not UTF-8.
    Payload,
    /// `@attempt`: which attempt this is, from 1.
    Attempt,
    /// `@enqueued_at`: when it was enqueued, in milliseconds since 1970, or NULL.
    EnqueuedAt,
}

/// `[handler.stdout]`, validated.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StdoutConfig {
    /// What is printed of a message.
    pub(crate) format: StdoutFormat,
}

/// What is printed of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StdoutFormat {
    /// The payload.
    #[default]
    Payload,
    /// A JSON object with id, key, attempt, headers and payload.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHandler {
    http: Option<RawHttp>,
    command: Option<RawCommand>,
    sqlite: Option<RawSqlite>,
    stdout: Option<StdoutConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default = "ten_seconds")]
    timeout: Span,
    #[serde(default)]
    ack: Vec<u16>,
    #[serde(default)]
    transient: Vec<u16>,
    #[serde(default)]
    throttled: Vec<u16>,
    #[serde(default)]
    permanent: Vec<u16>,
    #[serde(default)]
    discard: Vec<u16>,
}

const fn ten_seconds() -> Span {
    Span::millis(10_000)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    program: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    #[serde(default)]
    transient: Vec<u16>,
    #[serde(default)]
    throttled: Vec<u16>,
    #[serde(default)]
    permanent: Vec<u16>,
    #[serde(default)]
    discard: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSqlite {
    path: PathBuf,
    statement: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
}

const TABLES: [&str; 4] = ["handler.http", "handler.command", "handler.sqlite", "handler.stdout"];

impl RawHandler {
    pub(super) fn check(self, document: &Document<'_>) -> Result<HandlerConfig, ConfigError> {
        match (self.http, self.command, self.sqlite, self.stdout) {
            (Some(raw), None, None, None) => raw.check(document).map(HandlerConfig::Http),
            (None, Some(raw), None, None) => raw.check(document).map(HandlerConfig::Command),
            (None, None, Some(raw), None) => raw.check(document).map(HandlerConfig::Sqlite),
            (None, None, None, Some(config)) => Ok(HandlerConfig::Stdout(config)),
            (None, None, None, None) => Err(document
                .error("handler", "it names no handler")
                .help(format!("add a table: there are {}", quoted_list(&TABLES)))),
            _ => Err(document
                .error("handler", "it names more than one handler")
                .help("keep one of the tables: a worker does one thing with its messages")),
        }
    }
}

impl RawHttp {
    fn check(self, document: &Document<'_>) -> Result<HttpConfig, ConfigError> {
        let wrong_url = |problem: String| {
            document
                .error("handler.http.url", problem)
                .help("write it whole, such as \"https://example.org/orders\"")
        };
        let url = reqwest::Url::parse(&self.url).map_err(|error| wrong_url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong_url(format!("`{}` is not http or https", url.scheme())));
        }
        let shown_url = document.template("handler.http.url").map_or_else(
            || {
                let mut shown = url.clone();
                if shown.password().is_some() {
                    // Fails only for URLs without a host, which were refused above.
                    let _ = shown.set_password(Some("***"));
                }
                shown.to_string()
            },
            str::to_owned,
        );
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in &self.headers {
            let key = format!("handler.http.headers.{name}");
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| document.error(&key, "not a name that a header can have"))?;
            let value = reveal(value, &key, document)?;
            let mut value = reqwest::header::HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| document.error(&key, "its value has a line break or control byte"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        if self.timeout.0.is_zero() {
            return Err(document.error("handler.http.timeout", "it is 0").help("at least \"1ms\""));
        }
        let lists: Lists = [
            ("ack", Meaning::Ack, self.ack),
            ("transient", Meaning::Transient, self.transient),
            ("throttled", Meaning::Throttled, self.throttled),
            ("permanent", Meaning::Permanent, self.permanent),
            ("discard", Meaning::Discard, self.discard),
        ];
        let codes = Codes::check(lists, "handler.http", 100..=599, document)?;
        Ok(HttpConfig { url, shown_url, headers, timeout: self.timeout.0, codes })
    }
}

impl RawCommand {
    fn check(self, document: &Document<'_>) -> Result<CommandConfig, ConfigError> {
        if self.program.as_os_str().is_empty() {
            return Err(document
                .error("handler.command.program", "it is empty")
                .help("name a program, and put its arguments into `args`: no shell is involved"));
        }
        let is_bare_name = self.program.components().count() == 1
            && self.program.file_name() == Some(self.program.as_os_str());
        let program = if is_bare_name { self.program } else { document.resolve(&self.program) };
        let mut env = BTreeMap::new();
        for (name, value) in self.env {
            let key = format!("handler.command.env.{name}");
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(document.error(&key, "not a name that a variable can have"));
            }
            let value = reveal(&value, &key, document)?;
            env.insert(name, value);
        }
        let lists: Lists = [
            ("ack", Meaning::Ack, Vec::new()),
            ("transient", Meaning::Transient, self.transient),
            ("throttled", Meaning::Throttled, self.throttled),
            ("permanent", Meaning::Permanent, self.permanent),
            ("discard", Meaning::Discard, self.discard),
        ];
        let codes = Codes::check(lists, "handler.command", 1..=255, document)?;
        Ok(CommandConfig { program, args: self.args, env, codes })
    }
}

impl RawSqlite {
    fn check(self, document: &Document<'_>) -> Result<SqliteConfig, ConfigError> {
        let params = self
            .params
            .into_iter()
            .map(|(name, text)| match param(&text) {
                Ok(param) => Ok((name, param)),
                Err((problem, help)) => Err(document
                    .error(&format!("handler.sqlite.params.{name}"), problem)
                    .help(help)),
            })
            .collect::<Result<_, _>>()?;
        Ok(SqliteConfig { path: document.resolve(&self.path), statement: self.statement, params })
    }
}

const SPECIALS: [(&str, Param); 5] = [
    ("@id", Param::Id),
    ("@key", Param::Key),
    ("@payload", Param::Payload),
    ("@attempt", Param::Attempt),
    ("@enqueued_at", Param::EnqueuedAt),
];

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

/// The value of a secret, read now: a file that is missing is an error at start, not at midnight.
fn reveal(secret: &Secret, key: &str, document: &Document<'_>) -> Result<String, ConfigError> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(file) => {
            let file = document.resolve(file);
            let text = fs::read_to_string(&file).map_err(|error| {
                document.error(key, format!("{} cannot be read: {error}", file.display()))
            })?;
            Ok(text.strip_suffix('\n').map_or(&*text, |t| t.trim_end_matches('\r')).to_owned())
        }
    }
}
