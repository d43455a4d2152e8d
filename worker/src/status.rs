//! How a running worker is doing: one live line on a terminal, else a log line now and then.

use crate::{brokers::Queue, output, terminal};
use forebay::{Backlog, Control, Status, WorkerPhase, policy::BreakerState};
use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_secs(1);
/// How often a line is logged where nobody watches.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Whether the live line fits: not where the handler prints messages to the same terminal.
pub(crate) fn is_live(handler_prints: bool) -> bool {
    terminal::is_live() && !(handler_prints && io::stdout().is_terminal())
}

/// Reports until it is dropped.
pub(crate) async fn report(name: &str, control: Control, queue: &Queue, live: bool) -> Infallible {
    let mut ticks = interval(if live { REDRAW } else { LOG_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = (Instant::now(), control.status());
    // The first tick is now, when there is nothing to tell.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (now, status) = (Instant::now(), control.status());
        let per_second = rate(last.1.counts.acked, status.counts.acked, now - last.0);
        last = (now, status);
        // A broker that does not tell leaves a gap in the line, not in the work.
        let backlog = queue.backlog().await.ok();
        if live {
            terminal::show(Some(line(name, &status, per_second, backlog.as_ref())));
        } else {
            log(&status, per_second, backlog.as_ref());
        }
    }
}

fn rate(before: u64, after: u64, elapsed: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let done = after.saturating_sub(before) as f64;
    done / elapsed.as_secs_f64().max(0.001)
}

fn line(name: &str, status: &Status, per_second: f64, backlog: Option<&Backlog>) -> String {
    let (counts, gate) = (&status.counts, &status.gate);
    let waiting = backlog.and_then(|backlog| backlog.ready).map(|count| count.value.to_string());
    let oldest = backlog.and_then(|backlog| backlog.oldest_age).map(output::age);
    let state = match state(status) {
        RUNNING => String::new(),
        state => format!(" [{state}]"),
    };
    format!(
        "{name}{state}  {}/{} in flight  {per_second:.0}/s  done {}  retried {}  dead {}  waiting {}  \
         oldest {}",
        gate.in_flight,
        gate.limit,
        counts.acked,
        counts.retried + counts.postponed,
        counts.dead,
        waiting.as_deref().unwrap_or("-"),
        oldest.as_deref().unwrap_or("-"),
    )
}

const RUNNING: &str = "running";

fn state(status: &Status) -> &'static str {
    match (status.phase, status.gate.breaker) {
        (WorkerPhase::Draining, _) => "draining",
        (WorkerPhase::Cancelling, _) => "cancelling",
        (WorkerPhase::Stopped, _) => "stopped",
        (_, _) if status.paused => "paused",
        (_, Some(BreakerState::Open { .. })) => "breaker open",
        (_, Some(BreakerState::HalfOpen)) => "breaker probing",
        _ => RUNNING,
    }
}

fn log(status: &Status, per_second: f64, backlog: Option<&Backlog>) {
    let counts = &status.counts;
    let waiting = backlog.and_then(|backlog| backlog.ready).map(|count| count.value);
    let oldest = backlog.and_then(|backlog| backlog.oldest_age).map(|age| age.as_secs_f64());
    tracing::info!(
        state = state(status),
        in_flight = status.gate.in_flight,
        limit = status.gate.limit,
        per_second,
        done = counts.acked,
        retried = counts.retried,
        postponed = counts.postponed,
        released = counts.released,
        dead = counts.dead,
        dropped = counts.dropped,
        waiting,
        oldest_seconds = oldest,
        "status"
    );
}
