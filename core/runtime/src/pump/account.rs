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

use std::time::Duration;
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

    /// How much of `took`, which ended at `now`, is the doing of what ran on this thread, which also
    /// opened the account before.
    pub(super) fn own(&self, took: Duration, now: Instant) -> Duration {
        took.saturating_sub(self.set_aside(now))
    }

    /// For how long the system has set the thread aside.
    fn set_aside(&self, now: Instant) -> Duration {
        let (Some(before), Some(after)) = (self.spent, Spent::by_this_thread()) else {
            return Duration::ZERO;
        };
        if after.gave_up != before.gave_up {
            return Duration::ZERO;
        }
        let processor = after.processor.saturating_sub(before.processor);
        now.saturating_duration_since(self.at).saturating_sub(processor)
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
        let account = Account::open();
        compute(10 * milli);
        let now = Instant::now();
        let (took, own) = (now - account.at, account.own(now - account.at, now));
        let computed =
            Spent::by_this_thread().unwrap().processor - account.spent.unwrap().processor;
        assert!(own <= took && own <= computed, "{own:?} of {took:?}, {computed:?} computed");
        assert!(own + milli >= computed.min(took), "{own:?} of {took:?}, {computed:?} computed");

        let account = Account::open();
        thread::sleep(5 * milli);
        assert_eq!(account.own(5 * milli, Instant::now()), 5 * milli);
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
        let account = Account::open();
        let begun = Instant::now();
        while account.set_aside(Instant::now()) < Duration::from_millis(1) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never set aside");
            compute(Duration::from_micros(100));
        }
        over.store(true, Ordering::Relaxed);
        crowd.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
