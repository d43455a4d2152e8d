//! What a proxy has been told to do, and what it counts.

use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to upstream.
    ToUpstream,
    /// From upstream to client.
    FromUpstream,
}

/// Bytes passed on, for all connections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From clients to upstream.
    pub to_upstream: u64,
    /// From upstream to clients.
    pub from_upstream: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Counts the cuts: a link of an earlier epoch has been cut.
    pub(super) epoch: u64,
    pub(super) half_open: bool,
    pub(super) refuse: bool,
    /// Set when the proxy is dropped, for good.
    pub(super) closed: bool,
    pub(super) delay: Duration,
    /// What may still pass this way before all is cut.
    pub(super) reset_after: Option<(Direction, u64)>,
    /// Links of this epoch that have not ended.
    pub(super) live: usize,
    pub(super) accepted: u64,
    pub(super) passed: Passed,
}

impl State {
    pub(super) fn cut(&mut self) {
        self.epoch += 1;
        self.live = 0;
    }

    /// Counts a new connection; `None`: it is to be refused.
    pub(super) fn admit(&mut self) -> Option<u64> {
        if self.refuse || self.closed {
            return None;
        }
        self.live += 1;
        self.accepted += 1;
        Some(self.epoch)
    }

    /// A link of this epoch has ended.
    pub(super) fn end(&mut self, epoch: u64) {
        if self.epoch == epoch {
            self.live -= 1;
        }
    }

    /// How many of `len` bytes may pass this way now.
    pub(super) fn allows(&self, direction: Direction, len: usize) -> usize {
        match self.reset_after {
            Some((way, left)) if way == direction => {
                len.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            _ => len,
        }
    }

    /// Counts what has passed, and cuts if that was the last to pass. Returns whether it did.
    pub(super) fn count(&mut self, direction: Direction, bytes: usize) -> bool {
        let bytes = bytes as u64;
        match direction {
            Direction::ToUpstream => self.passed.to_upstream += bytes,
            Direction::FromUpstream => self.passed.from_upstream += bytes,
        }
        match &mut self.reset_after {
            Some((way, left)) if *way == direction => *left -= bytes,
            _ => return false,
        }
        let last = matches!(self.reset_after, Some((_, 0)));
        if last {
            self.reset_after = None;
            self.cut();
        }
        last
    }
}
