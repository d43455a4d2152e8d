//! Finishing: what a handler came to becomes a verdict, and the verdict goes to the settler.

use super::{
    Ended, Finished, Held, Pump, Unit,
    lane::{Identity, LaneKeyRef},
};
use crate::{
    Invoke, clock,
    invoke::Called,
    observe::Ending,
    outbox::Ticket,
    settler::Gone,
    verdict::{Judgement, Outcome, comes_back, judge, words},
};
use forebay_contract::{Failure, Settlement, Source, SourceError, Verdict};
use forebay_policy::{After, FuseAnswer, FuseEvent, FuseState, Item, Moment, Signal};
use std::{
    mem,
    time::{Duration, SystemTime},
};

/// How long a message waits that the fuse kept from the dead letters.
const FUSE_HOLD: Duration = Duration::from_secs(1);

impl<S: Source, I: Invoke> Pump<S, I> {
    /// Takes in what a task reported.
    pub(super) fn finish_task(&mut self, finished: Finished) {
        if let Some(took) = finished.first_poll {
            self.hogs.polled(1, took, finished.ended);
        }
        let Some(running) = self.running.try_remove(finished.slot) else { return };
        let took = clock::moment(finished.ended).since(running.started);
        let called = match running.cancellation.is_cancelled() {
            true => forgive(finished.called),
            false => finished.called,
        };
        if running.lost && !matches!(called, Called::One(Outcome::Done)) {
            // Somebody else has the messages: no verdict of ours would count.
            self.signals.push(Ended::one(Signal::Neutral, running.generation));
            return self.forget(running.unit);
        }
        self.finish(running.unit, called, took, running.generation);
    }

    /// Judges a unit whose call has ended, and gives its permit back.
    pub(super) fn finish(
        &mut self,
        unit: Unit<S::Receipt>,
        called: Called,
        took: Duration,
        generation: u64,
    ) {
        self.observed.tell(|observer| observer.called(1, Ending::of_call(&called), took));
        let outcomes = match called {
            Called::One(outcome) => return self.finish_one(unit, outcome, took, generation),
            Called::Together(outcome) if unit.len() == 1 => {
                return self.finish_one(unit, outcome, took, generation);
            }
            Called::Each(outcomes) => outcomes,
            Called::Together(outcome) if can_split(&outcome) => {
                let signal = signal_of(&outcome, took);
                self.signals.push(Ended::one(signal, generation));
                return self.split(unit);
            }
            Called::Together(outcome) => unit.iter().map(|_| again(&outcome)).collect(),
        };
        let mut signal = Signal::Neutral;
        for (held, outcome) in unit.into_iter().zip(outcomes) {
            signal = worse(signal, self.conclude(held, outcome, took));
        }
        self.signals.push(Ended::one(signal, generation));
    }

    fn finish_one(
        &mut self,
        mut unit: Unit<S::Receipt>,
        outcome: Outcome,
        took: Duration,
        generation: u64,
    ) {
        let held = unit.pop().expect("a unit has at least one message");
        let signal = self.conclude(held, outcome, took);
        self.signals.push(Ended::one(signal, generation));
    }

    /// Halves a batch that failed as a whole; the halves run next, each as a call of its own.
    fn split(&mut self, mut unit: Unit<S::Receipt>) {
        // Nothing but a suspect, or nothing at all, may start: halves would wait for it, and it for
        // them.
        if self.caution.holds_others() || !self.drain.may_start() {
            return self.release(unit);
        }
        let second = unit.drain(unit.len() / 2..).collect();
        self.halves.push_front(second);
        self.halves.push_front(unit);
    }

    /// A handler did its work.
    #[inline]
    pub(super) fn done(&mut self, held: Held<S::Receipt>) {
        self.fuse_hears(FuseEvent::Success);
        self.judged(held, After::Next, Verdict::Ack);
    }

    fn conclude(&mut self, held: Held<S::Receipt>, outcome: Outcome, took: Duration) -> Signal {
        self.observed.tell(|observer| observer.handled(1, Ending::of(&outcome)));
        // The common case, without the wall clock and a random number that only failures need.
        if matches!(outcome, Outcome::Done) {
            self.done(held);
            return Signal::Success(took);
        }
        let (now, random) = (SystemTime::now(), self.random.u64(..));
        let Judgement { verdict, signal } =
            judge(outcome, took, &held.message, &self.settings.retry, now, random);
        let verdict = self.ask_fuse(verdict);
        self.settle(held, verdict);
        signal
    }

    /// A dead letter goes only where the fuse lets it: when nothing succeeds any more, it is not the
    /// messages' fault, and they are kept.
    pub(super) fn ask_fuse(&mut self, verdict: Verdict) -> Verdict {
        if !matches!(verdict, Verdict::DeadLetter { .. }) {
            return verdict;
        }
        let answer = self.fuse.ask(clock::now());
        self.fuse_hears(FuseEvent::DeadLetter);
        match answer {
            FuseAnswer::Allow => verdict,
            FuseAnswer::Hold => Verdict::Release { after: FUSE_HOLD },
        }
    }

    #[inline]
    fn fuse_hears(&mut self, event: FuseEvent) {
        // Successes on a sound fuse are the common case, and need no clock.
        if matches!(event, FuseEvent::Success) && self.fuse.note_success() {
            return;
        }
        if let Some(transition) = self.fuse.record(event, clock::now()) {
            tracing::warn!(worker = %self.shared.name, "dead-letter fuse: {transition}");
            self.look_again = true;
            self.shared.fuse_is(self.fuse.state() != FuseState::Intact);
        }
    }

    /// Puts a verdict into the outbox, and lets the message's lane go on.
    pub(super) fn settle(&mut self, held: Held<S::Receipt>, verdict: Verdict) {
        let after = match comes_back(&verdict) {
            true => After::Await(held.id()),
            false => After::Next,
        };
        self.judged(held, after, verdict);
    }

    #[inline]
    fn judged(&mut self, held: Held<S::Receipt>, after: After<Identity>, verdict: Verdict) {
        let Held { ticket, message, receipt, scope, lane } = held;
        if let Some(lane) = lane {
            self.lanes.done(lane, after, clock::now);
        }
        let ticket = Ticket { number: ticket, scope };
        self.outbox.push(Settlement { receipt, message, verdict }, ticket);
    }

    /// A hand-out that went back will not come again: its lane waits no longer.
    pub(super) fn gone(&mut self, gone: Gone) {
        let Gone { ticket, message } = gone;
        if let Some(key) = &message.key {
            let key = LaneKeyRef { scope: ticket.scope, key };
            self.lanes.forget(&key, |id| id.ticket == ticket.number);
        }
    }

    /// Gives messages back unhandled.
    pub(super) fn release(&mut self, unit: impl IntoIterator<Item = Held<S::Receipt>>) {
        for held in unit {
            self.settle(held, Verdict::Release { after: Duration::ZERO });
        }
    }

    /// Hands all that was judged in this round to the gate and to the settler.
    pub(super) fn flush(&mut self, now: Moment) {
        if !self.signals.is_empty() {
            self.gate.complete(&mut self.signals, now);
        }
        if !self.outbox.is_empty() {
            let empty = self.empties.try_recv().unwrap_or_default();
            let outbox = mem::replace(&mut self.outbox, empty);
            // A settler that gave up in a drain leaves the messages to come back by themselves. At any
            // other time its end is a defect, and without it no message ever gets out of hand.
            if self.settler.send(outbox).is_err() && self.drain.may_start() {
                self.drain.fail(SourceError::Fatal("the settler has ended".into()), now);
            }
        }
    }
}

/// What is called off is not at fault: only its success counts.
fn forgive(called: Called) -> Called {
    let forgive = |outcome| match outcome {
        Outcome::Done => Outcome::Done,
        _ => Outcome::Cancelled,
    };
    match called {
        Called::One(outcome) => Called::One(forgive(outcome)),
        Called::Each(outcomes) => Called::Each(outcomes.into_iter().map(forgive).collect()),
        Called::Together(outcome) => Called::Together(forgive(outcome)),
    }
}

/// Whether splitting can find a culprit: not when the system behind is overloaded, nor when the
/// batch was called off.
fn can_split(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(failure) => {
            !matches!(**failure, Failure::Throttled { .. } | Failure::Discard(_))
        }
        outcome => !matches!(outcome, Outcome::Cancelled),
    }
}

/// The same outcome for another message of a batch that cannot be split.
fn again(outcome: &Outcome) -> Outcome {
    let Outcome::Failed(failure) = outcome else { return Outcome::Cancelled };
    match &**failure {
        Failure::Throttled { after, error } => {
            Outcome::Failed(Box::new(Failure::throttled(words(error), *after)))
        }
        Failure::Discard(reason) => Outcome::Failed(Box::new(Failure::Discard(reason.clone()))),
        _ => Outcome::Cancelled,
    }
}

fn signal_of(outcome: &Outcome, took: Duration) -> Signal {
    match outcome {
        Outcome::TimedOut(_) => Signal::Failure(took),
        Outcome::Failed(failure) if matches!(**failure, Failure::Transient { .. }) => {
            Signal::Failure(took)
        }
        _ => Signal::Neutral,
    }
}

/// Which of two signals speaks louder for a whole batch.
fn worse(a: Signal, b: Signal) -> Signal {
    let rank = |signal| match signal {
        Signal::Neutral => 0,
        Signal::Success(_) => 1,
        Signal::Failure(_) => 2,
        Signal::Backpressure => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}
