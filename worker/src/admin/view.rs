//! How things stand, as of the last look: what every endpoint answers from.

use super::{crew::Crew, pulse::Vital};
use forebay::{Backlog, policy::ScaleAdvice};
use std::time::{Duration, Instant};

/// A reading of the broker that is older than this says nothing about now.
const STALE: Duration = Duration::from_secs(15);

/// How things stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The worker's own state; `None` before the first look, and where no jobs are handled.
    pub(crate) vital: Option<Vital>,
    /// The backlog that was last read, and when.
    pub(crate) read: Option<(Backlog, Instant)>,
    /// Why the broker could not be asked of late; `None`: it could, or has not been yet.
    pub(crate) unread: Option<String>,
    /// How many workers there should be, by that backlog.
    pub(crate) advice: Option<ScaleAdvice>,
    /// The workers that there are; `None` before they have been looked for.
    pub(crate) crew: Option<Crew>,
    /// Why not all workers could be asked, if so.
    pub(crate) workers_trouble: Option<String>,
}

impl View {
    /// The last backlog, unless it is too old to be of use.
    pub(crate) fn backlog(&self) -> Option<&Backlog> {
        self.read.as_ref().filter(|(_, at)| at.elapsed() < STALE).map(|(backlog, _)| backlog)
    }

    /// Why the broker cannot be worked with, if so. Before the first answer there is a reason too.
    pub(crate) fn disconnected(&self) -> Option<String> {
        let trouble = self.vital.as_ref().and_then(|vital| vital.trouble);
        match (&self.unread, trouble) {
            (Some(why), _) => Some(why.clone()),
            (None, Some(trouble)) => Some(trouble.to_string()),
            (None, None) if self.read.is_none() => Some("the broker has not been asked yet".into()),
            (None, None) => None,
        }
    }

    /// Messages to be handled: what is ready, and what is out. Where the broker does not count what
    /// is out, the workers do.
    pub(crate) fn to_handle(&self) -> Option<u64> {
        let in_hand = self.crew.map_or(0, |crew| crew.in_hand);
        self.backlog().map(|backlog| to_handle(backlog, in_hand))
    }
}

/// As [`View::to_handle`].
pub(super) fn to_handle(backlog: &Backlog, in_hand: u64) -> u64 {
    let ready = backlog.ready.map_or(0, |count| count.value);
    ready + backlog.leased.map_or(in_hand, |count| count.value)
}
