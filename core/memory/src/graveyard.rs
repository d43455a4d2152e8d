//! The dead letters of a queue in memory.

use forebay_contract::{DeadFilter, DeadId, DeadLetter, DeadOrigin, DeadReason, Message};
use std::{collections::BTreeMap, time::SystemTime};

/// Dead letters in the order of their death.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    letters: BTreeMap<u64, DeadLetter>,
    next: u64,
}

impl Graveyard {
    pub(crate) fn bury(
        &mut self,
        message: Message,
        reason: DeadReason,
        origin: DeadOrigin,
        died_at: SystemTime,
    ) {
        let id = DeadId(self.next.to_string().into());
        self.letters.insert(self.next, DeadLetter { id, message, reason, origin, died_at });
        self.next += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Those that match, after the one named; `None` when no letter can have that name.
    pub(crate) fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Option<Vec<DeadLetter>> {
        let first = match after {
            Some(id) => id.0.parse::<u64>().ok()? + 1,
            None => 0,
        };
        let letters = self.letters.range(first..).map(|(_, letter)| letter);
        Some(letters.filter(|letter| filter.matches(letter)).take(limit).cloned().collect())
    }

    /// Takes out those that match, `limit` at most.
    pub(crate) fn take(&mut self, filter: &DeadFilter, limit: usize) -> Vec<DeadLetter> {
        let matching = self.letters.iter().filter(|(_, letter)| filter.matches(letter));
        let numbers: Vec<_> = matching.map(|(number, _)| *number).take(limit).collect();
        numbers.iter().filter_map(|number| self.letters.remove(number)).collect()
    }
}
