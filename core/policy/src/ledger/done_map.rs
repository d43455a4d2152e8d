//! The done map as text, for the metadata of an offset commit.
//!
//! `v1:base:crc:base64`: the version; the commit's own offset in decimal; the CRC-32 of both base
//! and map in hexadecimal; and the map. Text, because librdkafka takes nothing else. The base is
//! repeated inside so that a map is never read against an offset that it was not written for: another
//! tool may move the offset and leave the metadata. The checksum, because a map that is wrong by one
//! bit would skip a message.
//!
//! The idea of keeping completions beyond the commit in its metadata is that of Confluent's parallel
//! consumer (`OffsetMapCodecManager`); the format is our own.

use super::{
    encoding::{self, Growth},
    note::AssignNote,
    runs::Runs,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::ops::Range;

const VERSION: &str = "v1";

/// What is known beyond a commit: from `base` to `end`, all is done but `open`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DoneMap {
    pub(super) open: Runs,
    /// Behind the last one done.
    pub(super) end: i64,
}

impl DoneMap {
    /// How many offsets are done.
    pub(super) fn done(&self, base: i64) -> u64 {
        let open: u64 = self.open.iter().map(|run| length(&run)).sum();
        length(&(base..self.end)) - open
    }
}

/// Writes the map of a commit at the first of the `open` runs, where all else below `end` is done.
/// Empty if nothing is done beyond it; `None` if it takes more than `limit` bytes. With it, how it may
/// grow.
pub(super) fn write(open: &Runs, end: i64, limit: usize) -> (Option<String>, Growth) {
    let lengths = lengths(open, end);
    let Some(base) = open.first().filter(|_| !lengths.is_empty()) else {
        return (Some(String::new()), Growth::default());
    };
    let raw = encoding::encode(&lengths, room(base, limit));
    (raw.map(|raw| text(base, &raw)), Growth::of(&lengths))
}

/// How many bytes a map may take before it is text.
pub(super) fn room(base: i64, limit: usize) -> usize {
    limit.saturating_sub(text(base, &[]).len()) / 4 * 3
}

/// Reads what a commit at `committed` has in its metadata. Never panics, whatever is there.
pub(super) fn read(metadata: &str, committed: i64) -> Result<DoneMap, AssignNote> {
    let mut parts = metadata.splitn(4, ':');
    let mut part = || parts.next().ok_or(AssignNote::Foreign);
    let (version, base, _crc, map) = (part()?, part()?, part()?, part()?);
    if version != VERSION {
        let ours = version.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
        return Err(if ours { AssignNote::OtherVersion } else { AssignNote::Foreign });
    }
    let base = base.parse::<i64>().ok().filter(|&base| base >= 0).ok_or(AssignNote::Foreign)?;
    let raw = STANDARD_NO_PAD.decode(map).map_err(|_| AssignNote::Corrupt)?;
    // Compared as text, so that there is one way only to write it.
    if metadata != text(base, &raw) {
        return Err(AssignNote::Corrupt);
    }
    if base != committed {
        return Err(AssignNote::OffsetMoved { base });
    }
    encoding::decode(&raw)
        .and_then(|lengths| from_lengths(base, &lengths))
        .ok_or(AssignNote::Corrupt)
}

/// The lengths of open and done runs in turn, ending with a done one.
fn lengths(open: &Runs, end: i64) -> Vec<u64> {
    let mut lengths = Vec::with_capacity(2 * open.len());
    let mut runs = open.iter().peekable();
    while let Some(run) = runs.next() {
        let next = runs.peek().map_or(end, |next| next.start);
        if next > run.end {
            lengths.extend([length(&run), length(&(run.end..next))]);
        }
    }
    lengths
}

fn from_lengths(base: i64, lengths: &[u64]) -> Option<DoneMap> {
    let mut open = Runs::default();
    let mut at = base;
    for (i, &length) in lengths.iter().enumerate() {
        let end = i64::try_from(length).ok().filter(|&length| length > 0)?.checked_add(at)?;
        if i % 2 == 0 {
            open.append(at..end);
        }
        at = end;
    }
    Some(DoneMap { open, end: at })
}

fn length(run: &Range<i64>) -> u64 {
    run.end.abs_diff(run.start)
}

pub(super) fn text(base: i64, raw: &[u8]) -> String {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&base.to_be_bytes());
    crc.update(raw);
    let (crc, map) = (crc.finalize(), STANDARD_NO_PAD.encode(raw));
    format!("{VERSION}:{base}:{crc:08x}:{map}")
}
