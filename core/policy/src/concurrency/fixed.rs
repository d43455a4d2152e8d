//! A limit that only its owner changes.
//!
//! The right one where the knee is known: a connection pool of its own, a license, a test.

use super::Bounds;

/// A number of at least one, held between bounds for as long as they are set: with them it comes back
/// to what it was set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fixed {
    set: u32,
    bounds: Option<Bounds>,
}

impl Fixed {
    pub(super) const fn new(limit: u32) -> Self {
        Self { set: limit, bounds: None }
    }

    pub(super) fn limit(self) -> u32 {
        let limit = self.set.max(1);
        self.bounds.map_or(limit, |bounds| bounds.clamp(f64::from(limit)) as u32)
    }

    pub(super) const fn set_limit(&mut self, limit: u32) {
        self.set = limit;
    }

    pub(super) const fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = Some(bounds);
    }

    pub(super) fn invariants(self) {
        let limit = f64::from(self.limit());
        assert!(self.bounds.is_none_or(|bounds| bounds.holds(limit)), "out of bounds: {self:?}");
    }
}
