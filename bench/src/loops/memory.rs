//! How long memory takes: the yardstick for all that lies beyond the caches.

use crate::cost::{Cost, Stopwatch};
use std::hint::black_box;

/// What the reads go through: as large as 100,000 live keys, with all that belongs to them.
const BYTES: usize = 64 << 20;

/// What a processor reads at once.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    next: usize,
}

/// Reads one place after the other, at random, each of which says which is next.
pub(super) fn reads(count: u64) -> Cost {
    let chain = chain(BYTES / size_of::<Line>());
    let start = Stopwatch::start();
    let mut at = 0;
    for _ in 0..count {
        at = chain[at].next;
    }
    black_box(at);
    start.each(count)
}

/// A single cycle through all lines, in random order (S. Sattolo, 1986: a shuffle in which no place
/// may keep its own).
fn chain(lines: usize) -> Vec<Line> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut chain: Vec<_> = (0..lines).map(|next| Line { next }).collect();
    for i in (1..lines).rev() {
        chain.swap(i, random.usize(..i));
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_leads_through_all_lines() {
        let chain = chain(1000);
        let mut seen = vec![false; chain.len()];
        let mut at = 0;
        while !seen[at] {
            seen[at] = true;
            at = chain[at].next;
        }
        assert!(at == 0 && seen.iter().all(|seen| *seen));
    }
}
