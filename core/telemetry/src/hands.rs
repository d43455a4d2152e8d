//! What is in hand, by its hand-out's number: to know that nothing is settled twice.
//!
//! Each hand-out is entered when it is received and leaves once, with the source's last word on its
//! verdict or with its lease. A last word about one that is not here is a second one: a defect of the
//! runtime or of an adapter, which is counted as a violation of an invariant.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The hand-outs that are in hand.
#[derive(Debug, Default)]
pub(crate) struct Hands(Mutex<Set>);

type Set = HashSet<u64, BuildHasherDefault<Spread>>;

impl Hands {
    pub(crate) fn take(&self, hand_outs: impl Iterator<Item = u64>) {
        self.lock().extend(hand_outs);
    }

    /// Strikes hand-outs that are over. Returns how many of them were over before.
    pub(crate) fn leave(&self, hand_outs: impl Iterator<Item = u64>) -> u64 {
        let mut set = self.lock();
        hand_outs.filter(|hand_out| !set.remove(hand_out)).count() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers are our own, and nobody chooses them to collide: a multiplication spreads them.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let spread = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // A table looks at the lowest bits and at the highest.
        self.0 = spread ^ (spread >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_last_word_is_noticed() {
        let hands = Hands::default();
        hands.take(1..=3);
        assert_eq!(hands.leave([1, 3].into_iter()), 0);
        assert_eq!(hands.leave([2, 3].into_iter()), 1);
    }
}
