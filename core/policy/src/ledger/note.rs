//! What a ledger says about the metadata that it found at its assignment.

use std::fmt;

/// What became of the metadata of the last commit.
///
/// In all cases but [`AssignNote::Restored`], what was done beyond the commit is done again: at
/// least once holds, and nothing is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignNote {
    /// The partition has no commit yet.
    NoCommit,
    /// The commit carries no map: nothing was done beyond it, or the map had no room.
    NoMap,
    /// The map is taken over.
    Restored {
        /// How many offsets beyond the commit are done, those that never existed included.
        done: u64,
    },
    /// The map belongs to another offset: somebody has moved the commit. Discarded.
    OffsetMoved {
        /// The offset that the map was written for.
        base: i64,
    },
    /// A map in a version that this one cannot read. Discarded.
    OtherVersion,
    /// Not a map at all: some other tool's metadata. Ignored, and overwritten by the next commit.
    Foreign,
    /// A map that was damaged. Discarded.
    Corrupt,
}

impl fmt::Display for AssignNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommit => f.write_str("no commit yet"),
            Self::NoMap => f.write_str("nothing known beyond the commit"),
            Self::Restored { done } => write!(f, "{done} offsets beyond the commit are done"),
            Self::OffsetMoved { base } => write!(
                f,
                "the done map is for offset {base}, but the commit has been moved: map discarded"
            ),
            Self::OtherVersion => f.write_str("the done map has an unknown version: discarded"),
            Self::Foreign => f.write_str("the commit's metadata is not ours: ignored"),
            Self::Corrupt => f.write_str("the done map is damaged: discarded"),
        }
    }
}
