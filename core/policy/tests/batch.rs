//! Batches of random sizes at random times.

use forebay_policy::{Batcher, Moment};
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
