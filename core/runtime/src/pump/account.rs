//! Tells a handler that takes long from a thread that lost its processor meanwhile.
//!
//! By the clock both look the same, and on a machine that is busy, or whose broker shares it, a thread
//! is set aside for some milliseconds many times a second. The system keeps an account of each thread:
//!
//! | the handler | time passes | the thread's processor time | gave its processor up by itself |
//! |-------------|-------------|-----------------------------|---------------------------------|
//! | computes    | yes         | as much                     | no                              |
//! | blocks      | yes         | less                        | yes                             |
//! | was set aside by the system | yes | less                | no                              |
//!
//! Systems other than Linux do not say the last of these for a thread: there all is the handler's doing.

use super::hogs;
use std::{mem, time::Duration};
use tokio::time::Instant;

/// What a thread had spent at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    at: Instant,
    spent: Option<Spent>,
}

/// What the system says of the thread that asks.
#[derive(Clone, Copy, Debug)]
struct Spent {
    processor: Duration,
    /// How often it gave its processor up by itself: to sleep, or to wait for something.
    gave_up: i64,
}

impl Account {
    /// That of this thread, as of now.
    pub(super) fn open() -> Self {
        Self { at: Instant::now(), spent: Spent::by_this_thread() }
    }

    /// How much of the time that so many polls took on this thread until `now` is their own doing. The
    /// system is asked only where it matters; what it took before that is not taken off again.
    pub(super) fn own(&mut self, polls: u32, took: Duration, now: Instant) -> Duration {
        if !hogs::is_long(polls, took) {
            return took;
        }
        let before = mem::replace(self, Self { at: now, spent: Spent::by_this_thread() });
        took.saturating_sub(self.set_aside_since(before))
    }

    /// For how long the system has set the thread aside.
    fn set_aside_since(&self, before: Self) -> Duration {
        let (Some(then), Some(now)) = (before.spent, self.spent) else { return Duration::ZERO };
        if now.gave_up != then.gave_up {
            return Duration::ZERO;
        }
        let processor = now.processor.saturating_sub(then.processor);
        self.at.saturating_duration_since(before.at).saturating_sub(processor)
    }
}

impl Spent {
    #[cfg(target_os = "linux")]
    fn by_this_thread() -> Option<Self> {
        use nix::{
            sys::resource::{UsageWho, getrusage},
            time::{ClockId, clock_gettime},
        };
        let processor = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
        let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
        Some(Self { processor: processor.into(), gave_up: usage.voluntary_context_switches() })
    }

    #[cfg(not(target_os = "linux"))]
    fn by_this_thread() -> Option<Self> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{
        hint,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    fn compute(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            hint::spin_loop();
        }
    }

    #[test]
    fn time_that_a_thread_computed_or_slept_is_its_own() {
        let milli = Duration::from_millis(1);
        let mut account = Account::open();
        let begun = account;
        compute(10 * milli);
        let now = Instant::now();
        let took = now - begun.at;
        let own = account.own(1, took, now);
        let computed = account.spent.unwrap().processor - begun.spent.unwrap().processor;
        assert_eq!(own, computed.min(took), "of {took:?}");

        thread::sleep(5 * milli);
        assert_eq!(account.own(1, 5 * milli, Instant::now()), 5 * milli);
    }

    /// Time passes for the thread without its doing, as the moment that it is told says.
    #[test]
    fn what_the_system_took_is_taken_off_once_and_only_from_long_polls() {
        let second = Duration::from_secs(1);
        let mut account = Account::open();
        let short = Duration::from_micros(160);
        assert_eq!(account.own(8, short, account.at + second), short);
        assert!(account.own(1, second, account.at + second) < second / 10, "set aside all along");
        assert_eq!(account.own(1, second, account.at), second, "what lies before is no excuse");
    }

    #[test]
    fn a_thread_among_too_many_is_set_aside() {
        let over = Arc::new(AtomicBool::new(false));
        let crowd: Vec<_> = (0..2 * thread::available_parallelism().unwrap().get())
            .map(|_| {
                let over = over.clone();
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        hint::spin_loop();
                    }
                })
            })
            .collect();
        let begun = Account::open();
        while Account::open().set_aside_since(begun) < Duration::from_millis(1) {
            assert!(begun.at.elapsed() < Duration::from_secs(60), "never set aside");
            compute(Duration::from_micros(100));
        }
        over.store(true, Ordering::Relaxed);
        crowd.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
