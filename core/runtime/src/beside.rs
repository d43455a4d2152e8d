//! The settler at work, wherever its pump is.
//!
//! Both are one task: what the pump has just judged is still in the caches of the processor that
//! settles it, and is back there when its slots are filled again. As two tasks on two threads they
//! cost more, by processor time and by the clock.
//!
//! They wake each other all the time: verdicts for the one, room in the window for the other. Would
//! that wake their task, then tokio, to have it run again, would each time also wake a thread that
//! might take it over, and that costs as much as twenty messages. So what wakes from within while the
//! task runs is answered by another turn of both, a few times before others have theirs.
//!
//! ```text
//!            poll                  both pend, nothing woke
//!   IDLE -----------> RUNNING ---------------------------------> IDLE
//!    | wake              | wake                ^
//!    v                   v       next turn     |
//!   WOKEN, and with it WOKEN ------------------+
//!   the task             | after the last turn: the task is woken, to run again after others
//! ```

use crate::settler::Settler;
use forebay_contract::Source;
use futures_util::task::AtomicWaker;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};
use tokio::task::coop;

/// How often, and for how long, pump and settler take turns before others have theirs.
const TURNS: usize = 16;
const TURNS_FOR: Duration = Duration::from_micros(250);

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const WOKEN: u8 = 2;

/// What pump and settler are woken by.
#[derive(Debug, Default)]
struct Within {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Within {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

/// A settler at work.
pub(crate) struct Beside {
    run: Pin<Box<dyn Future<Output = usize> + Send>>,
    /// How many verdicts could not be delivered, once it has ended.
    ended: Option<usize>,
}

impl Beside {
    pub(crate) fn new<S: Source>(settler: Settler<S>) -> Self {
        // It has its turn after the pump, which may have used up the task's budget.
        Self { run: Box::pin(coop::unconstrained(settler.run())), ended: None }
    }

    /// Goes on settling while `pump` runs.
    pub(crate) async fn beside<T>(mut self, pump: impl Future<Output = T>) -> (T, Self) {
        let mut pump = pin!(pump);
        let within = Arc::new(Within::default());
        let waker = Waker::from(within.clone());
        let ended = poll_fn(|context| {
            within.task.register(context.waker());
            let mut inner = Context::from_waker(&waker);
            let begun = Instant::now();
            for _ in 0..TURNS {
                within.state.store(RUNNING, Ordering::Release);
                let ended = pump.as_mut().poll(&mut inner);
                if ended.is_ready() {
                    return ended;
                }
                if self.ended.is_none()
                    && let Poll::Ready(lost) = self.run.as_mut().poll(&mut inner)
                {
                    self.ended = Some(lost);
                }
                let is_idle = within
                    .state
                    .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
                if is_idle {
                    return Poll::Pending;
                }
                if begun.elapsed() >= TURNS_FOR || !coop::has_budget_remaining() {
                    break;
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let ended = ended.await;
        (ended, self)
    }

    /// Settles what is left, after the pump.
    pub(crate) async fn rest(self) -> usize {
        match self.ended {
            Some(lost) => lost,
            None => self.run.await,
        }
    }
}

/// Lets the settler have its turn.
pub(crate) async fn turn() {
    let mut is_given = false;
    poll_fn(|context| {
        if is_given {
            return Poll::Ready(());
        }
        is_given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Notify;

    /// Counts how often it is woken, as the task of both would be.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn settling(run: impl Future<Output = usize> + Send + 'static) -> Beside {
        Beside { run: Box::pin(run), ended: None }
    }

    #[test]
    fn what_wakes_from_within_is_answered_in_the_same_poll() {
        let (verdict, room) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let settler = {
            let (verdict, room) = (verdict.clone(), room.clone());
            async move {
                verdict.notified().await;
                room.notify_one();
                7
            }
        };
        let pump = async {
            turn().await;
            verdict.notify_one();
            room.notified().await;
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut both = pin!(settling(settler).beside(pump));
        let Poll::Ready(((), settling)) = both.as_mut().poll(&mut Context::from_waker(&waker))
        else {
            panic!("they go on without their task");
        };
        assert_eq!(settling.ended, Some(7));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn others_have_their_turn_and_what_comes_from_outside_wakes_the_task() {
        let outside = Arc::new(Notify::new());
        let polls = AtomicUsize::new(0);
        let pump = async {
            for _ in 0..TURNS {
                polls.fetch_add(1, Ordering::Relaxed);
                turn().await;
            }
            outside.notified().await;
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut both = pin!(settling(std::future::pending()).beside(pump));
        let mut wakes = 0;
        while polls.load(Ordering::Relaxed) < TURNS || wakes < woken.0.load(Ordering::Relaxed) {
            wakes = woken.0.load(Ordering::Relaxed);
            assert!(both.as_mut().poll(&mut context).is_pending());
        }
        assert!(wakes > 0, "a pump that is never done is put off");
        let waits = woken.0.load(Ordering::Relaxed);
        outside.notify_one();
        assert_eq!(woken.0.load(Ordering::Relaxed), waits + 1, "a wake from outside arrives");
        assert!(both.as_mut().poll(&mut context).is_ready());
    }
}
