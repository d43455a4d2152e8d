//! From what the runtime tells to metrics.

use crate::{
    hands::Hands,
    instruments::Instruments,
    latencies::Latencies,
    spans::Spans,
    words::{error_type, settle_error_type, verdict_name},
};
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
    /// Without it, nothing is traced.
    pub(crate) spans: Option<Spans>,
}

impl Observer for Recorder {
    fn received(&self, messages: &mut dyn ExactSizeIterator<Item = InHand<'_>>, waited: Duration) {
        self.instruments.consumed.add(messages.len() as u64);
        self.instruments.received.record(waited.as_secs_f64());
        match &self.spans {
            None => self.hands.take(messages.map(|message| message.hand_out)),
            Some(spans) => {
                let messages: Vec<_> = messages.collect();
                self.hands.take(messages.iter().map(|message| message.hand_out));
                spans.received(&messages, waited);
            }
        }
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
        Some(self.spans.as_ref()?.starting(messages))
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
            if let Some(spans) = &self.spans {
                spans.settled(&settling, took);
            }
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
        if let Some(spans) = &self.spans {
            spans.forgotten(hand_out);
        }
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
