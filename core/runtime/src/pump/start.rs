//! Starting: what is ready goes through the gate, and its handler is called (`call.rs`).

use super::{Pump, Unit, call::Round};
use crate::Invoke;
use forebay_contract::Source;
use forebay_policy::{Admission, Moment};
use smallvec::smallvec;

impl<S: Source, I: Invoke> Pump<S, I> {
    /// Starts what is ready, as far as the gate allows. Returns whether there was no time for more,
    /// though the gate would let it through.
    pub(super) fn start_ready(&mut self, now: Moment) -> bool {
        self.gate_again_at = Moment::NEVER;
        self.refused = false;
        self.look_again = false;
        let more = if !self.drain.may_start() {
            false
        } else if self.caution.holds_others() {
            self.start_suspect(now);
            false
        } else if self.batcher.is_some() {
            self.start_batches(now)
        } else {
            self.start_singles(now)
        };
        more || self.look_again
    }

    fn start_singles(&mut self, now: Moment) -> bool {
        let mut round = Round::new(0, &self.hogs);
        self.call_singles(&mut round, now);
        !self.refused && self.lanes.ready_len() > 0
    }

    fn start_batches(&mut self, now: Moment) -> bool {
        let mut round = Round::new(0, &self.hogs);
        while round.goes_on() {
            let Some((unit, generation)) = self.next_batch(now) else { return false };
            round.generation = generation;
            self.call_batch(unit, &mut round);
        }
        true
    }

    /// The next batch that is to go, with its permit, and the generation of that: half of one that
    /// failed, or a new one.
    fn next_batch(&mut self, now: Moment) -> Option<(Unit<S::Receipt>, u64)> {
        if let Some(half) = self.halves.pop_front() {
            let (granted, generation) = self.admit_batch(half.len(), now);
            return Some((self.first_of(half, granted)?, generation));
        }
        self.fill_batch(now);
        if !self.batcher.as_ref().is_some_and(|batcher| batcher.should_close(now)) {
            return None;
        }
        let (granted, generation) = self.admit_batch(self.forming.len(), now);
        if granted == 0 {
            return None;
        }
        let unit = self.forming.drain(..granted).collect();
        self.restart_batch(now);
        Some((unit, generation))
    }

    /// As much of a half as was granted; the rest stays a half.
    fn first_of(&mut self, mut half: Unit<S::Receipt>, granted: usize) -> Option<Unit<S::Receipt>> {
        let rest: Unit<_> = half.drain(granted..).collect();
        if !rest.is_empty() {
            self.halves.push_front(rest);
        }
        (!half.is_empty()).then_some(half)
    }

    fn fill_batch(&mut self, now: Moment) {
        let Some(batcher) = &mut self.batcher else { return };
        while !batcher.is_full() {
            let Some((lane, mut held)) = self.lanes.pop() else { return };
            let size = held.message.size();
            if !self.forming.is_empty() && !batcher.fits(size) {
                self.lanes.unpop(lane, held);
                batcher.close();
                return;
            }
            held.lane = Some(lane);
            batcher.push(size, now);
            self.forming.push(held);
        }
    }

    /// Counts what is still in the forming batch afresh.
    pub(super) fn restart_batch(&mut self, now: Moment) {
        let Some(batcher) = &mut self.batcher else { return };
        batcher.clear();
        for held in &self.forming {
            batcher.push(held.message.size(), now);
        }
    }

    /// A suspect starts when nothing else is in hand, so that what happens next is its own doing.
    fn start_suspect(&mut self, now: Moment) {
        if self.window.used() > 1 || !self.caution.is_waiting() {
            return;
        }
        let (granted, generation) = self.admit(1, now);
        if granted > 0
            && let Some(suspect) = self.caution.launch()
        {
            let mut round = Round::new(generation, &self.hogs);
            self.call_batch(smallvec![suspect], &mut round);
        }
    }

    /// For how many of `want` single messages there are permits, and the generation of those.
    pub(super) fn admit(&mut self, want: usize, now: Moment) -> (usize, u64) {
        let gate = self.gate.clone();
        self.admit_by(want, now, |want| gate.admit(want, now))
    }

    /// A permit for one call, and for how many messages of up to `want`.
    fn admit_batch(&mut self, want: usize, now: Moment) -> (usize, u64) {
        let gate = self.gate.clone();
        self.admit_by(want, now, |want| gate.admit_batch(want, now))
    }

    /// The lesser of what the gate and the fuse allow.
    fn admit_by(
        &mut self,
        want: usize,
        now: Moment,
        gate: impl Fn(u32) -> (Admission, u64),
    ) -> (usize, u64) {
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        if want == 0 {
            return (0, 0);
        }
        if self.shared.is_paused() {
            self.refused = true;
            return (0, 0);
        }
        let fuse = self.fuse.admit(want, now);
        let (granted, generation) = match fuse.granted {
            0 => (Admission::none_until(fuse.again_at), 0),
            probed => gate(probed),
        };
        if granted.granted == 0 && fuse.granted > 0 {
            self.fuse.give_back(now);
        }
        if granted.granted < want {
            let again_at = fuse.again_at.min(granted.again_at);
            self.gate_again_at = self.gate_again_at.min(again_at);
            self.refused = true;
            self.observed.tell(|observer| observer.refused(want - granted.granted));
        }
        (granted.granted as usize, generation)
    }
}
