//! What the runtime costs, beside what a loop written by hand costs.
//!
//! Each program in `src/bin` answers one question and prints one table; `docs/performance.md` holds
//! the answers. This library is what they share: the loops, the runtimes they run on, and the
//! arithmetic.
//!
//! | program | question |
//! |---|---|
//! | `runtime` | how long does a message take, beside the loops written by hand? |
//! | `instructions` | how many instructions (callgrind)? Fails above the target |
//! | `allocations` | how many allocations? |
//! | `keys` | what do 100,000 live keys cost, and does a slow one hold up the others? |
//! | `neighbours` | does a handler that hogs the processor hold up the others? |
//! | `memory` | is memory flat over 10^7 messages? |
//! | `embedded` | how near is the embedded queue to bare SQL, at any backlog? |
//! | `brokers` | what does each adapter cost beside a bare loop on its client? (feature `brokers`) |
//! | `knee` | does an adaptive limit find PostgreSQL's knee, and what does it do in trouble? (feature `knee`) |
//! | `smoothing` | what does a burst do to PostgreSQL, straight and through a queue? (feature `smoothing`) |
//! | `telemetry` | what do metrics and traces cost? |
//! | `peers` | what does the nearest rival cost? (feature `peers`) |

pub mod allocations;
pub mod bootstrap;
pub mod callgrind;
pub mod cost;
pub mod flavor;
#[cfg(feature = "knee")]
pub mod knee;
pub mod loops;
pub mod median;
pub mod progress;
pub mod seen;
#[cfg(any(feature = "knee", feature = "smoothing"))]
pub mod style;
pub mod table;
pub mod waits;
