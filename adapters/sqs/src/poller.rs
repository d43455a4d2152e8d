//! Brings messages from SQS as they are wanted: one receive at a time on a quiet queue, more where each
//! comes back full.
//!
//! A receive under way is never called off, as what it brings would stay hidden until its lease ends.
//! A source that closes waits for the last ones, and gives back what they bring.

use crate::{
    Fault,
    core::Core,
    inbox::{Held, Missing},
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// The pause after a receive that came back empty without having waited.
const EMPTY_PAUSE: Duration = Duration::from_millis(50);

/// For how long a queue that was there is to be called missing until that is believed. A service that has
/// just started may answer before it knows its queues: ElasticMQ does, for some 40 ms.
const DOUBT: Duration = Duration::from_secs(2);

/// Since when the queue is called missing, without a receive in between that worked.
#[derive(Debug, Default)]
struct Doubt(Option<Instant>);

impl Doubt {
    /// Whether this is to be believed.
    fn believes(&mut self, fault: &Fault, now: Instant) -> bool {
        if !matches!(fault, Fault::Missing { .. }) {
            return true;
        }
        now.saturating_duration_since(*self.0.get_or_insert(now)) >= DOUBT
    }

    fn works(&mut self) {
        self.0 = None;
    }
}

/// How many receives there may be at a time.
#[derive(Debug)]
struct Pace {
    width: usize,
    most: usize,
}

impl Pace {
    /// A receive asked for so many messages and got so many: full ones ask for more of them, empty ones
    /// for one.
    fn answered(&mut self, asked: usize, got: usize) {
        self.width = if got == 0 {
            1
        } else if got >= asked {
            (self.width * 2).min(self.most)
        } else if got * 2 < asked {
            (self.width - 1).max(1)
        } else {
            self.width
        };
    }
}

/// How many messages the receives under way have asked for.
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn ask(&self, most: usize) -> Asked {
        self.0.fetch_add(most, Ordering::Relaxed);
        Asked { most, under_way: self.clone() }
    }
}

/// What one receive has asked for. Counts until it is dropped, so that one that panics does not count
/// for ever.
#[derive(Debug)]
struct Asked {
    most: usize,
    under_way: UnderWay,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.under_way.0.fetch_sub(self.most, Ordering::Relaxed);
    }
}

/// One receive, as it came back.
struct Answer {
    asked: Asked,
    took: Duration,
    result: Result<Vec<Held>, Fault>,
}

/// Polls until the source is closed and the last receive has come back.
pub(crate) async fn run(core: Arc<Core>) {
    let mut polls = JoinSet::new();
    let mut pace = Pace { width: 1, most: core.max_pollers };
    let mut backoff: Option<ExponentialBackoff> = None;
    let under_way = UnderWay::default();
    let mut doubt = Doubt::default();
    let mut resume_at = Instant::now();
    let sweep_each = (core.lease / 4).min(Duration::from_secs(1));
    let mut sweep_at = Instant::now() + sweep_each;
    loop {
        let closed = core.inbox.is_closed();
        let unwanted = core.inbox.take_unwanted();
        if closed {
            core.give_back(unwanted).await;
            if polls.is_empty() {
                core.inbox.end();
                return;
            }
        } else if !unwanted.is_empty() {
            let core = Arc::clone(&core);
            tokio::spawn(async move { core.give_back(unwanted).await });
        }
        let now = Instant::now();
        while !closed && now >= resume_at && polls.len() < pace.width {
            let Missing { messages, fit } = core.inbox.missing(core.max_message);
            let missing = messages.min(fit).saturating_sub(under_way.count());
            if missing == 0 {
                break;
            }
            // Of a FIFO queue as many as there is memory for: those behind the first keep their group
            // from being received again and again before all others.
            let free = if core.fifo { fit.saturating_sub(under_way.count()) } else { missing };
            let asked = under_way.ask(free.min(10));
            let core = Arc::clone(&core);
            polls.spawn(async move {
                let start = Instant::now();
                let result = core.poll(asked.most).await;
                Answer { asked, took: start.elapsed(), result }
            });
        }
        let wake_at = if resume_at > now { sweep_at.min(resume_at) } else { sweep_at };
        tokio::select! {
            Some(answer) = polls.join_next() => {
                let (asked, took, result) = match answer {
                    Ok(Answer { asked, took, result }) => (asked.most, took, result),
                    Err(panicked) => {
                        tracing::error!(queue = %core.api.name(), "a receive ended: {panicked}");
                        let (action, queue) = ("sqs:ReceiveMessage", core.api.name().to_string());
                        let detail = panicked.to_string();
                        (0, Duration::ZERO, Err(Fault::Other { action, queue, detail }))
                    }
                };
                match result {
                    Ok(messages) => {
                        backoff = None;
                        doubt.works();
                        pace.answered(asked, messages.len());
                        let wait = Duration::from_secs(core.wait.unsigned_abs().into());
                        if messages.is_empty() && took * 2 <= wait.max(EMPTY_PAUSE) {
                            resume_at = Instant::now() + EMPTY_PAUSE;
                        }
                        core.inbox.works();
                        core.inbox.arrived(messages);
                    }
                    Err(fault) => {
                        pace.width = 1;
                        let pauses = backoff.get_or_insert_with(|| pauses(fault.is_throttle()));
                        let pause = pauses.next().unwrap_or_default();
                        resume_at = Instant::now() + pause;
                        tracing::debug!(queue = %core.api.name(), "next receive in {pause:.1?}: {fault}");
                        if doubt.believes(&fault, Instant::now()) {
                            core.inbox.failed(fault);
                        }
                    }
                }
            }
            () = core.inbox.nudged() => {}
            () = tokio::time::sleep_until(wake_at.into()) => {}
        }
        let now = Instant::now();
        if now >= sweep_at {
            sweep_at = now + sweep_each;
            core.inbox.sweep(now, core.lease / 2);
        }
    }
}

/// The pauses after failures in a row: longer ones where SQS asks for less. Each is drawn from one to two
/// times its step.
fn pauses(throttled: bool) -> ExponentialBackoff {
    let (first, last) = if throttled { (1000, 10_000) } else { (100, 2500) };
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(first))
        .with_max_delay(Duration::from_millis(last))
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(fastrand::u64(..))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receives_multiply_while_they_come_back_full_and_end_when_empty() {
        let mut pace = Pace { width: 1, most: 8 };
        let mut widths = Vec::new();
        for got in [10, 10, 10, 10, 7, 2, 2, 0] {
            pace.answered(10, got);
            widths.push(pace.width);
        }
        assert_eq!(widths, [2, 4, 8, 8, 8, 7, 6, 1]);
    }

    #[test]
    fn a_queue_is_missing_once_it_is_so_for_a_while() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let missing = Fault::Missing { queue: "q".into(), place: "here".into() };
        assert!(!doubt.believes(&missing, at(0)));
        assert!(!doubt.believes(&missing, at(1999)));
        assert!(doubt.believes(&missing, at(2000)));
        doubt.works();
        assert!(!doubt.believes(&missing, at(2001)), "it was there in between");
        assert!(doubt.believes(&Fault::Stale("other".into()), at(2002)));
    }

    #[tokio::test]
    async fn a_receive_that_panics_is_not_under_way_for_ever() {
        let under_way = UnderWay::default();
        let asked = under_way.ask(10);
        let kept = under_way.ask(3);
        let poll = tokio::spawn(async move {
            let asked = asked;
            assert_eq!(asked.most, 0, "as a poll might");
        });
        assert!(poll.await.unwrap_err().is_panic());
        assert_eq!(under_way.count(), 3);
        drop(kept);
        assert_eq!(under_way.count(), 0);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let longest = pauses(true).take(20).max().unwrap();
        assert!(longest >= Duration::from_secs(10) && longest <= Duration::from_secs(20));
        assert!(pauses(false).next().unwrap() <= Duration::from_millis(200));
        assert!(pauses(false).take(20).max().unwrap() <= Duration::from_secs(5), "back soon");
    }
}
