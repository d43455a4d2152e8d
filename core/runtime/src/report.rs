//! How a drain went.

use crate::Counts;
use std::fmt;

/// How a drain went: what became of the messages that were in hand when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Got a verdict by what their handler did, confirmed by the source.
    pub finished: u64,
    /// Given back unhandled, or called off, confirmed by the source.
    pub released: u64,
    /// Left behind, without an answer from handler or broker. They come back by themselves when their
    /// lease ends.
    pub abandoned: u64,
}

impl DrainReport {
    /// The report of a drain between two readings of the counts.
    pub(crate) fn between(before: Counts, after: Counts, abandoned: usize) -> Self {
        let handled = |counts: Counts| {
            counts.acked + counts.retried + counts.postponed + counts.dead + counts.dropped
        };
        Self {
            finished: handled(after) - handled(before),
            released: after.released - before.released,
            abandoned: abandoned as u64,
        }
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, released, abandoned } = self;
        write!(f, "finished {finished}, released {released}, abandoned {abandoned}")
    }
}
