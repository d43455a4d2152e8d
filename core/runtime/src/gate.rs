//! The second of the two budgets: the permit to start, which is the least of what its limits grant.
//!
//! A gate stands before one downstream system. Workers that write to the same database share one (a
//! bulkhead), so that what one learns of it slows all. The policies decide; this is the lock around
//! them, and what makes their transitions seen.

use crate::clock;
use forebay_policy::{
    Admission, Breaker, BreakerState, BreakerTransition, Concurrency, Moment, PolicyError, Signal,
    TokenBucket,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// What stands before a downstream system: a concurrency limit, and, if set, a rate and a breaker.
///
/// Cloning gives another handle to the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Mutex<Limits>,
    /// Counts the changes that may let somebody through who was refused.
    changed: watch::Sender<u64>,
}

/// Calls that ended alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// What they tell the limits.
    pub(crate) signal: Signal,
    /// The breaker's generation when they started: a late answer must not count as a probe's.
    pub(crate) generation: u64,
    /// How many.
    pub(crate) calls: u32,
}

impl Ended {
    pub(crate) fn one(signal: Signal, generation: u64) -> Self {
        Self { signal, generation, calls: 1 }
    }
}

#[derive(Debug)]
struct Limits {
    concurrency: Concurrency,
    rate: Option<TokenBucket>,
    breaker: Option<Breaker>,
    /// Somebody was refused for want of a permit: tell of the next one that is free.
    refused: bool,
    /// The breaker has changed its state since the last completion.
    news: bool,
}

/// A gate as it stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GateStatus {
    /// How many calls may run at once.
    pub limit: u32,
    /// How many run.
    pub in_flight: u32,
    /// Starts per second; `None`: not limited.
    pub rate: Option<f64>,
    /// The breaker's state; `None` without a breaker.
    pub breaker: Option<BreakerState>,
}

impl Gate {
    /// A gate with a concurrency limit alone.
    #[must_use]
    pub fn new(concurrency: Concurrency) -> Self {
        Self::with(concurrency, None, None)
    }

    /// A gate with all its limits.
    #[must_use]
    pub fn with(
        concurrency: Concurrency,
        rate: Option<TokenBucket>,
        breaker: Option<Breaker>,
    ) -> Self {
        let limits = Limits { concurrency, rate, breaker, refused: false, news: false };
        Self(Arc::new(Inner { limits: Mutex::new(limits), changed: watch::Sender::new(0) }))
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        let limits = self.lock();
        GateStatus {
            limit: limits.concurrency.limit(),
            in_flight: limits.concurrency.in_flight(),
            rate: limits.rate.as_ref().map(TokenBucket::rate),
            breaker: limits.breaker.as_ref().map(Breaker::state),
        }
    }

    /// Sets how many calls may run at once, from now on. An adaptive limit goes on from there.
    pub fn set_limit(&self, limit: u32) {
        self.change(|limits| limits.concurrency.set_limit(limit));
    }

    /// Sets between what bounds an adaptive limit moves, from now on. A fixed one keeps to them too,
    /// and comes back to what it was set to as soon as they allow it.
    ///
    /// # Errors
    /// If `min` is zero or above `max`; nothing is changed then.
    pub fn set_bounds(&self, min: u32, max: u32) -> Result<(), PolicyError> {
        self.change(|limits| limits.concurrency.set_bounds(min, max))
    }

    /// Sets how many messages may start per second, from now on, with bursts of up to `burst`. What
    /// has gathered so far stays, as far as it fits: a change is not a burst.
    ///
    /// # Errors
    /// If either makes no sense; nothing is changed then.
    pub fn set_rate(&self, per_second: f64, burst: u32) -> Result<(), PolicyError> {
        self.change(|limits| match &mut limits.rate {
            Some(rate) => rate.set_rate(per_second, burst, clock::now()),
            none => {
                *none = Some(TokenBucket::new(per_second, burst)?);
                Ok(())
            }
        })
    }

    /// Lets as many messages start as the other limits allow, from now on.
    pub fn lift_rate(&self) {
        self.change(|limits| limits.rate = None);
    }

    /// Permits for up to `want` calls of one message each, and the breaker's generation, to be handed
    /// back with them.
    pub(crate) fn admit(&self, want: u32, now: Moment) -> (Admission, u64) {
        let mut limits = self.lock();
        (limits.admit(want, want, now), limits.generation())
    }

    /// A permit for one call with up to `want` messages; `granted` says for how many.
    pub(crate) fn admit_batch(&self, want: u32, now: Moment) -> (Admission, u64) {
        let mut limits = self.lock();
        (limits.admit(1, want, now), limits.generation())
    }

    /// Gives back permits of single messages that were not used.
    pub(crate) fn give_back(&self, unused: usize, generation: u64) {
        let unused = u32::try_from(unused).unwrap_or(u32::MAX);
        if unused > 0 {
            self.change(|limits| {
                limits.concurrency.give_back(unused);
                if let Some(rate) = &mut limits.rate {
                    rate.refund(unused);
                }
                if let Some(breaker) = &mut limits.breaker {
                    breaker.give_back(unused, generation);
                }
            });
        }
    }

    /// Takes in what ended, one permit each.
    pub(crate) fn complete(&self, ended: &mut Vec<Ended>, now: Moment) {
        let mut limits = self.lock();
        for ended in ended.drain(..) {
            limits.complete(ended, now);
        }
        let tell = std::mem::take(&mut limits.refused) | std::mem::take(&mut limits.news);
        drop(limits);
        if tell {
            self.tell();
        }
    }

    /// Looks at work that has not ended: a system that hangs completes nothing that could be measured.
    pub(crate) fn tick(&self, now: Moment, oldest_in_flight: Option<Duration>) {
        let change = self.lock().concurrency.tick(now, oldest_in_flight);
        if let Some(change) = change {
            tracing::debug!("concurrency limit: {change}");
        }
    }

    /// Until when the breaker lets nothing through; `None` when it would let something through now.
    pub(crate) fn closed_until(&self, now: Moment) -> Option<Moment> {
        self.lock().breaker.as_ref().and_then(|breaker| breaker.closed_until(now))
    }

    /// Tells of changes that may let through what was refused.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Limits) -> T) -> T {
        let result = change(&mut self.lock());
        self.tell();
        result
    }

    fn tell(&self) {
        self.0.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

impl Limits {
    fn generation(&self) -> u64 {
        self.breaker.as_ref().map_or(0, Breaker::generation)
    }

    /// The least of what the limits grant to `want` messages in at most `calls` calls. What one
    /// limit took and another refused is given back.
    fn admit(&mut self, calls: u32, want: u32, now: Moment) -> Admission {
        let mut again_at = Moment::NEVER;
        let mut step = |want: u32, admission: Admission| {
            if admission.granted < want {
                again_at = again_at.min(admission.again_at);
            }
            admission.granted
        };
        let by_breaker = match &mut self.breaker {
            Some(breaker) => {
                self.news |= tell_of(breaker.poll(now));
                step(calls, breaker.admit(calls, now))
            }
            None => calls,
        };
        let by_limit = step(by_breaker, self.concurrency.admit(by_breaker, now));
        self.refused |= by_limit < calls;
        let messages = match by_limit {
            0 => 0,
            // One call for all of them, or one for each.
            granted if calls == 1 => want.max(granted),
            granted => granted,
        };
        let granted = match &mut self.rate {
            Some(rate) => step(messages, rate.admit(messages, now)),
            None => messages,
        };
        let used = granted.min(by_limit);
        self.concurrency.give_back(by_limit - used);
        if let Some(breaker) = &mut self.breaker {
            breaker.give_back(by_breaker - used, breaker.generation());
        }
        Admission { granted, again_at }
    }

    fn complete(&mut self, ended: Ended, now: Moment) {
        let Ended { signal, generation, calls } = ended;
        for _ in 0..calls {
            if let Some(change) = self.concurrency.record(signal, now) {
                tracing::debug!("concurrency limit: {change}");
            }
        }
        let Some(breaker) = &mut self.breaker else { return };
        if matches!(signal, Signal::Success(_)) && breaker.record_successes(calls, generation, now)
        {
            return;
        }
        for _ in 0..calls {
            // A probe that says nothing frees its place: that, too, lets somebody through.
            self.news |= breaker.state() == BreakerState::HalfOpen;
            self.news |= tell_of(breaker.record(signal, generation, now));
        }
    }
}

/// Logs a transition, and returns whether there was one.
fn tell_of(transition: Option<BreakerTransition>) -> bool {
    if let Some(transition) = transition {
        tracing::warn!("circuit breaker: {transition}");
    }
    transition.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit: u32, rate: Option<TokenBucket>) -> Gate {
        Gate::with(Concurrency::fixed(limit), rate, None)
    }

    #[test]
    fn it_grants_the_least_and_gives_back_the_rest() {
        let gate = gate(10, TokenBucket::new(1.0, 3).ok());
        assert_eq!(gate.admit(20, Moment::ZERO).0.granted, 3);
        assert_eq!(gate.status().in_flight, 3, "permits without a token went back");
        let later = gate.admit(1, Moment::ZERO).0;
        assert_eq!(later.granted, 0);
        assert_eq!(later.again_at.since(Moment::ZERO).as_millis(), 1000);
        gate.give_back(3, 0);
        assert_eq!(gate.status().in_flight, 0);
        assert_eq!(gate.admit(20, Moment::ZERO).0.granted, 3, "and so did unused tokens");
    }

    #[test]
    fn a_batch_takes_one_permit_and_a_token_for_each_message() {
        let gate = gate(1, TokenBucket::new(1.0, 30).ok());
        assert_eq!(gate.admit_batch(20, Moment::ZERO).0.granted, 20);
        assert_eq!(gate.status().in_flight, 1);
        assert_eq!(gate.admit_batch(20, Moment::ZERO).0.granted, 0, "no permit");
        gate.complete(&mut vec![Ended::one(Signal::Success(Duration::ZERO), 0)], Moment::ZERO);
        assert_eq!(gate.admit_batch(20, Moment::ZERO).0.granted, 10, "no more tokens");
    }

    #[test]
    fn whoever_was_refused_is_told_of_a_free_permit() {
        let gate = gate(1, None);
        let mut changed = gate.subscribe();
        changed.mark_unchanged();
        assert_eq!(gate.admit(1, Moment::ZERO).0.granted, 1);
        gate.complete(&mut vec![Ended::one(Signal::Neutral, 0)], Moment::ZERO);
        assert!(!changed.has_changed().unwrap(), "nobody was refused");
        assert_eq!(gate.admit(2, Moment::ZERO).0.granted, 1);
        gate.complete(&mut vec![Ended::one(Signal::Neutral, 0)], Moment::ZERO);
        assert!(changed.has_changed().unwrap());
    }
}
