//! A setting that makes no sense, named with its value and what it may be.

use std::fmt;

/// A policy cannot be built from this setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The setting's name.
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

impl PolicyError {
    pub(crate) fn new(
        setting: &'static str,
        value: impl fmt::Debug,
        allowed: &'static str,
    ) -> Self {
        Self { setting, value: format!("{value:?}"), allowed }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}: it must be {}", self.setting, self.value, self.allowed)
    }
}

impl std::error::Error for PolicyError {}
