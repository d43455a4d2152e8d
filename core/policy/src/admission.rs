//! The one shape that every limit has: how much may start now, and what was learned from what ended.
//!
//! A gate asks each of its limits and takes the minimum; a limit that grants less than was wanted
//! says when asking again could help.

use crate::Moment;
use std::time::Duration;

/// What a limit answers to "may `want` more start?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// How many may start now; never more than was wanted.
    pub granted: u32,
    /// When asking again could grant more. [`Moment::NEVER`] when only a completion can change the
    /// answer, or when all that was wanted has been granted.
    pub again_at: Moment,
}

impl Admission {
    /// All that was wanted.
    #[must_use]
    pub const fn all(want: u32) -> Self {
        Self { granted: want, again_at: Moment::NEVER }
    }

    /// Nothing before `again_at`.
    #[must_use]
    pub const fn none_until(again_at: Moment) -> Self {
        Self { granted: 0, again_at }
    }
}

/// What a finished handler call tells the limits and the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It succeeded, having run for this long.
    Success(Duration),
    /// It failed in a way that speaks against the system behind it: an error, or a timeout.
    Failure(Duration),
    /// The system behind it said that it is overloaded.
    Backpressure,
    /// It says nothing about the system behind it: poison, a panic, a release, a discard.
    Neutral,
}
