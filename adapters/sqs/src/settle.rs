//! Carrying out verdicts: what is done is deleted, what is to come back is hidden for its delay, what
//! is dead is sent to the dead letters, confirmed there, and then deleted.
//!
//! | verdict | call | the hand-out is over when |
//! |---|---|---|
//! | ack, drop | DeleteMessageBatch | it is confirmed |
//! | retry, postpone, release | ChangeMessageVisibilityBatch | it is confirmed |
//! | the same of a message that is worn by receives | SendMessageBatch, then DeleteMessageBatch | both are |
//! | dead letter | SendMessageBatch, then DeleteMessageBatch | both are |
//!
//! All of it runs in a task of its own, one batch of verdicts after the other. So a caller that goes
//! away does not leave a send half-way, and one that comes again finds what became of it.

use crate::{
    Fault, Receipt,
    api::Send,
    core::{Core, seconds},
    handout::{Handout, Phase},
    letter,
    memo::Note,
    options::LONGEST_HOLD,
};
use forebay_contract::{History, SettleError, Settled, Settlement, Verdict};
use std::{
    mem::discriminant,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The answer to one settlement.
pub(crate) type Answer = Result<Settled, SettleError>;

/// What the verdicts of a batch ask for. Numbers are places in the batch.
#[derive(Default)]
struct Plan {
    answers: Vec<Option<Answer>>,
    delete: Vec<usize>,
    hide: Vec<(usize, Duration)>,
    refresh: Vec<(usize, Duration)>,
    bury: Vec<usize>,
    /// The same hand-out once more, and where it came first.
    again: Vec<(usize, usize)>,
}

impl Plan {
    fn of(batch: &[Settlement<Receipt>]) -> Self {
        // Of all settling in this process: a hand-out that carries it is in this batch already.
        static ROUNDS: AtomicU64 = AtomicU64::new(1);
        let mut plan = Self { answers: batch.iter().map(|_| None).collect(), ..Self::default() };
        let (now, round) = (Instant::now(), ROUNDS.fetch_add(1, Ordering::Relaxed));
        for (i, Settlement { receipt, verdict, .. }) in batch.iter().enumerate() {
            let phase = match receipt.0.planned(now, round, i) {
                Ok(phase) => phase,
                Err(before) => {
                    plan.again.push((i, before));
                    continue;
                }
            };
            match (phase, verdict) {
                (Phase::Done(kind), verdict) if kind == discriminant(verdict) => {
                    plan.answers[i] = Some(Ok(Settled::Durable));
                }
                (Phase::Done(_) | Phase::Lost, _) => {
                    plan.answers[i] = Some(Err(SettleError::Stale));
                }
                (Phase::Copied, _) | (_, Verdict::Ack | Verdict::Drop(_)) => plan.delete.push(i),
                (_, Verdict::DeadLetter { .. }) => plan.bury.push(i),
                (
                    _,
                    Verdict::Retry { after, .. }
                    | Verdict::Postpone { after, .. }
                    | Verdict::Release { after },
                ) if receipt.0.worn.is_some() => plan.refresh.push((i, *after)),
                (
                    _,
                    Verdict::Retry { after, .. }
                    | Verdict::Postpone { after, .. }
                    | Verdict::Release { after },
                ) => plan.hide.push((i, *after)),
            }
        }
        plan
    }
}

impl Core {
    /// Carries out verdicts. Result `i` answers `batch[i]`.
    pub(crate) async fn settle(&self, batch: Vec<Settlement<Receipt>>) -> Vec<Answer> {
        let only_removes = batch.iter().all(|settlement| settlement.verdict.only_removes());
        let turn = if only_removes { &self.removing } else { &self.settling };
        let _one_at_a_time = turn.lock().await;
        if self.inbox.is_closed() {
            return batch.iter().map(|_| Err(SettleError::Stale)).collect();
        }
        let mut plan = Plan::of(&batch);
        let (deleted, hidden, refreshed, buried) = tokio::join!(
            self.delete(&batch, &plan.delete),
            self.hide(&batch, &plan.hide),
            self.refresh(&batch, &plan.refresh),
            self.bury(&batch, &plan.bury),
        );
        let returning = plan.hide.iter().chain(&plan.refresh).map(|(i, _)| i);
        let places = plan.delete.iter().chain(returning).chain(&plan.bury);
        let now = Instant::now();
        let mut returned = Vec::new();
        for (&i, outcome) in
            places.zip(deleted.into_iter().chain(hidden).chain(refreshed).chain(buried))
        {
            plan.answers[i] = Some(self.answer(&batch[i], outcome, now, &mut returned));
        }
        // Verdicts on one hand-out: the first holds, and others of its kind are the same.
        for (i, before) in plan.again {
            let same = discriminant(&batch[i].verdict) == discriminant(&batch[before].verdict);
            plan.answers[i] = Some(match &plan.answers[before] {
                Some(Ok(settled)) if same => Ok(*settled),
                Some(Err(SettleError::Unavailable(error))) => {
                    Err(SettleError::Unavailable(error.to_string().into()))
                }
                _ => Err(SettleError::Stale),
            });
        }
        self.give_back(returned).await;
        plan.answers.into_iter().map(|answer| answer.unwrap_or(Err(SettleError::Stale))).collect()
    }

    /// Notes what became of one settlement, and what of its group is to be given back.
    fn answer(
        &self,
        settlement: &Settlement<Receipt>,
        outcome: Result<(), Fault>,
        now: Instant,
        returned: &mut Vec<Arc<Handout>>,
    ) -> Answer {
        let Settlement { receipt: Receipt(handout), verdict, .. } = settlement;
        match outcome {
            // Confirmed, but after our time was over: SQS may have handed it out again before.
            Ok(()) if !handout.is_ours(now) => {
                returned.extend(self.inbox.settled(handout, false));
                Err(SettleError::Stale)
            }
            Ok(()) => {
                handout.done(verdict);
                let gone =
                    matches!(verdict, Verdict::Ack | Verdict::Drop(_) | Verdict::DeadLetter { .. });
                if gone {
                    self.memo.forget(&handout.message_id);
                }
                returned.extend(self.inbox.settled(handout, gone));
                Ok(Settled::Durable)
            }
            Err(fault) => {
                let error = fault.settling();
                if matches!(error, SettleError::Stale | SettleError::Refused(_)) {
                    if matches!(error, SettleError::Stale) {
                        handout.lose();
                    }
                    returned.extend(self.inbox.settled(handout, false));
                }
                Err(error)
            }
        }
    }

    async fn delete(
        &self,
        batch: &[Settlement<Receipt>],
        places: &[usize],
    ) -> Vec<Result<(), Fault>> {
        let handles: Vec<_> = places.iter().map(|&i| &*batch[i].receipt.0.handle).collect();
        self.api.delete(&handles).await
    }

    pub(crate) async fn hide(
        &self,
        batch: &[Settlement<Receipt>],
        places: &[(usize, Duration)],
    ) -> Vec<Result<(), Fault>> {
        let now = Instant::now();
        let changes: Vec<_> = places
            .iter()
            .map(|(i, after)| {
                let handout = &batch[*i].receipt.0;
                let secs = seconds(*after).min(self.room(handout, now));
                // Noted first: the message may be received again before the answer is here. Settled
                // again, the same is noted again.
                self.remember(&batch[*i], now + Duration::from_secs(secs.unsigned_abs().into()));
                (&*handout.handle, secs)
            })
            .collect();
        self.api.hide(&changes).await
    }

    /// For how many seconds more SQS would hide a message.
    pub(crate) fn room(&self, handout: &Handout, now: Instant) -> i32 {
        let held = now.saturating_duration_since(handout.asked) + Duration::from_secs(1);
        i32::try_from(LONGEST_HOLD.saturating_sub(held).as_secs()).unwrap_or(0)
    }

    /// Notes what SQS cannot: the failure, and whether it counts.
    fn remember(&self, settlement: &Settlement<Receipt>, due: Instant) {
        let Settlement { receipt: Receipt(handout), message, verdict } = settlement;
        let (uncharged, failures) = (handout.uncharged, handout.failures);
        let noted = |note| Some(message.history.with(Clone::clone(note)));
        let note = match verdict {
            Verdict::Retry { note, .. } => {
                Note { history: noted(note), uncharged, failures: failures + 1, due: Some(due) }
            }
            Verdict::Postpone { note, .. } => {
                Note { history: noted(note), uncharged: uncharged + 1, failures, due: Some(due) }
            }
            _ => {
                let known = message.history != History::new();
                let history = known.then(|| message.history.clone());
                Note { history, uncharged: uncharged + 1, failures, due: Some(due) }
            }
        };
        self.memo.note(&handout.message_id, note);
    }

    /// Sends dead letters, and deletes the messages of those that are confirmed.
    pub(crate) async fn bury(
        &self,
        batch: &[Settlement<Receipt>],
        places: &[usize],
    ) -> Vec<Result<(), Fault>> {
        if places.is_empty() {
            return Vec::new();
        }
        let letters: Vec<Send> = places
            .iter()
            .map(|&i| letter::dead(&batch[i], self.api.name(), self.max_message, self.fifo))
            .collect();
        let sent = self.dead.send_all(&letters, self.max_message, false).await;
        let mut handles = Vec::with_capacity(places.len());
        for (&i, sent) in places.iter().zip(&sent) {
            if sent.is_ok() {
                batch[i].receipt.0.copied();
                handles.push(&*batch[i].receipt.0.handle);
            }
        }
        let mut deleted = self.api.delete(&handles).await.into_iter();
        let next =
            |sent: Result<String, Fault>| sent.and_then(|_| deleted.next().unwrap_or(Ok(())));
        sent.into_iter().map(next).collect()
    }
}
