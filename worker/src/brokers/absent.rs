//! Stands in for a broker whose feature is off: its table is understood, and refused by name.

/// A module of this name, with a table that says which feature is missing.
macro_rules! absent {
    ($name:ident) => {
        mod $name {
            use super::{QueueConfig, RawTable, Table};
            use crate::config::ConfigError;
            use serde::{Deserialize, Deserializer, de::IgnoredAny};

            pub(crate) struct Raw;

            impl<'de> Deserialize<'de> for Raw {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    IgnoredAny::deserialize(deserializer).map(|_| Self)
                }
            }

            impl RawTable for Raw {
                fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError> {
                    let name = stringify!($name);
                    Err(table
                        .whole(format!("this forebay was built without the {name} adapter"))
                        .help(format!(
                            "build it with its feature: `cargo build -p forebay-worker --features \
                             {name}`; `forebay adapters` lists what is built in"
                        )))
                }
            }
        }
    };
}

pub(super) use absent;
