//! `forebay init`: a commented config to begin with.

use crate::{config::TEMPLATE, error::CliError, output};
use clap::Args;
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::PathBuf,
};

const EXAMPLES: &str = "\
Examples:
  forebay init
  forebay init orders.toml
  forebay init -                  to standard output";

/// Writes a commented config that works as it is.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE", default_value = "forebay.toml")]
    file: PathBuf,

    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn execute(self) -> Result<(), CliError> {
        if self.file.as_os_str() == "-" {
            return output::line(TEMPLATE.trim_end());
        }
        let shown = self.file.display();
        let opened =
            if self.force { File::create(&self.file) } else { File::create_new(&self.file) };
        let mut file = opened.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => CliError::Usage(format!(
                "{shown} is there already: name another file, or replace it by --force"
            )),
            _ => CliError::failed(format!("cannot write {shown}"), error),
        })?;
        file.write_all(TEMPLATE.as_bytes())
            .map_err(|error| CliError::failed(format!("cannot write {shown}"), error))?;
        output::line(format!("wrote {shown}; next: forebay check {shown}"))
    }
}
