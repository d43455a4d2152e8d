//! Why a case did not pass: it failed, or it does not apply here.
//!
//! Not an [`std::error::Error`], so that any error becomes a failure by `?`.

use std::{error::Error, fmt};

/// How a case ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The broker, or the harness, cannot do what the case needs; why.
    Skipped(String),
    /// The contract is broken; what was seen, and what was expected.
    Failed(String),
}

/// What a case returns.
pub type CaseResult = Result<(), Stop>;

impl Stop {
    /// The case does not apply, for this reason.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }

    /// The contract is broken.
    pub fn fail(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(what) => write!(f, "failed: {what}"),
        }
    }
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self::Failed(text)
    }
}

/// Fails the case unless the condition holds.
macro_rules! check {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::Stop::fail(format!($($what)+)));
        }
    };
}

/// Fails the case unless the two are equal, showing both.
macro_rules! check_eq {
    ($seen:expr, $expected:expr, $($what:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => $crate::stop::check!(
                seen == expected,
                "{}: saw {seen:?}, expected {expected:?}", format_args!($($what)+)
            ),
        }
    };
}

/// Skips the case unless the condition holds.
macro_rules! needs {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::Stop::skip(format!($($why)+)));
        }
    };
}

pub(crate) use {check, check_eq, needs};
