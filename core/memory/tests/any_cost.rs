//! What hiding the types costs: allocations, counted beside those of the same work without it.
//!
//! A test of its own, since it counts what its whole process allocates.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_contract::{AnySource, Message, Settlement, Source, Verdict, Want};
use forebay_memory::{MemoryOptions, MemoryQueue};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BATCHES: usize = 50;

/// Receives and acknowledges batches of this size; allocations of one batch, on average.
async fn allocations<S: Source>(open: impl FnOnce(&MemoryQueue) -> S, size: usize) -> f64 {
    let queue = MemoryQueue::with(MemoryOptions::default().without_notes());
    queue.replay(vec![Message::new(0, "x")], u64::MAX);
    let source = open(&queue);
    let want = Want { messages: size, bytes: 1 << 20 };
    let (mut out, mut batch) = (Vec::with_capacity(size), Vec::with_capacity(size));
    let mut round = async || {
        source.receive(want, &mut out).await.unwrap();
        assert_eq!(out.len(), size);
        batch.extend(out.drain(..).map(|delivery| Settlement {
            receipt: delivery.receipt,
            message: delivery.message,
            verdict: Verdict::Ack,
        }));
        assert!(source.settle(&batch).await.iter().all(Result::is_ok));
        batch.clear();
    };
    round().await; // what grows once has grown
    let region = Region::new(ALLOCATOR);
    for _ in 0..BATCHES {
        round().await;
    }
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / BATCHES as f64
}

#[tokio::test]
async fn a_message_costs_its_receipt_and_a_batch_a_handful() {
    let of = async |size| {
        let plain = allocations(MemoryQueue::source, size).await;
        allocations(|queue| AnySource::new(queue.source()), size).await - plain
    };
    let (one, hundred, thousand) = (of(1).await, of(100).await, of(1000).await);
    let each = (thousand - hundred) / 900.0;
    assert!((0.99..1.02).contains(&each), "{each} allocations more for each message");
    // Two boxed futures, and the vectors that the batch is passed on in.
    let batch = one - each;
    assert!(batch <= 6.0, "{batch} allocations more for each batch");
}
