//! Batches and their splitting, with random sizes and random poison.

use forebay_policy::{Batcher, Moment, Ran, Split};
use proptest::prelude::*;
use std::time::Duration;

const MAX_ITEMS: usize = 5;
const MAX_BYTES: usize = 100;
const MAX_AGE: Duration = Duration::from_millis(20);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn batches_keep_their_limits(items in prop::collection::vec((0usize..130, 0u64..9), 0..100)) {
        let mut batcher = Batcher::new(MAX_ITEMS, MAX_BYTES, MAX_AGE);
        let mut batch: Vec<(usize, Moment)> = Vec::new();
        let mut now = Moment::ZERO;
        for (bytes, millis) in items {
            now = now + Duration::from_millis(millis);
            if !batcher.fits(bytes) {
                batcher.close();
            }
            let total: usize = batch.iter().map(|(bytes, _)| bytes).sum();
            let due = batch.first().map_or(Moment::NEVER, |(_, begun)| *begun + MAX_AGE);
            let over = batch.len() == MAX_ITEMS || total >= MAX_BYTES || total + bytes > MAX_BYTES;
            prop_assert_eq!(batcher.should_close(now), !batch.is_empty() && (over || due <= now));
            prop_assert_eq!((batcher.len(), batcher.due_at()), (batch.len(), due));
            if batcher.should_close(now) {
                batcher.clear();
                batch.clear();
            }
            prop_assert!(batcher.fits(bytes));
            let full = batcher.push(bytes, now);
            batch.push((bytes, now));
            prop_assert_eq!(full, batcher.should_close(now));
            batcher.invariants();
        }
    }

    #[test]
    fn splitting_finds_the_poison_and_nothing_else(poison in prop::collection::vec(prop::bool::weighted(0.2), 0..70)) {
        let mut split = Split::new(poison.len());
        let mut outcomes = Vec::new();
        let mut runs = 0;
        while let Some(range) = split.next_run() {
            runs += 1;
            let failed = poison[range.clone()].contains(&true);
            if let Some((range, ran)) = split.record(if failed { Ran::Failed } else { Ran::Passed }) {
                prop_assert_eq!(range.start, outcomes.len(), "in order, each once");
                outcomes.extend(range.map(|_| ran == Ran::Failed));
            }
            split.invariants();
        }
        let culprits = poison.iter().filter(|&&poison| poison).count();
        let depth = poison.len().next_power_of_two().ilog2() as usize;
        prop_assert!(runs < 2 * poison.len().max(1));
        prop_assert!(runs <= 1 + 2 * culprits * depth, "{} runs for {} culprits", runs, culprits);
        prop_assert_eq!(outcomes, poison);
    }

    /// Whatever the handler does, also if the same item fails and passes by turns.
    #[test]
    fn splitting_ends(len in 0usize..70, answers in prop::collection::vec(any::<bool>(), 140)) {
        let mut split = Split::new(len);
        let mut outcomes = 0;
        for failed in answers {
            let Some(range) = split.next_run() else { break };
            prop_assert_eq!(split.next_run(), Some(range), "the same until it is recorded");
            if let Some((range, ran)) = split.record(if failed { Ran::Failed } else { Ran::Passed }) {
                prop_assert_eq!(range.start, outcomes);
                prop_assert!(ran == Ran::Passed || range.len() == 1, "fails only alone");
                outcomes = range.end;
            }
        }
        prop_assert_eq!((split.next_run(), outcomes), (None, len));
        prop_assert_eq!(split.record(Ran::Passed), None);
    }
}

#[test]
fn an_item_larger_than_a_batch_goes_alone() {
    let mut batcher = Batcher::new(MAX_ITEMS, MAX_BYTES, MAX_AGE);
    assert!(batcher.fits(1_000));
    assert!(batcher.push(1_000, Moment::ZERO));
    assert!(!batcher.fits(0) && batcher.should_close(Moment::ZERO));
}

#[test]
fn age_counts_from_the_first_item() {
    let mut batcher = Batcher::new(MAX_ITEMS, MAX_BYTES, MAX_AGE);
    assert_eq!(batcher.due_at(), Moment::NEVER);
    batcher.push(1, Moment::from_millis(1));
    batcher.push(1, Moment::from_millis(15));
    assert_eq!(batcher.due_at(), Moment::from_millis(21));
    assert!(!batcher.should_close(Moment::from_millis(20)));
    assert!(batcher.should_close(Moment::from_millis(21)));
}

#[test]
fn an_empty_batch_is_never_closed() {
    let mut batcher = Batcher::new(MAX_ITEMS, MAX_BYTES, MAX_AGE);
    batcher.close();
    assert!(batcher.is_empty() && !batcher.is_full() && !batcher.should_close(Moment::NEVER));
}
