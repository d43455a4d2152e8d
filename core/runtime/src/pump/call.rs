//! Calling: a handler is polled once right here. If it finishes, that was all: no task, no timer, no
//! wake-up. If it waits, it becomes a task, with its timeout and its cancellation around it.
//!
//! The danger of polling inline is a handler that computes, or blocks, instead of waiting: all
//! others would wait for it. So first polls are timed, and hogs are noticed (`hogs.rs`); after one,
//! handlers are started as tasks, unpolled, for a while.
//!
//! A look at the clock takes as long as all else that the pump does for a message. So while polls
//! are short, several share one ([`Hogs::stride`](super::hogs::Hogs::stride)): their time is what
//! they took on average, and a handler's deadline counts from the look before it. It is early then,
//! by a tenth of a millisecond, or by what the first hog in a long time took; it is never late.

use super::{Ended, Finished, Follower, Held, Pump, Running, Unit, account::Account, hogs::Hogs};
use crate::{
    Cancellation, Invoke, clock,
    invoke::{Called, poll_caught},
    job::Context,
    observe::{Ending, Starting, within},
    verdict::Outcome,
};
use forebay_contract::Source;
use forebay_policy::{Moment, Signal};
use smallvec::smallvec;
use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    slice,
    task::{Poll, Waker},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How many single messages are called for between two looks at everything else, at most.
const BURST: usize = 64;
/// How long a round of inline calls may go on before everything else is looked at.
const ROUND: Duration = Duration::from_micros(500);
/// How long a handler that has been called off may go on, to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Calls that are made between two looks at everything else.
pub(super) struct Round {
    /// The breaker's generation when they were admitted.
    pub(super) generation: u64,
    /// The last look at the clock.
    at: Instant,
    end: Instant,
    /// First polls since then.
    polls: u32,
    /// Those of them that ended well, of which the gate has not heard.
    done: u32,
    /// This thread's, where a long poll would count.
    account: Option<Account>,
}

impl Round {
    pub(super) fn new(generation: u64, hogs: &Hogs) -> Self {
        let account = hogs.is_watchful().then(Account::open);
        let at = Instant::now();
        Self { generation, at, end: at + ROUND, polls: 0, done: 0, account }
    }

    /// Whether there is time for more.
    pub(super) fn goes_on(&self) -> bool {
        self.at < self.end
    }
}

impl<S: Source, I: Invoke> Pump<S, I> {
    /// Calls the handler for single messages, as far as the gate allows, for as long as a round goes
    /// on. A lane whose message has ended may have its next one ready within the same round.
    pub(super) fn call_singles(&mut self, round: &mut Round, now: Moment) {
        let (mut permits, mut left, mut handle) = (0, BURST, None);
        // The box of a call that has ended serves the next one.
        let mut place = None;
        while round.goes_on() {
            if permits == 0 {
                self.look(round);
                (permits, round.generation) = self.admit(self.lanes.ready_len().min(left), now);
                left -= permits;
            }
            if permits == 0 {
                break;
            }
            let Some((lane, mut held)) = self.lanes.pop() else { break };
            held.lane = Some(lane);
            permits -= 1;
            let mut follower = self.follow(slice::from_ref(&held), round.at);
            let context = self.context(&held, round.at);
            let handler = handle.take().unwrap_or_else(|| self.invoke.clone());
            let call = put(&mut place, || handler.invoke(context));
            let inline = self.hogs.allow(round.at);
            if inline {
                round.polls += 1;
                match within(&mut follower, || poll_once(call.as_mut())) {
                    Ok(Poll::Ready((handler, outcome))) => {
                        handle = Some(handler);
                        self.ended(held, outcome, follower, round);
                        continue;
                    }
                    Ok(Poll::Pending) => {}
                    Err(panicked) => {
                        place = None;
                        self.ended(held, panicked, follower, round);
                        continue;
                    }
                }
            }
            let started_at = round.at;
            self.look(round);
            if let Some(call) = place.take() {
                let call = async move { Called::One(call.await.1) };
                let call = Call { call, follower, polled: inline };
                self.spawn(smallvec![held], started_at, round.generation, call);
            }
        }
        self.look(round);
        self.gate.give_back(permits, round.generation);
    }

    /// A call has ended in its first poll.
    #[inline]
    fn ended(
        &mut self,
        held: Held<S::Receipt>,
        outcome: Outcome,
        follower: Follower,
        round: &mut Round,
    ) {
        if let Some(follower) = follower {
            follower.ended(Ending::of(&outcome));
        }
        self.renew_cancellation();
        if matches!(outcome, Outcome::Done) {
            self.done(held);
            round.done += 1;
            if round.polls >= self.hogs.stride() {
                self.look(round);
            }
        } else {
            let took = self.look(round);
            self.finish(smallvec![held], Called::One(outcome), took, round.generation);
        }
    }

    /// Calls the handler for a batch, or for a message that is to run alone.
    pub(super) fn call_batch(&mut self, unit: Unit<S::Receipt>, round: &mut Round) {
        let mut follower = self.follow(&unit, round.at);
        let contexts = unit.iter().map(|held| self.context(held, round.at)).collect();
        let mut call = Box::pin(self.invoke.clone().invoke_batch(contexts));
        let started = round.at;
        if self.hogs.allow(round.at) {
            round.polls += 1;
            let polled = within(&mut follower, || poll_once(call.as_mut()));
            let took = self.look(round);
            let called = match polled {
                Ok(Poll::Ready(called)) => called,
                Err(panicked) => Called::Together(panicked),
                Ok(Poll::Pending) => {
                    let call = Call { call, follower, polled: true };
                    return self.spawn(unit, started, round.generation, call);
                }
            };
            self.renew_cancellation();
            if let Some(follower) = follower {
                follower.ended(Ending::of_call(&called));
            }
            return self.finish(unit, called, took, round.generation);
        }
        let call = Call { call, follower, polled: false };
        self.spawn(unit, started, round.generation, call);
    }

    /// What follows the call that is about to be made, if the observer wants to.
    #[inline]
    fn follow(&self, unit: &[Held<S::Receipt>], at: Instant) -> Follower {
        let observer = self.observed.0.as_deref()?;
        let at = clock::moment(at);
        match unit {
            [held] => observer.starting(&[starting(held, at)]),
            unit => {
                let unit: Vec<_> = unit.iter().map(|held| starting(held, at)).collect();
                observer.starting(&unit)
            }
        }
    }

    #[inline]
    fn context(&self, held: &Held<S::Receipt>, started: Instant) -> Context {
        Context {
            message: held.message.clone(),
            started,
            timeout: self.settings.timeout,
            cancellation: self.cancellation.clone(),
        }
    }

    /// The next call gets the same one, unless the last handler has kept it.
    #[inline]
    fn renew_cancellation(&mut self) {
        if !self.cancellation.is_fresh() {
            self.cancellation = Cancellation::default();
        }
    }

    /// Looks at the clock: what has been polled since the last look took so long, each.
    fn look(&mut self, round: &mut Round) -> Duration {
        let Some(polls) = std::num::NonZeroU32::new(mem::take(&mut round.polls)) else {
            return Duration::ZERO;
        };
        let now = Instant::now();
        let took = now - mem::replace(&mut round.at, now);
        let own = round.account.as_mut().map_or(took, |it| it.own(polls.get(), took, now));
        self.hogs.polled(polls.get(), own, now);
        let each = took / polls.get();
        let calls = mem::take(&mut round.done);
        if calls > 0 {
            let (signal, generation) = (Signal::Success(each), round.generation);
            self.signals.push(Ended { signal, generation, calls });
            self.observed.tell(|observer| {
                observer.called(calls, Ending::Done, each);
                observer.handled(calls, Ending::Done);
            });
        }
        each
    }

    /// Lets a call go on as a task.
    fn spawn<F>(&mut self, unit: Unit<S::Receipt>, at: Instant, generation: u64, call: Call<F>)
    where
        F: Future<Output = Called> + Send + 'static,
    {
        let cancellation = mem::take(&mut self.cancellation);
        let entry = self.running.vacant_entry();
        let finished = self.finished_tx.clone();
        let report = Report { slot: entry.key(), finished, first_poll: None, sent: false };
        // One that ends beyond all clocks is none.
        let deadline = |timeout| at.checked_add(timeout).map(|deadline| (deadline, timeout));
        let timeout = self.settings.timeout.and_then(deadline);
        let task = tokio::spawn(supervise(call, timeout, cancellation.clone(), report));
        let (started, task) = (clock::moment(at), task.abort_handle());
        entry.insert(Running { unit, started, generation, cancellation, lost: false, task });
    }
}

fn starting<R>(held: &Held<R>, at: Moment) -> Starting<'_> {
    Starting {
        hand_out: held.ticket,
        message: &held.message,
        // The ticket says when it came.
        waited: at.since(Moment::from_nanos(held.ticket)),
    }
}

/// Makes a call in the box of the last one, or in a new one. Made here, and not before, it need not
/// be moved: it is large, for all that the handler will keep in it.
#[inline(always)]
fn put<F>(place: &mut Option<Pin<Box<F>>>, make: impl FnOnce() -> F) -> &mut Pin<Box<F>> {
    match place {
        Some(place) => {
            place.set(make());
            place
        }
        none => none.insert(Box::pin(make())),
    }
}

/// Polls a call that has not started. Its waker does nothing: if it waits, it goes to a task, which
/// polls it again before it sleeps, so no wake-up is missed.
#[inline]
fn poll_once<F: Future>(call: Pin<&mut F>) -> Result<Poll<F::Output>, Outcome> {
    poll_caught(call, &mut std::task::Context::from_waker(Waker::noop()))
}

/// A call on its way to a task of its own.
struct Call<F> {
    call: F,
    follower: Follower,
    /// It has been polled, and waits.
    polled: bool,
}

/// A call in a task of its own: within its time, and until it is called off.
async fn supervise(
    Call { call, mut follower, mut polled }: Call<impl Future<Output = Called>>,
    timeout: Option<(Instant, Duration)>,
    cancellation: Cancellation,
    mut report: Report,
) {
    let mut call = std::pin::pin!(call);
    let mut poll = |cx: &mut std::task::Context<'_>| match within(&mut follower, || {
        poll_caught(call.as_mut(), cx)
    }) {
        Ok(polled) => polled,
        Err(panicked) => Poll::Ready(Called::Together(panicked)),
    };
    // The first poll is where a hog shows.
    let mut first = None;
    let called = tokio::select! {
        biased;
        called = poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return poll(cx);
            }
            let (mut account, begun) = (Account::open(), Instant::now());
            let called = poll(cx);
            let now = Instant::now();
            first = Some(account.own(1, now - begun, now));
            called
        }) => called,
        limit = overdue(timeout) => Called::Together(Outcome::TimedOut(limit)),
        () = called_off(&cancellation) => Called::Together(Outcome::Cancelled),
    };
    if let Some(follower) = follower {
        follower.ended(Ending::of_call(&called));
    }
    report.first_poll = first;
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

/// A task's duty to report. One that is dropped without an answer reports that it was called off, so
/// that its messages are kept.
struct Report {
    slot: usize,
    finished: mpsc::UnboundedSender<Finished>,
    first_poll: Option<Duration>,
    sent: bool,
}

impl Report {
    fn send(mut self, called: Called) {
        self.deliver(called);
    }

    fn deliver(&mut self, called: Called) {
        self.sent = true;
        // Without a pump there is nobody to tell, and the messages come back by themselves.
        let (slot, first_poll, ended) = (self.slot, self.first_poll, Instant::now());
        let _ = self.finished.send(Finished { slot, called, first_poll, ended });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.sent {
            self.deliver(Called::Together(Outcome::Cancelled));
        }
    }
}
