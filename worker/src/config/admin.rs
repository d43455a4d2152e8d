//! `[admin]`: the port at which a worker is looked at. There is none unless the table is there: a
//! program that opens a port unasked surprises its operator, and a second worker on one machine would
//! find it taken.

use super::{
    document::Document,
    error::ConfigError,
    values::{Secret, Span},
};
use serde::Deserialize;
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use subtle::ConstantTimeEq;

/// The usual port of Prometheus exporters of OpenTelemetry.
const PORT: u16 = 9464;
/// A token that others can try must not be guessed.
const TOKEN_LEAST: usize = 16;
/// The broker is asked no more often than this.
const POLL_LEAST: Duration = Duration::from_millis(100);

/// `[admin]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct AdminConfig {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// What who asks must know; always there where others can ask.
    pub(crate) token: Option<Token>,
    /// How often the broker is asked for the backlog.
    pub(crate) poll: Duration,
}

/// A bearer token. Never shown.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Whether this is it. Takes as long for a near miss as for any other text of its length.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The header that presents it.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Reads the token under `key`.
    ///
    /// # Errors
    /// When its file cannot be read, when it is too short, or cannot stand in a header.
    pub(super) fn check(
        key: &str,
        secret: &Secret,
        document: &Document<'_>,
    ) -> Result<Self, ConfigError> {
        let text = secret.reveal(key, document)?;
        let wrong = |problem: String| {
            let help =
                "make one by `openssl rand -hex 24`, and keep it in a file: { file = \"…\" }";
            Err(document.error(key, problem).help(help))
        };
        if text.len() < TOKEN_LEAST {
            return wrong(format!("it is shorter than {TOKEN_LEAST} characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("it has characters other than visible ASCII".to_owned());
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    listen: Option<String>,
    token: Option<Secret>,
    poll: Span,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { listen: None, token: None, poll: Span::millis(1000) }
    }
}

impl RawAdmin {
    pub(super) fn check(self, document: &Document<'_>) -> Result<AdminConfig, ConfigError> {
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let listen = match &self.listen {
            None => usual,
            Some(text) => text.parse().map_err(|_| {
                document
                    .error("admin.listen", format!("`{text}` is no address and port"))
                    .help(format!("\"{usual}\", or \"0.0.0.0:{PORT}\" for others to reach it"))
            })?,
        };
        let token = match &self.token {
            Some(secret) => Some(Token::check("admin.token", secret, document)?),
            None if listen.ip().is_loopback() => None,
            None => {
                return Err(document
                    .error(
                        "admin.listen",
                        format!("others can reach {listen}, and no token is set"),
                    )
                    .help(
                        "add `token = { file = \"/run/secrets/admin\" }`, or listen on 127.0.0.1",
                    ));
            }
        };
        let Span(poll) = self.poll;
        if poll < POLL_LEAST {
            return Err(document
                .error("admin.poll", "the broker would be asked without a pause")
                .help("\"1s\" is the default"));
        }
        Ok(AdminConfig { listen, token, poll })
    }
}
