//! Brings messages from SQS as they are wanted: one receive at a time on a quiet queue, more where each
//! comes back full.
//!
//! A receive under way is never called off, as what it brings would stay hidden until its lease ends.
//! A source that closes waits for the last ones, and gives back what they bring.

use crate::{Fault, core::Core, inbox::Held};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// The pause after a receive that came back empty without having waited.
const EMPTY_PAUSE: Duration = Duration::from_millis(50);

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

/// One receive, as it came back.
struct Answer {
    asked: usize,
    took: Duration,
    result: Result<Vec<Held>, Fault>,
}

/// Polls until the source is closed and the last receive has come back.
pub(crate) async fn run(core: Arc<Core>) {
    let mut polls = JoinSet::new();
    let mut pace = Pace { width: 1, most: core.max_pollers };
    let mut backoff: Option<ExponentialBackoff> = None;
    let (mut under_way, mut resume_at) = (0, Instant::now());
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
            let missing = core.inbox.missing().saturating_sub(under_way);
            if missing == 0 {
                break;
            }
            // Of a FIFO queue as many as there can be: those behind the first keep their group from
            // being received again and again before all others.
            let most = if core.fifo { 10 } else { missing.min(10) };
            under_way += most;
            let core = Arc::clone(&core);
            polls.spawn(async move {
                let start = Instant::now();
                let result = core.poll(most).await;
                Answer { asked: most, took: start.elapsed(), result }
            });
        }
        let wake_at = if resume_at > now { sweep_at.min(resume_at) } else { sweep_at };
        tokio::select! {
            Some(answer) = polls.join_next() => {
                let Ok(Answer { asked, took, result }) = answer else {
                    under_way = under_way.min(10 * polls.len());
                    continue;
                };
                under_way -= asked;
                match result {
                    Ok(messages) => {
                        backoff = None;
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
                        core.inbox.failed(fault);
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
    fn pauses_grow_to_a_limit() {
        let longest = pauses(true).take(20).max().unwrap();
        assert!(longest >= Duration::from_secs(10) && longest <= Duration::from_secs(20));
        assert!(pauses(false).next().unwrap() <= Duration::from_millis(200));
        assert!(pauses(false).take(20).max().unwrap() <= Duration::from_secs(5), "back soon");
    }
}
