//! `[retry]` and `[breaker]`: when a failed message is tried again, and when nothing is tried.
//!
//! The policies check themselves; here their complaints get a file and a line. What is left out keeps
//! the policy's own default, so that a default is written down only once.

use super::{document::Document, error::ConfigError, values::Span};
use forebay::policy::{Breaker, BreakerSettings, PolicyError, RetryPolicy, RetrySettings};
use serde::Deserialize;
use std::time::Duration;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetry {
    attempts: Option<u32>,
    base: Option<Span>,
    factor: Option<f64>,
    cap: Option<Span>,
    max_age: Option<Span>,
}

impl RawRetry {
    /// With so many attempts, if the file does not say.
    pub(super) fn or_attempts(self, attempts: u32) -> Self {
        Self { attempts: self.attempts.or(Some(attempts)), ..self }
    }

    pub(super) fn attempts(&self) -> Option<u32> {
        self.attempts
    }

    pub(super) fn check(self, document: &Document<'_>) -> Result<RetryPolicy, ConfigError> {
        let usual = RetrySettings::default();
        let settings = RetrySettings {
            max_attempts: self.attempts.unwrap_or(usual.max_attempts),
            base: self.base.map_or(usual.base, |Span(base)| base),
            factor: self.factor.unwrap_or(usual.factor),
            cap: self.cap.map_or(usual.cap, |Span(cap)| cap),
            max_age: self.max_age.map(|Span(max_age)| max_age).or(usual.max_age),
            jitter: usual.jitter,
        };
        RetryPolicy::new(settings).map_err(|error| refused(document, "retry", &error))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBreaker {
    enabled: Option<bool>,
    window: Option<Span>,
    min_throughput: Option<u32>,
    failure_ratio: Option<f64>,
    consecutive_failures: Option<u32>,
    open_for: Option<Span>,
    longest_open: Option<Span>,
    probes: Option<u32>,
}

impl RawBreaker {
    /// `handler_timeout` bounds how long a probe can be silent.
    pub(super) fn check(
        self,
        handler_timeout: Duration,
        document: &Document<'_>,
    ) -> Result<Option<BreakerSettings>, ConfigError> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        let usual = BreakerSettings::default();
        let span = |given: Option<Span>, usual: Duration| given.map_or(usual, |Span(given)| given);
        let settings = BreakerSettings {
            window: span(self.window, usual.window),
            min_throughput: self.min_throughput.unwrap_or(usual.min_throughput),
            failure_ratio: self.failure_ratio.unwrap_or(usual.failure_ratio),
            consecutive_failures: self.consecutive_failures.or(usual.consecutive_failures),
            open_for: span(self.open_for, usual.open_for),
            longest_open: span(self.longest_open, usual.longest_open),
            probes: self.probes.unwrap_or(usual.probes),
            probe_timeout: usual.probe_timeout.max(handler_timeout.saturating_mul(2)),
            ..usual
        };
        Breaker::new(settings).map_err(|error| refused(document, "breaker", &error))?;
        Ok(Some(settings))
    }
}

/// A policy's complaint, at its place in the file.
fn refused(document: &Document<'_>, table: &str, error: &PolicyError) -> ConfigError {
    let name = match error.setting {
        "max_attempts" => "attempts",
        name => name,
    };
    document
        .error(&format!("{table}.{name}"), format!("it is {}", error.value))
        .help(format!("it must be {}", error.allowed))
}
