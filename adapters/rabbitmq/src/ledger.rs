//! What is out on one channel, and which acks say so to the broker with the fewest frames.
//!
//! A channel numbers its deliveries 1, 2, 3, … An ack with `multiple` settles every number up to its
//! own. So a run of done numbers that begins at the lowest one still out goes by one frame, and what
//! is done above a gap by a frame each.
//!
//! ```text
//!   number   5     6     7     8     9
//!            done  done  out   done  out      ->  ack 6 (multiple), ack 8
//! ```
//!
//! The broker closes the channel when it is sent a number that is settled already, so every number
//! is sent once, and a `multiple` ends with one that the broker still knows.
//!
//! ```text
//!             hand_out            begin_copy
//!   Buffered ----------> Out(n) ------------> Copying
//!       ^                 | |  ^                |  |
//!       +---- take_back --+ |  +--- not copied -+  | copied
//!                           +------> Done <--------+
//!                                     | frames
//!                                     v
//!                                    gone
//! ```
//!
//! Only what is not gone is kept: one delivery that is out for hours, as a message that waits in key
//! order, costs its own room and not that of all that was settled after it.

use std::collections::BTreeMap;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// With the adapter.
    Buffered,
    /// With the worker, by its current turn.
    Out,
    /// Its copy is on the way.
    Copying,
    /// Settled here; the broker is to be told.
    Done,
}

/// What a receipt is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can be settled.
    Out,
    /// It is being settled.
    Copying,
    /// It has been, or belongs to an earlier turn.
    Stale,
}

/// An ack to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// Whether it settles all lower numbers, too.
    pub(crate) multiple: bool,
}

#[derive(Debug)]
struct Slot<T> {
    phase: Phase,
    /// How often it has been handed out and taken back.
    turn: u32,
    /// What a copy needs of the original; none once it is done.
    original: Option<Box<T>>,
}

/// The deliveries of one channel that the broker may still wait for.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    /// By number.
    slots: BTreeMap<u64, Slot<T>>,
    /// Done since the last frames, in any order.
    done: Vec<u64>,
    /// Handed out and not settled.
    out: usize,
    /// The newest number.
    last: u64,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), done: Vec::new(), out: 0, last: 0 }
    }
}

impl<T> Ledger<T> {
    /// A delivery has come.
    pub(crate) fn arrived(&mut self, tag: u64, original: T) {
        let original = Some(Box::new(original));
        self.last = tag;
        self.slots.insert(tag, Slot { phase: Phase::Buffered, turn: 0, original });
    }

    /// It goes to the worker.
    pub(crate) fn hand_out(&mut self, tag: u64) {
        if let Some(slot) = self.slots.get_mut(&tag)
            && slot.phase == Phase::Buffered
        {
            slot.phase = Phase::Out;
            self.out += 1;
        }
    }

    /// It comes back from the worker and will be handed out again; returns the number of its next
    /// turn.
    pub(crate) fn take_back(&mut self, tag: u64) -> u32 {
        let Some(slot) = self.slots.get_mut(&tag) else { return 0 };
        if slot.phase == Phase::Out {
            self.out -= 1;
        }
        slot.phase = Phase::Buffered;
        slot.turn = slot.turn.wrapping_add(1);
        slot.turn
    }

    /// What a receipt is worth now.
    pub(crate) fn standing(&self, tag: u64, turn: u32) -> Standing {
        match self.slots.get(&tag) {
            Some(Slot { phase: Phase::Out, turn: now, .. }) if *now == turn => Standing::Out,
            Some(Slot { phase: Phase::Copying, turn: now, .. }) if *now == turn => {
                Standing::Copying
            }
            _ => Standing::Stale,
        }
    }

    /// What came with a delivery.
    pub(crate) fn original(&self, tag: u64) -> Option<&T> {
        self.slots.get(&tag)?.original.as_deref()
    }

    /// What came with the oldest delivery that is here. What is out came before it, and ends by itself.
    pub(crate) fn oldest_here(&self) -> Option<&T> {
        let here = self.slots.values().find(|slot| slot.phase == Phase::Buffered)?;
        here.original.as_deref()
    }

    /// As [`Ledger::original`], to be changed.
    pub(crate) fn original_mut(&mut self, tag: u64) -> Option<&mut T> {
        self.slots.get_mut(&tag)?.original.as_deref_mut()
    }

    /// Its copy is on the way.
    pub(crate) fn begin_copy(&mut self, tag: u64) {
        if let Some(slot) = self.slots.get_mut(&tag) {
            slot.phase = Phase::Copying;
        }
    }

    /// Its copy did not arrive: it can be settled again.
    pub(crate) fn not_copied(&mut self, tag: u64) {
        if let Some(slot) = self.slots.get_mut(&tag)
            && slot.phase == Phase::Copying
        {
            slot.phase = Phase::Out;
        }
    }

    /// Settled: the broker is to be told by the next frames.
    pub(crate) fn done(&mut self, tag: u64) {
        let Some(slot) = self.slots.get_mut(&tag) else { return };
        match slot.phase {
            Phase::Out | Phase::Copying => self.out -= 1,
            Phase::Buffered => {}
            Phase::Done => return,
        }
        (slot.phase, slot.original) = (Phase::Done, None);
        self.done.push(tag);
    }

    /// The broker has been told by other means, as by a nack.
    pub(crate) fn gone(&mut self, tag: u64) {
        if let Some(slot) = self.slots.remove(&tag)
            && matches!(slot.phase, Phase::Out | Phase::Copying)
        {
            self.out -= 1;
        }
    }

    /// The acks that tell of all that has been done since they were last asked for. Send them in
    /// this order, before any other call.
    pub(crate) fn frames(&mut self, send: &mut impl FnMut(Ack)) {
        let (mut last, mut run) = (0, 0);
        while let Some(first) = self.slots.first_entry()
            && first.get().phase == Phase::Done
        {
            (last, run) = (*first.key(), run + 1);
            first.remove();
        }
        if run > 0 {
            send(Ack { tag: last, multiple: run > 1 });
        }
        let mut done = std::mem::take(&mut self.done);
        for tag in done.drain(..) {
            // Those below are in the run.
            if self.slots.get(&tag).is_some_and(|slot| slot.phase == Phase::Done) {
                self.slots.remove(&tag);
                send(Ack { tag, multiple: false });
            }
        }
        self.done = done;
        self.invariants();
    }

    /// How many have been done since the last frames.
    pub(crate) fn untold(&self) -> usize {
        self.done.len()
    }

    /// The number of the newest delivery; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How many the broker waits for.
    pub(crate) fn unacked(&self) -> usize {
        self.slots.len()
    }

    /// How many of those after this number the broker waits for.
    pub(crate) fn unacked_after(&self, tag: u64) -> usize {
        self.slots.range(tag.saturating_add(1)..).count()
    }

    /// Handed out and not settled.
    pub(crate) fn out(&self) -> usize {
        self.out
    }

    /// Whether a copy is on its way.
    pub(crate) fn is_copying(&self) -> bool {
        self.slots.values().any(|slot| slot.phase == Phase::Copying)
    }

    /// All that the broker has not been told of.
    pub(crate) fn originals(&self) -> impl Iterator<Item = &T> {
        self.slots.values().filter_map(|slot| slot.original.as_deref())
    }

    fn invariants(&self) {
        debug_assert_eq!(
            self.out,
            self.slots.values().filter(|s| matches!(s.phase, Phase::Out | Phase::Copying)).count()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(n: u64) -> Ledger<u64> {
        let mut ledger = Ledger::default();
        for tag in 1..=n {
            ledger.arrived(tag, tag);
            ledger.hand_out(tag);
        }
        ledger
    }

    fn frames(ledger: &mut Ledger<u64>) -> Vec<(u64, bool)> {
        let mut frames = Vec::new();
        ledger.frames(&mut |ack| frames.push((ack.tag, ack.multiple)));
        frames
    }

    #[test]
    fn a_run_from_the_lowest_goes_by_one_frame_and_the_rest_one_by_one() {
        let mut ledger = out(9);
        [5, 1, 2, 3, 7].into_iter().for_each(|tag| ledger.done(tag));
        assert_eq!(frames(&mut ledger), [(3, true), (5, false), (7, false)]);
        ledger.done(4);
        // 5 is known to the broker already, so the run ends with 4.
        assert_eq!(frames(&mut ledger), [(4, false)]);
        [9, 8, 6].into_iter().for_each(|tag| ledger.done(tag));
        assert_eq!(frames(&mut ledger), [(9, true)]);
        assert_eq!((ledger.out(), ledger.slots.len()), (0, 0));
    }

    #[test]
    fn a_multiple_never_ends_with_a_number_that_the_broker_has_forgotten() {
        let mut ledger = out(3);
        ledger.done(3);
        assert_eq!(frames(&mut ledger), [(3, false)]);
        ledger.done(1);
        ledger.gone(2);
        assert_eq!(frames(&mut ledger), [(1, false)]);
    }

    #[test]
    fn one_that_stays_out_does_not_keep_those_after_it() {
        let mut ledger = out(1);
        for tag in 2..10_000 {
            ledger.arrived(tag, tag);
            ledger.hand_out(tag);
            if tag % 2 == 0 {
                ledger.done(tag);
            } else {
                ledger.gone(tag);
            }
            frames(&mut ledger);
        }
        assert_eq!((ledger.out(), ledger.slots.len()), (1, 1));
        ledger.done(1);
        assert_eq!(frames(&mut ledger), [(1, false)]);
    }

    #[test]
    fn the_oldest_that_is_here_may_be_behind_others_that_are_out() {
        let mut ledger = out(2);
        assert_eq!(ledger.oldest_here(), None);
        (3..5).for_each(|tag| ledger.arrived(tag, tag));
        assert_eq!(ledger.oldest_here(), Some(&3));
        ledger.hand_out(3);
        assert_eq!(ledger.oldest_here(), Some(&4));
    }

    #[test]
    fn a_receipt_counts_once_and_only_in_its_turn() {
        let mut ledger = out(1);
        assert_eq!(ledger.standing(1, 0), Standing::Out);
        let turn = ledger.take_back(1);
        assert_eq!(
            (ledger.standing(1, 0), ledger.standing(1, turn)),
            (Standing::Stale, Standing::Stale)
        );
        ledger.hand_out(1);
        assert_eq!(
            (ledger.standing(1, 0), ledger.standing(1, turn)),
            (Standing::Stale, Standing::Out)
        );
        ledger.begin_copy(1);
        assert_eq!(ledger.standing(1, turn), Standing::Copying);
        ledger.not_copied(1);
        assert_eq!(ledger.standing(1, turn), Standing::Out);
        ledger.done(1);
        ledger.done(1);
        assert_eq!(ledger.standing(1, turn), Standing::Stale);
        assert_eq!(frames(&mut ledger), [(1, false)]);
        assert_eq!(ledger.standing(1, turn), Standing::Stale);
        assert_eq!(ledger.standing(0, 0), Standing::Stale);
    }

    /// Whatever the order, each number is settled at the broker exactly once.
    #[test]
    fn every_number_is_settled_once_in_any_order() {
        let mut dice = 1_u64;
        let mut roll = move |n: u64| {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % n
        };
        for _ in 0..200 {
            const N: u64 = 30;
            let mut ledger = out(N);
            let mut broker: std::collections::BTreeSet<u64> = (1..=N).collect();
            let mut left: Vec<u64> = (1..=N).collect();
            while !left.is_empty() {
                for _ in 0..=roll(4) {
                    if left.is_empty() {
                        break;
                    }
                    let at = usize::try_from(roll(left.len() as u64)).unwrap();
                    let tag = left.swap_remove(at);
                    if roll(5) == 0 {
                        ledger.gone(tag);
                        assert!(broker.remove(&tag));
                    } else {
                        ledger.done(tag);
                    }
                }
                for (tag, multiple) in frames(&mut ledger) {
                    assert!(broker.remove(&tag), "{tag} is not known any more");
                    if multiple {
                        broker.retain(|other| *other > tag);
                    }
                }
            }
            assert!(broker.is_empty(), "{broker:?}");
        }
    }
}
