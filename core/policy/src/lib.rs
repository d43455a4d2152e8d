//! Forebay's policies: pure state machines that decide, and never act.
//!
//! Nothing here reads a clock, draws a random number, waits, logs or does I/O. Time comes in as a
//! [`Moment`], randomness as a number, and what follows goes out as a value. So every policy can be
//! driven through thousands of random schedules in a test, and checks its own invariants on the way.

mod admission;
mod arena;
mod batch;
mod breaker;
mod concurrency;
mod counts;
mod error;
mod fuse;
mod lanes;
mod lease;
mod ledger;
mod lifecycle;
mod moment;
mod rate;
mod retry;
mod scale;

pub use admission::{Admission, Signal};
pub use batch::Batcher;
pub use breaker::{Breaker, BreakerCause, BreakerSettings, BreakerState, BreakerTransition};
pub use concurrency::{AimdSettings, Concurrency, Gradient2Settings, LimitCause, LimitChange};
pub use error::PolicyError;
pub use fuse::{Fuse, FuseAnswer, FuseEvent, FuseSettings, FuseState, FuseTransition};
pub use lanes::{After, Item, LaneToken, Lanes, Push, WAIT_MAX};
pub use lease::{LeaseBook, LeaseEnd, LeaseFate};
pub use ledger::{AssignNote, Commit, Done, Ledger, METADATA_LIMIT, Received};
pub use lifecycle::{Lifecycle, Phase};
pub use moment::Moment;
pub use rate::TokenBucket;
pub use retry::{Exhausted, Jitter, RetryDecision, RetryPolicy, RetrySettings, THROTTLE_MAX_AGE};
pub use scale::{Held, Scale, ScaleAdvice, ScaleReading, ScaleReason, ScaleSettings};
