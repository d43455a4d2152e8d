//! The gates that need no clock: what a message may cost in allocations.
//!
//! Instructions are gated by the program `instructions`, which needs valgrind; time is never a gate.

use forebay_bench::{
    allocations::{COUNTING, Counting},
    flavor::Flavor,
    loops::Loop,
};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

// One test, since the counts are the whole program's.
#[test]
fn a_message_allocates_at_most_twice() {
    let count = |each: Loop| each.allocations(Flavor::Still, 20_000, 60_000).unwrap();
    // The yardstick is true: one task each, and nothing for a queue that uses its memory again.
    let spawned = count(Loop::SpawnSemaphore);
    assert!((0.99..1.01).contains(&spawned), "{spawned} by a task for each message");
    let queue = count(Loop::Queue);
    assert!(queue < 0.1, "{queue} by the queue alone");
    for each in [Loop::Forebay, Loop::ForebayFewKeys] {
        let allocations = count(each);
        assert!(allocations <= 2.0, "{each}: {allocations} allocations a message");
    }
}
