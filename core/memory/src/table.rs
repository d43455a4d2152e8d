//! Where the messages are: a table of slots, whose receipts go stale by themselves.
//!
//! A receipt names a slot and an epoch. Each end of a hand-out, whatever ends it, raises the slot's
//! epoch, so an old receipt is recognised without remembering anything about it. Slots are reused:
//! a run of any length needs memory only for what is in the queue at one time.

use crate::lines::LineId;
use forebay_contract::Message;
use std::sync::Arc;
use tokio::time::Instant;

/// Settles one hand-out of a [`MemorySource`](crate::MemorySource).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryReceipt {
    pub(crate) slot: u32,
    epoch: u32,
}

/// Which worker; never used again.
pub(crate) type WorkerId = u32;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its time has not come.
    Delayed,
    /// Due; handed out as soon as it is its turn.
    Waiting,
    /// In the hands of a worker, until then if that is set.
    Out { worker: WorkerId, expires: Option<Instant> },
}

/// A message in the queue.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it will be handed out, or was.
    pub(crate) message: Arc<Message>,
    /// Its place in the order of publishing; a redriven message gets a new one.
    pub(crate) seq: u64,
    /// The line of its key, where there is order.
    pub(crate) line: Option<LineId>,
    /// The template that a replayed message was made from.
    pub(crate) template: Option<u32>,
    /// When it is, or was, to be handed out.
    pub(crate) due: Instant,
    pub(crate) place: Place,
}

#[derive(Debug, Default)]
struct Slot {
    epoch: u32,
    entry: Option<Entry>,
}

/// All messages that are not settled for good.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Table {
    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].entry = Some(entry);
            return slot;
        }
        self.slots.push(Slot { epoch: 0, entry: Some(entry) });
        u32::try_from(self.slots.len() - 1).expect("four billion messages do not fit into memory")
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.entry.as_mut()
    }

    /// The receipt of the current hand-out of this slot.
    pub(crate) fn receipt(&self, slot: u32) -> MemoryReceipt {
        MemoryReceipt { slot, epoch: self.slots[slot as usize].epoch }
    }

    /// The hand-out, if it is still the current one, and this worker's.
    pub(crate) fn held(&mut self, receipt: MemoryReceipt, id: WorkerId) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(receipt.slot as usize)?;
        let entry = slot.entry.as_mut()?;
        let ours = matches!(entry.place, Place::Out { worker, .. } if worker == id);
        (slot.epoch == receipt.epoch && ours).then_some(entry)
    }

    /// Ends the hand-out: its receipt is stale from here on.
    pub(crate) fn end_hand_out(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        slot.epoch = slot.epoch.wrapping_add(1);
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.entry.take()?;
        self.free.push(slot);
        Some(entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots and their messages, in no useful order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..).zip(&self.slots).filter_map(|(i, slot)| Some((i, slot.entry.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut())
    }

    /// The slots that a worker holds.
    pub(crate) fn held_by(&self, worker: WorkerId) -> Vec<u32> {
        let holds =
            |entry: &Entry| matches!(entry.place, Place::Out { worker: w, .. } if w == worker);
        self.iter().filter(|(_, entry)| holds(entry)).map(|(slot, _)| slot).collect()
    }
}
