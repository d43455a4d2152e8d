//! What is done with messages that are worn by many receives (see `wear`): given back, they go as a fresh
//! copy; those that seem to kill their workers become dead letters.
//!
//! The copy is confirmed before the original is deleted. A crash between the two leaves both, as with
//! a dead letter. Where a copy is not possible (no right to send, no room for its state) the message is
//! hidden as any other.

use crate::{
    Fault, Receipt,
    core::{Core, Fate, seconds},
    handout::Handout,
    inbox::Held,
    letter,
    memo::Note,
};
use forebay_contract::{DeadReason, FailureKind, FailureNote, Settlement, Verdict};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

impl Core {
    /// Replaces messages by fresh copies, which come after their delay.
    pub(crate) async fn refresh(
        &self,
        batch: &[Settlement<Receipt>],
        places: &[(usize, Duration)],
    ) -> Vec<Result<(), Fault>> {
        if places.is_empty() {
            return Vec::new();
        }
        let now = SystemTime::now();
        let (mut copies, mut copied, mut in_place) = (Vec::new(), Vec::new(), Vec::new());
        for (place, &(i, after)) in places.iter().enumerate() {
            let Settlement { receipt: Receipt(handout), message, verdict } = &batch[i];
            let types = handout.types.as_ref();
            match letter::fresh(message, types, verdict, now, self.max_message) {
                Some(copy) => {
                    copies.push(copy);
                    copied.push((place, i, after));
                }
                None => in_place.push((place, (i, after))),
            }
        }
        let mut answers: Vec<Result<(), Fault>> = places.iter().map(|_| Ok(())).collect();
        let sent = self.api.send_all(&copies, self.max_message, false).await;
        let (mut handles, mut gone) = (Vec::new(), Vec::new());
        for ((place, i, after), sent) in copied.into_iter().zip(sent) {
            let handout = &batch[i].receipt.0;
            match sent {
                Ok(_) => {
                    handout.copied();
                    self.memo.forget(&handout.message_id);
                    handles.push(&*handout.handle);
                    gone.push(place);
                }
                Err(fault) if is_lasting(&fault) => {
                    tracing::warn!(
                        queue = %self.api.name(), message = %handout.message_id,
                        "it has been received often, and cannot be replaced by a fresh copy: {fault}"
                    );
                    in_place.push((place, (i, after)));
                }
                Err(fault) => answers[place] = Err(fault),
            }
        }
        let (slots, hides): (Vec<_>, Vec<_>) = in_place.into_iter().unzip();
        let (deleted, hidden) = tokio::join!(self.api.delete(&handles), self.hide(batch, &hides));
        let outcomes = gone.into_iter().zip(deleted).chain(slots.into_iter().zip(hidden));
        for (place, outcome) in outcomes {
            answers[place] = outcome;
        }
        answers
    }

    /// Replaces those that are worn, of messages that are given back unhandled; returns the others.
    pub(crate) async fn refresh_worn(&self, handouts: Vec<Arc<Handout>>) -> Vec<Arc<Handout>> {
        let (worn, others): (Vec<_>, Vec<_>) =
            handouts.into_iter().partition(|handout| handout.worn.is_some());
        let release = Verdict::Release { after: Duration::ZERO };
        let releases = worn.into_iter().filter_map(|handout| {
            let message = handout.worn.clone()?;
            Some(Settlement { receipt: Receipt(handout), message, verdict: release.clone() })
        });
        let batch: Vec<_> = releases.collect();
        let places: Vec<_> = (0..batch.len()).map(|i| (i, Duration::ZERO)).collect();
        let answers = self.refresh(&batch, &places).await;
        if let Some(fault) = answers.into_iter().find_map(Result::err) {
            tracing::debug!(
                queue = %self.api.name(),
                "messages could not be given back, and come when their leases end: {fault}"
            );
        }
        others
    }

    /// Puts messages aside that are not to be handed out: copies that are not due are hidden for the
    /// rest of their delay, and what kills its workers becomes a dead letter. What of `came` would
    /// overtake one of its group is given back.
    pub(crate) async fn set_aside(&self, odd: Vec<(Held, Fate)>, came: &mut Vec<Held>) {
        let (mut hides, mut killers) = (Vec::new(), Vec::new());
        for (held, fate) in odd {
            match fate {
                Fate::Ready => came.push(held),
                Fate::Early(left) => hides.push((held.receipt.0, left)),
                Fate::Killer { receives, unexplained } => {
                    killers.push(self.killer(held, receives, unexplained));
                }
            }
        }
        self.hide_early(hides).await;
        let places: Vec<_> = (0..killers.len()).collect();
        let buried = self.bury(&killers, &places).await;
        let mut blocked = HashSet::new();
        for (Settlement { receipt: Receipt(handout), verdict, .. }, outcome) in
            killers.into_iter().zip(buried)
        {
            match outcome {
                Ok(()) => {
                    handout.done(&verdict);
                    self.memo.forget(&handout.message_id);
                }
                Err(fault) => {
                    tracing::warn!(
                        queue = %self.api.name(), message = %handout.message_id,
                        "it seems to kill its workers and could not become a dead letter; it comes \
                         again when its lease ends: {fault}"
                    );
                    blocked.extend(handout.group.clone());
                }
            }
        }
        if !blocked.is_empty() {
            let behind = |held: &Held| {
                held.receipt.0.group.as_ref().is_some_and(|group| blocked.contains(group))
            };
            let (behind, others): (Vec<_>, Vec<_>) = came.drain(..).partition(behind);
            *came = others;
            self.give_back(behind.into_iter().map(|held| held.receipt.0).collect()).await;
        }
    }

    /// The verdict on a message that was received so often without any.
    fn killer(&self, held: Held, receives: u32, unexplained: u32) -> Settlement<Receipt> {
        let why = format!(
            "it was received {receives} times, and of {unexplained} of these no verdict is known: it \
             seems to kill its workers"
        );
        tracing::warn!(queue = %self.api.name(), id = %held.message.id, "{why}: a dead letter");
        let note = FailureNote::new(FailureKind::Interrupted, why, SystemTime::now());
        let verdict = Verdict::DeadLetter { reason: DeadReason::KilledWorker, note };
        Settlement { receipt: held.receipt, message: held.message, verdict }
    }

    /// Hides copies for what is left of their delay.
    async fn hide_early(&self, early: Vec<(Arc<Handout>, Duration)>) {
        if early.is_empty() {
            return;
        }
        let now = Instant::now();
        let hides = early.iter().map(|(handout, left)| {
            let due = Some(now + *left);
            self.memo.note(&handout.message_id, Note { due, ..self.uncharged(handout) });
            (handout.handle.clone(), seconds(*left).min(self.room(handout, now)))
        });
        let hides: Vec<_> = hides.collect();
        if let Some(fault) = self.api.hide(&hides).await.into_iter().find_map(Result::err) {
            tracing::debug!(
                queue = %self.api.name(),
                "copies that are not due come again when their leases end: {fault}"
            );
        }
    }
}

/// Whether the same would fail in the same way again.
fn is_lasting(fault: &Fault) -> bool {
    matches!(fault, Fault::Denied { .. } | Fault::Invalid { .. } | Fault::Missing { .. })
}
