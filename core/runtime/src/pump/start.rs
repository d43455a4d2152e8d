//! Starting: what is ready goes through the gate, and its handler is called.
//!
//! A handler is polled once right here. If it finishes, that was all: no task, no timer, no wake-up.
//! If it waits, it becomes a task, with its timeout and its cancellation around it.
//!
//! The danger of polling inline is a handler that computes, or blocks, instead of waiting: all
//! others would wait for it. So the first poll is timed, and hogs are noticed (`hogs.rs`); after one,
//! handlers are started as tasks, unpolled, for a while.

use super::{Finished, Held, Pump, Running, Unit};
use crate::{Cancellation, Invoke, clock, invoke::Called, job::Context, verdict::Outcome};
use forebay_contract::Source;
use forebay_policy::{Admission, Moment};
use smallvec::smallvec;
use std::{
    future::Future,
    pin::Pin,
    task::{Poll, Waker},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How many calls are started between two looks at everything else, at most.
const BURST: usize = 32;
/// How long a round of inline calls may go on before everything else is looked at.
const ROUND: Duration = Duration::from_micros(500);
/// How long a handler that has been called off may go on, to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// Cancellations kept for reuse; more were never out at once without waiting.
const SPARE: usize = BURST;

/// A call that has been made and not polled.
struct Start<R> {
    unit: Unit<R>,
    generation: u64,
    at: Instant,
    cancellation: Cancellation,
}

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
        let want = self.lanes.ready_len().min(BURST);
        let mut granted = self.admit(want, now);
        let all = granted == want;
        let generation = self.gate.generation();
        let mut spare = None;
        let mut at = Instant::now();
        let end = at + ROUND;
        while granted > 0 && at < end {
            let Some((lane, mut held)) = self.lanes.pop() else { break };
            held.lane = Some(lane);
            granted -= 1;
            let (start, call) = self.call(smallvec![held], generation, at);
            at = self.launch(start, call, &mut spare);
        }
        self.gate.give_back(granted);
        all && self.lanes.ready_len() > 0
    }

    fn start_batches(&mut self, now: Moment) -> bool {
        let mut spare = None;
        let mut at = Instant::now();
        let end = at + ROUND;
        while at < end {
            let Some(unit) = self.next_batch(now) else { return false };
            let (start, call) = self.call(unit, self.gate.generation(), at);
            at = self.launch(start, call, &mut spare);
        }
        true
    }

    /// The next batch that is to go, with its permit: half of one that failed, or a new one.
    fn next_batch(&mut self, now: Moment) -> Option<Unit<S::Receipt>> {
        if let Some(half) = self.halves.pop_front() {
            let granted = self.admit_batch(half.len(), now);
            return self.first_of(half, granted);
        }
        self.fill_batch(now);
        if !self.batcher.as_ref().is_some_and(|batcher| batcher.should_close(now)) {
            return None;
        }
        let granted = self.admit_batch(self.forming.len(), now);
        if granted == 0 {
            return None;
        }
        let unit = self.forming.drain(..granted).collect();
        self.restart_batch(now);
        Some(unit)
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
        if self.window.used() > 1 || !self.caution.is_waiting() || self.admit(1, now) == 0 {
            return;
        }
        if let Some(suspect) = self.caution.launch() {
            let generation = self.gate.generation();
            let (start, call) = self.call(smallvec![suspect], generation, Instant::now());
            self.launch(start, call, &mut None);
        }
    }

    fn admit(&mut self, want: usize, now: Moment) -> usize {
        let gate = self.gate.clone();
        self.admit_by(want, now, |want| gate.admit(want, now))
    }

    /// One call for up to `want` messages. Returns for how many.
    fn admit_batch(&mut self, want: usize, now: Moment) -> usize {
        let gate = self.gate.clone();
        self.admit_by(want, now, |want| gate.admit_batch(want, now))
    }

    /// The lesser of what the gate and the fuse allow.
    fn admit_by(&mut self, want: usize, now: Moment, gate: impl Fn(u32) -> Admission) -> usize {
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        if want == 0 {
            return 0;
        }
        if self.shared.is_paused() {
            self.refused = true;
            return 0;
        }
        let fuse = self.fuse.admit(want, now);
        let granted = match fuse.granted {
            0 => Admission::none_until(fuse.again_at),
            probed => gate(probed),
        };
        if granted.granted == 0 && fuse.granted > 0 {
            self.fuse.give_back(now);
        }
        if granted.granted < want {
            let again_at = fuse.again_at.min(granted.again_at);
            self.gate_again_at = self.gate_again_at.min(again_at);
            self.refused = true;
        }
        granted.granted as usize
    }

    /// Makes the call for one unit that has its permit; nothing of the handler has run yet.
    fn call(
        &mut self,
        unit: Unit<S::Receipt>,
        generation: u64,
        at: Instant,
    ) -> (Start<S::Receipt>, impl Future<Output = Called> + Send + 'static + use<S, I>) {
        let cancellation = self.cancellations.pop().unwrap_or_default();
        let context = |held: &Held<S::Receipt>| Context {
            message: held.message.clone(),
            started: at,
            timeout: self.settings.timeout,
            cancellation: cancellation.clone(),
        };
        let contexts = match &unit[..] {
            [only] => smallvec![context(only)],
            all => all.iter().map(context).collect(),
        };
        let call = self.invoke.clone().invoke(contexts);
        (Start { unit, generation, at, cancellation }, call)
    }

    /// Polls a call once, and lets it go on as a task if it waits. Returns the time when this is done,
    /// so that a round of calls reads the clock once each. A call that has ended leaves its box in
    /// `spare`, for the next.
    fn launch<F>(
        &mut self,
        start: Start<S::Receipt>,
        call: F,
        spare: &mut Option<Pin<Box<F>>>,
    ) -> Instant
    where
        F: Future<Output = Called> + Send + 'static,
    {
        let mut call = match spare.take() {
            Some(mut spare) => {
                spare.set(call);
                spare
            }
            None => Box::pin(call),
        };
        let inline = self.hogs.allow(start.at);
        let mut ended = start.at;
        if inline {
            let polled = poll_once(call.as_mut());
            ended = Instant::now();
            let took = ended - start.at;
            self.hogs.polled(took, ended);
            if let Poll::Ready(called) = polled {
                *spare = Some(call);
                self.finish(start.unit, called, took, start.generation);
                self.recycle(start.cancellation);
                return ended;
            }
        }
        self.spawn(start, call);
        ended
    }

    /// Lets a call go on as a task.
    fn spawn<F>(&mut self, start: Start<S::Receipt>, call: Pin<Box<F>>)
    where
        F: Future<Output = Called> + Send + 'static,
    {
        let Start { unit, generation, at, cancellation } = start;
        let entry = self.running.vacant_entry();
        let report = Report { slot: entry.key(), finished: self.finished_tx.clone(), sent: false };
        let timeout = self.settings.timeout.map(|timeout| (at + timeout, timeout));
        let task = tokio::spawn(supervise(call, timeout, cancellation.clone(), report));
        let (started, task) = (clock::moment(at), task.abort_handle());
        entry.insert(Running { unit, started, generation, cancellation, lost: false, task });
    }

    fn recycle(&mut self, cancellation: Cancellation) {
        if self.cancellations.len() < SPARE && cancellation.is_fresh() {
            self.cancellations.push(cancellation);
        }
    }
}

/// Polls a call that has not started. Its waker does nothing: if it waits, it goes to a task, which
/// polls it again before it sleeps, so no wake-up is missed.
fn poll_once<F: Future>(call: Pin<&mut F>) -> Poll<F::Output> {
    call.poll(&mut std::task::Context::from_waker(Waker::noop()))
}

/// A call in a task of its own: within its time, and until it is called off.
async fn supervise(
    call: Pin<Box<impl Future<Output = Called>>>,
    timeout: Option<(Instant, Duration)>,
    cancellation: Cancellation,
    report: Report,
) {
    let called = tokio::select! {
        biased;
        called = call => called,
        limit = overdue(timeout) => together(Outcome::TimedOut(limit)),
        () = called_off(&cancellation) => together(Outcome::Cancelled),
    };
    report.send(called);
}

async fn overdue(timeout: Option<(Instant, Duration)>) -> Duration {
    match timeout {
        Some((deadline, limit)) => {
            tokio::time::sleep_until(deadline).await;
            limit
        }
        None => std::future::pending().await,
    }
}

async fn called_off(cancellation: &Cancellation) {
    cancellation.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn together(outcome: Outcome) -> Called {
    Called::Together(outcome)
}

/// A task's duty to report. One that is dropped without an answer reports that it was called off, so
/// that its messages are kept.
struct Report {
    slot: usize,
    finished: mpsc::UnboundedSender<Finished>,
    sent: bool,
}

impl Report {
    fn send(mut self, called: Called) {
        self.deliver(called);
    }

    fn deliver(&mut self, called: Called) {
        self.sent = true;
        // Without a pump there is nobody to tell, and the messages come back by themselves.
        let _ = self.finished.send(Finished { slot: self.slot, called, ended: Instant::now() });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.sent {
            self.deliver(together(Outcome::Cancelled));
        }
    }
}
