//! From what the runtime tells to metrics.

use crate::{hands::Hands, instruments::Instruments, latencies::Latencies};
use forebay::{Ending, InHand, ObservedCall, Observer, SettleError, Settling, Starting, Verdict};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Writes down what the runtime tells.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) instruments: Instruments,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) hands: Hands,
}

impl Observer for Recorder {
    fn received(&self, messages: &mut dyn ExactSizeIterator<Item = InHand<'_>>, waited: Duration) {
        self.instruments.consumed.add(messages.len() as u64);
        self.instruments.received.record(waited.as_secs_f64());
        self.hands.take(messages.map(|message| message.hand_out));
    }

    fn refused(&self, messages: u32) {
        self.instruments.refused.add(u64::from(messages));
    }

    fn starting(&self, messages: &[Starting<'_>]) -> Option<Box<dyn ObservedCall>> {
        for starting in messages {
            self.instruments.wait.record(starting.waited.as_secs_f64());
        }
        if messages.iter().any(|starting| starting.message.enqueued_at.is_some()) {
            let now = SystemTime::now();
            // A broker whose clock is ahead has enqueued it just now.
            let age = |at| now.duration_since(at).unwrap_or_default().as_secs_f64();
            let ages = messages.iter().filter_map(|starting| starting.message.enqueued_at).map(age);
            ages.for_each(|age| self.instruments.age.record(age));
        }
        self.latencies.waited(messages.iter().map(|starting| starting.waited));
        None
    }

    fn called(&self, calls: u32, ending: Ending, took: Duration) {
        let seconds = took.as_secs_f64();
        for _ in 0..calls {
            match error_type(ending) {
                None => self.instruments.processed.record(seconds),
                Some(error) => self.instruments.failed_call(seconds, error),
            }
        }
        self.latencies.handled(calls, took);
    }

    fn handled(&self, messages: u32, ending: Ending) {
        match ending {
            Ending::Done => self.instruments.done.add(u64::from(messages)),
            ending => self.instruments.handled(u64::from(messages), ending.as_str()),
        }
    }

    fn settled(&self, batch: &mut dyn ExactSizeIterator<Item = Settling<'_>>, took: Duration) {
        let (mut acked, mut failure) = (0, None);
        let mut over = Vec::with_capacity(batch.len());
        for settling in batch {
            let last_word = !matches!(settling.error, Some(SettleError::Unavailable(_)));
            if last_word {
                over.push(settling.hand_out);
            }
            match (settling.error, settling.verdict) {
                (None, Verdict::Ack) => acked += 1,
                (None, verdict) => self.other_verdict(verdict),
                (Some(error), _) => {
                    let error = settle_error_type(error);
                    failure = Some(error);
                    self.instruments.settle_error(error);
                }
            }
        }
        self.instruments.acked.add(acked);
        self.instruments.operation("settle", took.as_secs_f64(), failure);
        self.instruments.settled_twice.add(self.hands.leave(over.into_iter()));
    }

    fn forgotten(&self, hand_out: u64) {
        self.instruments.settled_twice.add(self.hands.leave([hand_out].into_iter()));
    }

    fn extended(&self, extended: usize, failed: usize) {
        self.instruments.extended.add(extended as u64);
        if failed > 0 {
            self.instruments.not_extended(failed as u64);
        }
    }
}

impl Recorder {
    fn other_verdict(&self, verdict: &Verdict) {
        self.instruments.settled(verdict_name(verdict));
        if let Verdict::DeadLetter { reason, .. } = verdict {
            self.instruments.dead(reason.as_str());
        }
    }
}

/// What `error.type` says of a call; nothing where nothing has failed.
pub(crate) fn error_type(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Done | Ending::Discarded => None,
        ending => Some(ending.as_str()),
    }
}

fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ack => "ack",
        Verdict::Retry { .. } => "retry",
        Verdict::Postpone { .. } => "postpone",
        Verdict::Release { .. } => "release",
        Verdict::DeadLetter { .. } => "dead_letter",
        Verdict::Drop(_) => "drop",
    }
}

fn settle_error_type(error: &SettleError) -> &'static str {
    match error {
        SettleError::Unavailable(_) => "unavailable",
        SettleError::Stale => "stale",
        SettleError::Refused(_) => "refused",
        _ => "_OTHER",
    }
}
