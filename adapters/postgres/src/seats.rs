//! Who may hold a connection: a count that can be lowered while all are taken.
//!
//! deadpool's own `resize` hands out permits for connections that were in use when it shrank, and
//! leaves those of connections not opened yet, so a pool that shrank and grew again passes its limit.
//! Where the number is a promise to a database, that will not do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Seats that can be taken, up to a ceiling that moves.
#[derive(Clone, Debug)]
pub(crate) struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ceiling: u32,
    /// Seats above the ceiling that are still taken: they vanish when they are left.
    debt: u32,
}

/// A seat that is taken; dropping it leaves it.
#[derive(Debug)]
pub(crate) struct Seat(Seats);

impl Seats {
    pub(crate) fn new(ceiling: u32) -> Self {
        Self(Arc::new(Inner {
            free: Semaphore::new(ceiling as usize),
            state: Mutex::new(State { ceiling, debt: 0 }),
        }))
    }

    /// Waits for a seat, first come, first served. Cancel-safe.
    pub(crate) async fn take(&self) -> Seat {
        if let Ok(permit) = self.0.free.acquire().await {
            permit.forget(); // given back by hand, or not at all when the ceiling has come down
        }
        Seat(self.clone())
    }

    /// Moves the ceiling, from now on. Seats above it stay taken until they are left.
    pub(crate) fn set_ceiling(&self, ceiling: u32) {
        let mut state = self.lock();
        if ceiling > state.ceiling {
            let grown = ceiling - state.ceiling;
            let kept = grown.min(state.debt);
            state.debt -= kept;
            self.0.free.add_permits((grown - kept) as usize);
        } else {
            let shrunk = state.ceiling - ceiling;
            let gone = self.0.free.forget_permits(shrunk as usize);
            state.debt += shrunk - u32::try_from(gone).unwrap_or(shrunk);
        }
        state.ceiling = ceiling;
    }

    pub(crate) fn ceiling(&self) -> u32 {
        self.lock().ceiling
    }

    /// How many there are in all: up to the ceiling, and those above it that are still taken.
    pub(crate) fn held(&self) -> u32 {
        let state = self.lock();
        state.ceiling + state.debt
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether the ceiling has come down below what is taken: this one is to go.
    pub(crate) fn is_surplus(&self) -> bool {
        self.0.lock().debt > 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        match state.debt {
            0 => self.0.0.free.add_permits(1),
            _ => state.debt -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn take(seats: &Seats) -> Option<Seat> {
        seats.take().now_or_never()
    }

    #[test]
    fn a_lower_ceiling_counts_at_once_and_a_higher_one_pays_its_debt_first() {
        let seats = Seats::new(3);
        let mut held: Vec<_> = (0..3).filter_map(|_| take(&seats)).collect();
        assert_eq!(held.len(), 3);
        assert!(take(&seats).is_none());
        seats.set_ceiling(1);
        assert!(held[0].is_surplus());
        held.pop();
        assert!(take(&seats).is_none(), "two are taken of one");
        // The fault of deadpool's resize: growing again must not hand out what is still taken.
        seats.set_ceiling(3);
        assert!(!held[0].is_surplus());
        held.extend(take(&seats));
        assert_eq!(held.len(), 3);
        assert!(take(&seats).is_none());
        seats.set_ceiling(1);
        assert_eq!(seats.held(), 3, "taken, above the ceiling");
        held.clear();
        assert_eq!(seats.held(), 1);
        seats.set_ceiling(0);
        assert!(take(&seats).is_none());
    }

    #[test]
    fn seats_that_nobody_took_go_first() {
        let seats = Seats::new(4);
        let held = take(&seats);
        seats.set_ceiling(1);
        assert!(!held.as_ref().is_some_and(Seat::is_surplus));
        assert!(take(&seats).is_none());
        drop(held);
        assert!(take(&seats).is_some());
    }
}
