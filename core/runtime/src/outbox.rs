//! Verdicts on their way from the pump to the settler.

use forebay_contract::{Scope, Settlement};

/// What a verdict is about, besides its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The hand-out's number, in the order of receipt.
    pub(crate) number: u64,
    pub(crate) scope: Scope,
}

/// Verdicts on their way, each with the ticket of its message. Two lists, so that the source sees
/// just what concerns it, and nothing is moved on the way.
#[derive(Debug)]
pub(crate) struct Outbox<R> {
    pub(crate) settlements: Vec<Settlement<R>>,
    pub(crate) tickets: Vec<Ticket>,
}

impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Self { settlements: Vec::new(), tickets: Vec::new() }
    }
}

impl<R> Outbox<R> {
    #[inline]
    pub(crate) fn push(&mut self, settlement: Settlement<R>, ticket: Ticket) {
        self.settlements.push(settlement);
        self.tickets.push(ticket);
    }

    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Removes all but those at `kept`, which is sorted. Returns the tickets of what is gone.
    pub(crate) fn clear_but(&mut self, kept: &[usize]) -> impl Iterator<Item = Ticket> {
        for (to, at) in kept.iter().enumerate() {
            self.settlements.swap(to, *at);
            self.tickets.swap(to, *at);
        }
        self.settlements.truncate(kept.len());
        self.tickets.drain(kept.len()..)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Settlement<R>, Ticket)> {
        self.settlements.iter().zip(self.tickets.iter().copied())
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.settlements.append(&mut other.settlements);
        self.tickets.append(&mut other.tickets);
    }

    /// Takes out all verdicts that do not only remove their message: those for which the broker may
    /// have to keep something else first.
    pub(crate) fn take_slow(&mut self) -> Self {
        let mut slow = Self::default();
        let is_slow = |settlement: &Settlement<R>| !settlement.verdict.only_removes();
        if self.settlements.iter().any(is_slow) {
            let all = std::mem::take(self);
            for (settlement, ticket) in all.settlements.into_iter().zip(all.tickets) {
                let to = if is_slow(&settlement) { &mut slow } else { &mut *self };
                to.push(settlement, ticket);
            }
        }
        slow
    }
}
