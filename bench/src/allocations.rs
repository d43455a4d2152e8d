//! Counts what a program allocates: every call of `alloc`, and of `realloc`, on all threads.
//!
//! The counting allocator is `stats_alloc`'s, since an allocator is `unsafe` to write, which these
//! crates are not. Why that one: it counts with a few atomics and nothing else (`dhat` takes a
//! backtrace at each allocation, and slows a run by a factor), it counts all threads (what
//! `allocation-counter` does not), and there is nothing in it but 200 lines that have stood since
//! 2022.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

/// What a program that counts must install as its global allocator.
pub type Counting = &'static StatsAlloc<System>;

/// The counting allocator.
pub const COUNTING: Counting = &INSTRUMENTED_SYSTEM;

/// How often the program allocates while `work` runs.
///
/// Counts nothing unless [`COUNTING`] is the program's allocator.
pub fn during(work: impl FnOnce()) -> usize {
    let region = Region::new(COUNTING);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}
