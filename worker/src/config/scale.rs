//! `[scale]`: how many workers there should be, and where those are that there are.

use super::{
    admin::Token,
    document::Document,
    error::ConfigError,
    values::{Secret, Span},
};
use forebay::policy::{Scale, ScaleSettings};
use serde::Deserialize;

/// `[scale]`, validated.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScaleConfig {
    /// What is aimed at.
    pub(crate) aim: ScaleSettings,
    /// Where workers answer: `http://host:port`. A host may have many addresses.
    pub(crate) workers: Vec<WorkersAt>,
    /// What the workers want to see; `None`: the token of `[admin]`, if there is one.
    pub(crate) token: Option<Token>,
}

/// Where workers answer: one at each address that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkersAt {
    /// A name or an address.
    pub(crate) host: String,
    /// Their admin port.
    pub(crate) port: u16,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawScale {
    min: Option<u32>,
    max: Option<u32>,
    target_drain: Option<Span>,
    target_age: Option<Span>,
    utilisation: Option<f64>,
    start_up: Option<Span>,
    hold: Option<Span>,
    idle: Option<Span>,
    workers: Vec<String>,
    token: Option<Secret>,
}

impl RawScale {
    pub(super) fn check(self, document: &Document<'_>) -> Result<ScaleConfig, ConfigError> {
        let usual = ScaleSettings::default();
        let time = |span: Option<Span>, usual| span.map_or(usual, |Span(time)| time);
        let aim = ScaleSettings {
            min: self.min.unwrap_or(usual.min),
            max: self.max.unwrap_or(usual.max),
            target_drain: time(self.target_drain, usual.target_drain),
            target_age: self.target_age.map(|Span(time)| time),
            utilisation: self.utilisation.unwrap_or(usual.utilisation),
            start_up: time(self.start_up, usual.start_up),
            hold: time(self.hold, usual.hold),
            idle: time(self.idle, usual.idle),
        };
        if let Err(error) = Scale::new(aim) {
            let key = format!("scale.{}", error.setting);
            let problem = format!("it is {}", error.value);
            return Err(document.error(&key, problem).help(error.allowed));
        }
        let token = self.token.as_ref();
        Ok(ScaleConfig {
            aim,
            workers: self.workers.iter().map(|url| at(url, document)).collect::<Result<_, _>>()?,
            token: token.map(|it| Token::check("scale.token", it, document)).transpose()?,
        })
    }
}

/// Reads `http://host:port`.
fn at(url: &str, document: &Document<'_>) -> Result<WorkersAt, ConfigError> {
    let read = || {
        let rest = url.strip_prefix("http://")?;
        let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let sound = !host.is_empty() && host.chars().all(is_host);
        Some(WorkersAt { host: host.to_owned(), port: port.parse().ok()? }).filter(|_| sound)
    };
    read().ok_or_else(|| {
        document.error("scale.workers", format!("`{url}` is not where a worker answers")).help(
            "write \"http://host:9464\": a worker's admin port, without a path. All addresses of the \
             host are asked, such as those of a headless service",
        )
    })
}
