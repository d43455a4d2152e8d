//! Which dead letters a command is about: by options, or by `--filter` for scripts; both say the same.

use crate::{
    config::{duration, nearest, quoted_list},
    error::CliError,
};
use clap::Args;
use forebay::{DeadFilter, DeadId, DeadReason};
use std::time::{Duration, SystemTime};

/// Per argument, since a heading of the whole group would go on beyond it.
const HEADING: &str = "Which dead letters";

/// Narrows what a command is about. All that is given must hold.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only these, by the ID that `list` shows
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[arg(long, value_name = "REASON", help_heading = HEADING)]
    #[arg(help = format!("Only those that died for this reason: {}", reasons()))]
    reason: Option<DeadReason>,

    /// Only those whose last error contains this
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    error: Option<String>,

    /// Only those that died longer ago than this, such as `1h` or `30days`
    #[arg(long, value_name = "AGE", value_parser = duration, help_heading = HEADING)]
    older_than: Option<Duration>,

    /// Only those that were in this queue when they died
    #[arg(long, value_name = "QUEUE", help_heading = HEADING)]
    from: Option<String>,

    /// The same as one option: `reason=…`, `error=…`, `older-than=…` or `from=…`; may be repeated
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = narrow)]
    #[arg(help_heading = HEADING)]
    filters: Vec<Narrow>,
}

fn reasons() -> String {
    DeadReason::ALL.map(DeadReason::as_str).join(", ")
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
enum Narrow {
    Reason(DeadReason),
    Error(String),
    OlderThan(Duration),
    From(String),
}

const KEYS: [&str; 4] = ["reason", "error", "older-than", "from"];

fn narrow(text: &str) -> Result<Narrow, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("write KEY=VALUE, where KEY is one of {}", quoted_list(&KEYS)));
    };
    if value.is_empty() {
        return Err(format!("`{key}=` needs a value"));
    }
    match key {
        "reason" => value.parse().map(Narrow::Reason),
        "error" => Ok(Narrow::Error(value.to_owned())),
        "older-than" => duration(value).map(Narrow::OlderThan),
        "from" => Ok(Narrow::From(value.to_owned())),
        _ => {
            let meant = nearest(key, &KEYS).map(|near| format!("did you mean `{near}`? "));
            let meant = meant.unwrap_or_default();
            Err(format!("there is no key `{key}`: {meant}there are {}", quoted_list(&KEYS)))
        }
    }
}

impl FilterArgs {
    /// As the adapter wants it. `now` is what an age counts back from.
    ///
    /// # Errors
    /// When one thing is said twice.
    pub(super) fn filter(&self, now: SystemTime) -> Result<DeadFilter, CliError> {
        let ids = self.ids.iter().map(|id| DeadId(id.as_str().into())).collect::<Vec<_>>();
        let given = [
            self.reason.map(Narrow::Reason),
            self.error.clone().map(Narrow::Error),
            self.older_than.map(Narrow::OlderThan),
            self.from.clone().map(Narrow::From),
        ];
        let ids = (!ids.is_empty()).then_some(ids);
        let mut filter = DeadFilter { ids, ..DeadFilter::default() };
        for narrow in given.into_iter().flatten().chain(self.filters.iter().cloned()) {
            let (key, twice) = match narrow {
                Narrow::Reason(reason) => ("reason", filter.reason.replace(reason).is_some()),
                Narrow::Error(text) => ("error", filter.error_contains.replace(text).is_some()),
                Narrow::OlderThan(age) => {
                    // Older than the clock reaches back: nothing is.
                    let before = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
                    ("older-than", filter.died_before.replace(before).is_some())
                }
                Narrow::From(queue) => ("from", filter.origin_queue.replace(queue).is_some()),
            };
            if twice {
                return Err(CliError::Usage(format!(
                    "`{key}` is given twice, and a letter can match one of them only: leave one out"
                )));
            }
        }
        Ok(filter)
    }

    /// Refuses to mean everything by saying nothing.
    pub(super) fn must_narrow(&self, all: bool, verb: &str) -> Result<(), CliError> {
        let narrows = !self.ids.is_empty()
            || self.reason.is_some()
            || self.error.is_some()
            || self.older_than.is_some()
            || self.from.is_some()
            || !self.filters.is_empty();
        match (narrows, all) {
            (false, false) => Err(CliError::Usage(format!(
                "{verb} which? name IDs, filter by --reason, --error, --older-than or --from, or say \
                 --all"
            ))),
            (true, true) => Err(CliError::Usage(
                "--all and a filter contradict each other: leave one out".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn parse(args: &[&str]) -> Result<DeadFilter, String> {
        let args = ["forebay"].iter().chain(args);
        let line = Line::try_parse_from(args).map_err(|error| error.to_string())?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
        line.filter.filter(now).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_filters_say_the_same() {
        let options =
            ["--reason", "too_old", "--error", "a=b", "--older-than", "1h", "--from", "q"];
        let filters = ["reason=too_old", "error=a=b", "older-than=1h", "from=q"];
        let filters: Vec<_> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        let (a, b) = (parse(&options).unwrap(), parse(&filters).unwrap());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert_eq!(a.reason, Some(DeadReason::TooOld));
        assert_eq!(a.error_contains.as_deref(), Some("a=b"));
        assert_eq!(a.died_before, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3600)));
        assert_eq!(a.origin_queue.as_deref(), Some("q"));
    }

    #[test]
    fn what_is_no_filter_says_what_one_is() {
        for (args, expected) in [
            (&["--filter", "resaon=too_old"][..], "did you mean `reason`?"),
            (&["--filter", "reason=old"], "attempts_exhausted"),
            (&["--filter", "reason"], "write KEY=VALUE"),
            (&["--filter", "from="], "`from=` needs a value"),
            (&["--filter", "older-than=5"], "write \"500ms\""),
            (&["--from", "a", "--filter", "from=b"], "`from` is given twice"),
            (&["--filter", "error=a", "--filter", "error=b"], "`error` is given twice"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(expected), "{args:?}\n{error}");
        }
    }
}
