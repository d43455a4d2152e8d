//! A handler that counts: what it does with each message, and the clock from the first to the last.

use crate::cost::{Cost, Stopwatch};
use std::{
    hint::black_box,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// What the handler does: it keeps a processor busy for so long.
#[derive(Clone, Copy, Debug)]
pub struct Work(Option<Duration>);

impl Work {
    /// Nothing.
    pub const NONE: Self = Self(None);

    /// So much, or nothing.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self((!time.is_zero()).then_some(time))
    }

    /// In microseconds.
    #[must_use]
    pub fn micros(self) -> u128 {
        self.0.unwrap_or_default().as_micros()
    }

    /// Does it, with a payload that the compiler takes for used.
    pub fn on(self, payload: &[u8]) {
        black_box(payload);
        if let Some(time) = self.0 {
            let start = Instant::now();
            while start.elapsed() < time {
                std::hint::spin_loop();
            }
        }
    }
}

/// A handler's count of what it has seen, and the clock that the first message starts.
#[derive(Debug)]
pub struct Seen {
    work: Work,
    messages: u64,
    begun: OnceLock<Stopwatch>,
    seen: AtomicU64,
    all: Notify,
}

impl Seen {
    /// Of so many messages, with this work for each.
    #[must_use]
    pub fn new(work: Work, messages: u64) -> Arc<Self> {
        let (begun, seen, all) = (OnceLock::new(), AtomicU64::new(0), Notify::new());
        Arc::new(Self { work, messages, begun, seen, all })
    }

    /// A message has come.
    pub fn handle(&self, payload: &[u8]) {
        self.begun.get_or_init(Stopwatch::start);
        self.work.on(payload);
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.messages {
            self.all.notify_one();
        }
    }

    /// Waits for the last message.
    pub async fn all(&self) {
        self.all.notified().await;
    }

    /// What each has cost until now; `None` before the first.
    #[must_use]
    pub fn each(&self) -> Option<Cost> {
        self.begun.get().map(|begun| begun.each(self.messages))
    }
}
