//! A set of offsets as runs: what is not done yet, of one partition.
//!
//! Why runs: messages arrive next to each other and mostly complete in about that order, so
//! 100,000 offsets are a handful of runs; and a hole of a billion offsets, left by compaction, costs
//! nothing, where a bitset would pay for it. At worst, every second one done, there is one run for
//! each offset that is not.

use std::{collections::BTreeMap, ops::Range};

/// Runs that neither touch nor overlap, by their starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(BTreeMap<i64, i64>);

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.0.first_key_value().map(|(&start, _)| start)
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        self.run_of(offset).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<i64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// Adds a run behind all others.
    pub(super) fn append(&mut self, run: Range<i64>) {
        if run.is_empty() {
            return;
        }
        if let Some(mut last) = self.0.last_entry() {
            debug_assert!(*last.get() <= run.start, "a run is appended behind all others");
            if *last.get() == run.start {
                last.insert(run.end);
                return;
            }
        }
        self.0.insert(run.start, run.end);
    }

    /// Takes out one offset. Returns whether it was there.
    pub(super) fn remove(&mut self, offset: i64) -> bool {
        let Some(run) = self.run_of(offset) else { return false };
        self.cut(run, offset..offset + 1);
        true
    }

    /// Takes out all that lies in `hole`. Returns whether there was any.
    pub(super) fn remove_range(&mut self, hole: &Range<i64>) -> bool {
        let mut any = false;
        while let Some((&start, &end)) = self.0.range(..hole.end).next_back() {
            let hit = hole.start.max(start)..hole.end.min(end);
            if hit.is_empty() {
                break;
            }
            self.cut(start..end, hit);
            any = true;
        }
        any
    }

    /// Takes a hole, which lies in `run`, out of it.
    fn cut(&mut self, run: Range<i64>, hole: Range<i64>) {
        if run.start == hole.start {
            self.0.remove(&run.start);
        } else {
            self.0.insert(run.start, hole.start);
        }
        if hole.end < run.end {
            self.0.insert(hole.end, run.end);
        }
    }

    fn run_of(&self, offset: i64) -> Option<Range<i64>> {
        let (&start, &end) = self.0.range(..=offset).next_back()?;
        Some(start..end).filter(|run| run.contains(&offset))
    }

    /// Panics if runs are empty, touch or overlap.
    pub(super) fn invariants(&self) {
        let mut last = None;
        for run in self.iter() {
            assert!(!run.is_empty(), "an empty run");
            assert!(last.is_none_or(|last| last < run.start), "runs that touch or overlap");
            last = Some(run.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_are_a_set(
            gaps in prop::collection::vec(1i64..4, 1..60),
            removals in prop::collection::vec((0i64..130, 1i64..9), 0..60),
        ) {
            let (mut runs, mut model, mut offset) = (Runs::default(), BTreeSet::new(), -1);
            for gap in gaps {
                offset += gap;
                runs.append(offset..offset + 1);
                model.insert(offset);
            }
            for (at, len) in removals {
                if len == 1 {
                    prop_assert_eq!(runs.remove(at), model.remove(&at));
                } else {
                    let before = model.len();
                    model.retain(|offset| !(at..at + len).contains(offset));
                    prop_assert_eq!(runs.remove_range(&(at..at + len)), model.len() < before);
                }
                runs.invariants();
                prop_assert_eq!(runs.first(), model.first().copied());
                prop_assert!(runs.iter().flatten().eq(model.iter().copied()));
                prop_assert!((0..130).all(|at| runs.contains(at) == model.contains(&at)));
            }
        }
    }
}
