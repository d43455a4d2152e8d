//! A limit that only its owner changes.
//!
//! The right one where the knee is known: a connection pool of its own, a license, a test.

/// A number of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed(u32);

impl Fixed {
    pub(super) const fn new(limit: u32) -> Self {
        Self(if limit == 0 { 1 } else { limit })
    }

    pub(super) const fn limit(self) -> u32 {
        self.0
    }
}
