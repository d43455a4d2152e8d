//! `[handler.command]`: which program is run.

use crate::config::{
    codes::{Codes, Lists, Meaning},
    document::Document,
    error::ConfigError,
    values::Secret,
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCommand {
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

impl RawCommand {
    pub(super) fn check(self, document: &Document<'_>) -> Result<CommandConfig, ConfigError> {
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
            let value = value.reveal(&key, document)?;
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
