//! Since when the messages of a partition have been due, for the age of the oldest.

use super::Assigned;
use std::time::SystemTime;

/// How many times of messages that are done may be kept.
pub(super) const TIMES: usize = 1024;

impl Assigned {
    /// Behind one message that is stuck, what is done must not pile up. Each time costs what was read
    /// since the last.
    pub(super) fn forget_times(&mut self) {
        if self.since.len() > 2 * self.ledger.incomplete() + TIMES {
            let ledger = &self.ledger;
            self.since.retain(|(offset, _)| ledger.is_open(*offset));
        }
    }

    /// Forgets times that nobody will ask for.
    pub(crate) fn trim(&mut self) {
        let next = self.ledger.next();
        while self.since.front().is_some_and(|(offset, _)| *offset < next) {
            self.since.pop_front();
        }
    }

    /// Since when the lowest message that is not done has been due.
    pub(crate) fn oldest(&mut self) -> Option<SystemTime> {
        self.trim();
        let next = self.ledger.next();
        self.since.front().filter(|(offset, _)| *offset == next).map(|(_, since)| *since)
    }
}
