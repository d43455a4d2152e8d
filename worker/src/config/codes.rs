//! What a number means for the message: HTTP statuses and exit codes, remapped by the config.

use super::{document::Document, error::ConfigError};
use std::collections::BTreeMap;

/// What an answer means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Done.
    Ack,
    /// Failed; may pass.
    Transient,
    /// Asked for less.
    Throttled,
    /// Can never succeed.
    Permanent,
    /// Not worth handling.
    Discard,
}

/// The numbers whose meaning the config changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codes(BTreeMap<u16, Meaning>);

/// The lists as they are written, by key.
pub(super) type Lists = [(&'static str, Meaning, Vec<u16>); 5];

impl Codes {
    /// From the lists under `table`, each number in one of them at most.
    pub(super) fn check(
        lists: Lists,
        table: &str,
        allowed: std::ops::RangeInclusive<u16>,
        document: &Document<'_>,
    ) -> Result<Self, ConfigError> {
        let mut meanings = BTreeMap::new();
        for (name, meaning, numbers) in lists {
            for number in numbers {
                let key = format!("{table}.{name}");
                if !allowed.contains(&number) {
                    let (low, high) = (allowed.start(), allowed.end());
                    return Err(document
                        .error(&key, format!("{number} cannot occur"))
                        .help(format!("from {low} to {high}")));
                }
                if meanings.insert(number, meaning).is_some_and(|other| other != meaning) {
                    return Err(document
                        .error(&key, format!("{number} is in another list as well"))
                        .help("a number can mean one thing only"));
                }
            }
        }
        Ok(Self(meanings))
    }

    /// What the config says about a number, if it does.
    pub(crate) fn meaning(&self, number: u16) -> Option<Meaning> {
        self.0.get(&number).copied()
    }

    /// The numbers and their meanings, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(number, meaning)| format!("{number} {}", format!("{meaning:?}").to_lowercase()))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
