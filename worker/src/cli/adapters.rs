//! `forebay adapters`: what each broker can do, and which are built in.

use crate::{
    brokers::{BROKERS, is_built_in},
    config::{nearest, quoted_list},
    error::CliError,
    matrix::{self, FEATURES},
    output,
};
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  forebay adapters
  forebay adapters kafka
  forebay adapters --json | jq '.adapters[] | select(.built_in) | .name'

native: the broker does it. emulated: the adapter does it, on top of what the broker does.
refused: it is not to be had; a setting that asks for it is an error at start. n.a.: not needed.";

/// Shows what each broker does natively, what is emulated, and what is refused.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Adapters {
    /// Only this one, with a word on each feature
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// As one JSON object
    #[arg(long, conflicts_with = "markdown")]
    json: bool,

    /// As the page docs/brokers-matrix.md
    #[arg(long, hide = true, conflicts_with = "name")]
    markdown: bool,
}

impl Adapters {
    pub(super) fn execute(self) -> Result<(), CliError> {
        let only = self.name.as_deref().map(find).transpose()?;
        if self.markdown {
            return output::line(matrix::page().trim_end());
        }
        if self.json {
            let wanted = |index: &usize| only.is_none_or(|only| only == *index);
            let adapters: Vec<_> = (0..BROKERS.len()).filter(wanted).map(as_json).collect();
            return output::line(json!({ "adapters": adapters }).to_string());
        }
        match only {
            None => all(),
            Some(index) => one(index),
        }
    }
}

fn find(name: &str) -> Result<usize, CliError> {
    BROKERS.iter().position(|broker| *broker == name).ok_or_else(|| {
        let meant = nearest(name, &BROKERS).map(|near| format!("did you mean `{near}`? "));
        let (meant, known) = (meant.unwrap_or_default(), quoted_list(&BROKERS));
        CliError::Usage(format!("there is no adapter `{name}`: {meant}there are {known}"))
    })
}

fn all() -> Result<(), CliError> {
    let built = BROKERS.map(|broker| if is_built_in(broker) { "yes" } else { "no" });
    let heading = ["FEATURE"].into_iter().chain(BROKERS).map(str::to_uppercase);
    let heading: Vec<_> = heading.collect();
    let row = |name: &str, cells: [&str; BROKERS.len()]| {
        let mut row = [const { String::new() }; BROKERS.len() + 1];
        let cells = [name].into_iter().chain(cells);
        row.iter_mut().zip(cells).for_each(|(to, cell)| to.push_str(cell));
        row
    };
    let features = FEATURES.iter();
    let rows: Vec<_> = [row("built in", built)]
        .into_iter()
        .chain(features.map(|feature| row(feature.name, feature.cells.map(|it| it.how.as_str()))))
        .collect();
    let mut names = [""; BROKERS.len() + 1];
    names.iter_mut().zip(&heading).for_each(|(to, name)| *to = name);
    output::table(names, &rows, None)
}

fn one(index: usize) -> Result<(), CliError> {
    let name = BROKERS[index];
    if !is_built_in(name) {
        output::line(format!("not built in: build forebay with its feature `{name}`\n"))?;
    }
    let rows: Vec<_> = FEATURES
        .iter()
        .map(|feature| {
            let cell = feature.cells[index];
            [feature.name, cell.how.as_str(), cell.says].map(str::to_owned)
        })
        .collect();
    output::table(["FEATURE", "HOW", "BY WHAT"], &rows, None)
}

fn as_json(index: usize) -> Value {
    let features = FEATURES.iter().map(|feature| {
        let cell = feature.cells[index];
        let what = json!({ "how": cell.how.as_str(), "says": cell.says, "means": feature.means });
        (feature.name.to_owned(), what)
    });
    let features: serde_json::Map<_, _> = features.collect();
    let name = BROKERS[index];
    json!({ "name": name, "built_in": is_built_in(name), "features": features })
}
