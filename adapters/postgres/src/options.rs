//! How to reach the database, and how much of it one process may use.

use crate::SetupError;
use std::{fmt, path::PathBuf, time::Duration};
use tokio_postgres::Config;

/// Settings of a [`PgPool`](crate::PgPool).
#[derive(Clone)]
pub struct PoolOptions {
    /// Where the server is: `postgres://user:password@host:port/database`, or `key=value` words.
    /// `sslmode` may be `disable`, `prefer` (the default) or `require`.
    pub url: String,
    /// Connections of this process, at most, and so handlers at once; default 16. With a
    /// [`Budget`](crate::Budget), how many it would take if nobody else wanted any.
    pub connections: u32,
    /// How long a handler waits for a connection before its message is postponed and the limits hear
    /// of backpressure; default 2 s.
    pub wait: Duration,
    /// How long connecting may take; default 5 s.
    pub connect_timeout: Duration,
    /// How long one statement may take (`statement_timeout`, set for each transaction); default
    /// 30 s. Zero: as long as it likes.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock (`lock_timeout`); default 10 s. Zero: for ever.
    pub lock_timeout: Duration,
    /// The schema that holds Forebay's own tables. `None` (the default): the first of the
    /// connection's `search_path`.
    pub schema: Option<String>,
    /// A file with the certificates (PEM) that sign the server's; `None` (the default): those that
    /// the system trusts. Only looked at when TLS is spoken.
    pub ca_file: Option<PathBuf>,
}

/// True within a transaction that began as [`PoolOptions::begin`] has it. What is sent together with
/// `BEGIN` asks for it: if that was called off, by a timeout of the role or by somebody who cancels, the
/// connection stays, and what comes next would be a transaction of its own, and committed.
pub(crate) const BEGUN: &str = "current_setting('forebay.begun', true) = 'yes'";

impl PoolOptions {
    /// The defaults, for the server at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 16,
            wait: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            schema: None,
            ca_file: None,
        }
    }

    /// With another number of connections.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// With another time to wait for a connection.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// With another limit for one statement.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// With another limit for waiting for a lock.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// With Forebay's own tables in this schema, which must be there.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// With certificates of its own to trust.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The driver's configuration, if all settings make sense.
    pub(crate) fn config(&self) -> Result<Config, SetupError> {
        let mut config: Config = self.url.parse().map_err(|error: tokio_postgres::Error| {
            let causes = crate::sqlstate::with_causes(&error);
            SetupError::invalid(
                "url",
                "not understood",
                format!("{causes}; it looks like postgres://user:password@host:5432/database"),
            )
        })?;
        // The driver takes what is behind the first `@` for the host, and would print it as such.
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        if authority.matches('@').count() > 1 {
            let way = "write `%40` for an `@` in the user's name or the password";
            return Err(SetupError::invalid("url", "not understood", way));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            let way = "name the server: postgres://user@host:5432/database";
            return Err(SetupError::invalid("url", "without a host", way));
        }
        if self.connections == 0 {
            return Err(SetupError::invalid("connections", "0", "it must be at least 1"));
        }
        for (setting, time) in [("wait", self.wait), ("connect_timeout", self.connect_timeout)] {
            if time.is_zero() {
                return Err(SetupError::invalid(setting, "0", "it must be above zero"));
            }
        }
        // PostgreSQL keeps both as milliseconds in 32 bits.
        let most = Duration::from_millis(i32::MAX as u64);
        for (setting, time) in
            [("statement_timeout", self.statement_timeout), ("lock_timeout", self.lock_timeout)]
        {
            if time > most {
                let allowed = format!("PostgreSQL takes {most:?} at most");
                return Err(SetupError::invalid(setting, format!("{time:?}"), allowed));
            }
        }
        config.connect_timeout(self.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("forebay");
        }
        Ok(config)
    }

    /// How a transaction begins. `SET LOCAL` ends with it, as it must behind PgBouncer: the next
    /// transaction may be somebody else's.
    pub(crate) fn begin(&self) -> String {
        format!(
            "BEGIN; SET LOCAL forebay.begun = 'yes'; \
             SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis()
        )
    }
}

/// Without the url, which may hold a password.
impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions")
            .field("connections", &self.connections)
            .field("wait", &self.wait)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let good = PoolOptions::new("postgres://me@db:5432/app");
        assert!(good.config().is_ok());
        let error = |change: fn(&mut PoolOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.config().unwrap_err().to_string()
        };
        assert!(error(|o| o.url = "nonsense".into()).contains("postgres://"));
        assert!(error(|o| o.url = "postgres:///app".into()).contains("host"));
        let at = error(|o| o.url = "postgres://me:secr@et@db/app".into());
        assert!(at.contains("%40") && !at.contains("et@db"), "{at}");
        assert!(error(|o| o.connections = 0).contains("`connections` is 0"));
        assert!(error(|o| o.wait = Duration::ZERO).contains("`wait`"));
        assert!(error(|o| o.lock_timeout = Duration::MAX).contains("`lock_timeout`"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let options = PoolOptions::new("postgres://me:secret@db/app");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn a_transaction_begins_with_its_own_limits() {
        let options = PoolOptions::new("").statement_timeout(Duration::from_millis(1500));
        let begin = options.begin();
        assert!(begin.starts_with("BEGIN; "), "{begin}");
        assert!(begin.contains("SET LOCAL statement_timeout = 1500"), "{begin}");
    }
}
