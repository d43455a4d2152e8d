//! The settler at work, wherever its pump is.
//!
//! Both are one task: what the pump has just judged is still in the caches of the processor that
//! settles it, and is back there when its slots are filled again. As two tasks on two threads they
//! cost more, by processor time and by the clock.
//!
//! They wake each other all the time: verdicts for the one, room in the window for the other. Would
//! that wake their task, then tokio, to have it run again, would each time also wake a thread that
//! might take it over, and that costs as much as twenty messages. So what wakes from within while the
//! task runs is answered by another turn, a few times before others have theirs. And only the one that
//! was woken has a turn: an answer of the broker to the settler is nothing to the pump.
//!
//! ```text
//!            poll                   all pend, none woke
//!   idle -----------> running --------------------------------> idle
//!    | wake            | wake                   ^
//!    v                 v        next turn       |
//!   woken, and with   woken --------------------+
//!   it the task        | after the last turn: the task is woken, to run again after others
//! ```

use crate::{outbox::Outbox, settler::Settler};
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
use tokio::{sync::mpsc, task::coop};

/// How often, and for how long, pump and settler take turns before others have theirs.
const TURNS: usize = 16;
const TURNS_FOR: Duration = Duration::from_micros(250);

/// Bits of what is to have a turn, and of the task being at it. None of them: idle.
const PUMP: u8 = 1;
const SETTLER: u8 = 2;
const RUNNING: u8 = 4;

/// Who was woken, of a task that both share.
#[derive(Debug, Default)]
struct Woken {
    bits: AtomicU8,
    task: AtomicWaker,
}

impl Woken {
    fn waker(self: &Arc<Self>, who: u8) -> Waker {
        Waker::from(Arc::new(By { woken: self.clone(), who }))
    }

    /// Whose turn it is; the task is at it.
    fn take(&self) -> u8 {
        self.bits.swap(RUNNING, Ordering::AcqRel) & !RUNNING
    }

    /// Whether the pump has just woken the settler.
    fn take_settler(&self) -> bool {
        self.bits.fetch_and(!SETTLER, Ordering::AcqRel) & SETTLER != 0
    }

    /// Ends the task's run, unless somebody was woken.
    fn rest(&self) -> bool {
        self.bits.compare_exchange(RUNNING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What one of them is woken by.
struct By {
    woken: Arc<Woken>,
    who: u8,
}

impl Wake for By {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.bits.fetch_or(self.who, Ordering::AcqRel) == 0 {
            self.woken.task.wake();
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
    pub(crate) fn new<S: Source>(
        settler: Settler<S>,
        inbox: mpsc::UnboundedReceiver<Outbox<S::Receipt>>,
    ) -> Self {
        // It has its turn after the pump, which may have used up the task's budget.
        Self { run: Box::pin(coop::unconstrained(settler.run(inbox))), ended: None }
    }

    /// Goes on settling while `pump` runs.
    pub(crate) async fn beside<T>(mut self, pump: impl Future<Output = T>) -> (T, Self) {
        let mut pump = pin!(pump);
        let woken = Arc::new(Woken::default());
        let (wakes_pump, wakes_settler) = (woken.waker(PUMP), woken.waker(SETTLER));
        // Neither has waited for anything yet.
        woken.bits.store(PUMP | SETTLER, Ordering::Release);
        let ended = poll_fn(|context| {
            woken.task.register(context.waker());
            let begun = Instant::now();
            for _ in 0..TURNS {
                let turns = woken.take();
                if turns & PUMP != 0 {
                    let ended = pump.as_mut().poll(&mut Context::from_waker(&wakes_pump));
                    if ended.is_ready() {
                        return ended;
                    }
                }
                if (turns & SETTLER != 0 || woken.take_settler())
                    && self.ended.is_none()
                    && let Poll::Ready(lost) =
                        self.run.as_mut().poll(&mut Context::from_waker(&wakes_settler))
                {
                    self.ended = Some(lost);
                }
                if woken.rest() {
                    return Poll::Pending;
                }
                if begun.elapsed() >= TURNS_FOR || !coop::has_budget_remaining() {
                    break;
                }
            }
            woken.bits.fetch_and(!RUNNING, Ordering::AcqRel);
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
    struct Task(AtomicUsize);

    impl Wake for Task {
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
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let mut both = pin!(settling(settler).beside(pump));
        let Poll::Ready(((), settling)) = both.as_mut().poll(&mut Context::from_waker(&waker))
        else {
            panic!("they go on without their task");
        };
        assert_eq!(settling.ended, Some(7));
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
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
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let mut context = Context::from_waker(&waker);
        let mut both = pin!(settling(std::future::pending()).beside(pump));
        let mut wakes = 0;
        while polls.load(Ordering::Relaxed) < TURNS || wakes < task.0.load(Ordering::Relaxed) {
            wakes = task.0.load(Ordering::Relaxed);
            assert!(both.as_mut().poll(&mut context).is_pending());
        }
        assert!(wakes > 0, "a pump that is never done is put off");
        let waits = task.0.load(Ordering::Relaxed);
        outside.notify_one();
        assert_eq!(task.0.load(Ordering::Relaxed), waits + 1, "a wake from outside arrives");
        assert!(both.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_from_another_thread_is_lost() {
        // Each of them waits for a thread's answer to what it has just asked.
        async fn asks() -> usize {
            let (ask, asked) = std::sync::mpsc::channel();
            let (answer, mut answers) = tokio::sync::mpsc::unbounded_channel();
            let echo = std::thread::spawn(move || asked.iter().try_for_each(|n| answer.send(n)));
            for n in 0..10_000 {
                ask.send(n).unwrap();
                assert_eq!(answers.recv().await, Some(n));
            }
            drop(ask);
            echo.join().unwrap().unwrap();
            0
        }
        let both = async {
            let (_, settling) = settling(asks()).beside(asks()).await;
            settling.rest().await
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), tokio::spawn(both)).await;
        assert_eq!(ended.expect("a wake is lost").unwrap(), 0);
    }
}
