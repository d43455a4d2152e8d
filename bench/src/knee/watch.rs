//! What the worker says of itself while it runs, and what follows from that: when the limit fell, when
//! the breaker opened, when both were as before.

use forebay::{Control, policy::BreakerState};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// How often the status is read.
const EVERY: Duration = Duration::from_millis(20);
/// Over how many seconds before the trouble a limit's mean is what it was.
const BEFORE: f64 = 3.0;
/// It has fallen when it is at most this share of that, and is back at this one.
const FALLEN: f64 = 0.5;
const BACK: f64 = 0.75;

/// The worker's status at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// The concurrency limit.
    pub limit: u32,
    /// Calls that run.
    pub in_flight: u32,
    /// Messages in hand that wait to be started.
    pub waiting: u32,
    /// Messages done since the start.
    pub done: u64,
    /// Whether the breaker lets everything through.
    pub closed: bool,
}

/// A run, as the worker's status told it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// In order of time.
    pub samples: Vec<Sample>,
    /// When the trouble began, in seconds since the start.
    pub began: f64,
    /// When it had ended.
    pub ended: f64,
}

/// What a timeline comes to. Times are in seconds, since the trouble began or ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// The limit's mean before the trouble.
    pub before: f64,
    /// The lowest that it was in the trouble.
    pub least: u32,
    /// After how long it was half of what it had been, or less; `None`: never.
    pub fell: Option<f64>,
    /// After how long the breaker opened; `None`: it did not.
    pub opened: Option<f64>,
    /// How long after the trouble the breaker was closed, and the limit at three quarters of what it
    /// had been, or so high that nothing waited for it; `None`: never.
    pub recovered: Option<f64>,
}

impl Timeline {
    /// What it comes to.
    #[must_use]
    pub fn times(&self) -> Times {
        let Self { samples, began, ended } = self;
        let calm = samples.iter().filter(|s| (began - BEFORE..*began).contains(&s.at));
        let (count, sum) = calm.fold((0_u32, 0.0), |(n, sum), s| (n + 1, sum + f64::from(s.limit)));
        let before = sum / f64::from(count.max(1));
        let trouble = || samples.iter().filter(|s| (*began..*ended).contains(&s.at));
        let first = |holds: &dyn Fn(&Sample) -> bool| {
            trouble().find(|s| holds(s)).map(|sample| sample.at - began)
        };
        let is_back = |s: &&Sample| {
            let room = s.in_flight < s.limit && s.waiting == 0;
            s.closed && (room || f64::from(s.limit) >= BACK * before)
        };
        Times {
            before,
            least: trouble().map(|s| s.limit).min().unwrap_or(u32::MAX),
            fell: first(&|s| f64::from(s.limit) <= FALLEN * before),
            opened: first(&|s| !s.closed),
            recovered: samples
                .iter()
                .filter(|s| s.at >= *ended)
                .find(is_back)
                .map(|s| s.at - ended),
        }
    }

    /// Messages done per second between two times.
    #[must_use]
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        let within = || self.samples.iter().filter(|s| (from..=to).contains(&s.at));
        match (within().next(), within().next_back()) {
            (Some(first), Some(last)) if last.at > first.at => {
                (last.done - first.done) as f64 / (last.at - first.at)
            }
            _ => 0.0,
        }
    }
}

/// Reads a worker's status until it is dropped.
#[derive(Debug)]
pub struct Watch {
    start: Instant,
    timeline: Arc<Mutex<Timeline>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn start(control: Control) -> Self {
        let (start, timeline) = (Instant::now(), Arc::<Mutex<Timeline>>::default());
        let written = timeline.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let status = control.status();
                let in_hand = u32::try_from(status.in_hand).unwrap_or(u32::MAX);
                lock(&written).samples.push(Sample {
                    at: start.elapsed().as_secs_f64(),
                    limit: status.gate.limit,
                    in_flight: status.gate.in_flight,
                    waiting: in_hand.saturating_sub(status.gate.in_flight),
                    done: status.counts.acked,
                    closed: status.gate.breaker == Some(BreakerState::Closed),
                });
            }
        });
        Self { start, timeline, task }
    }

    /// The trouble begins.
    pub fn begins(&self) {
        let now = self.start.elapsed().as_secs_f64();
        let mut timeline = lock(&self.timeline);
        (timeline.began, timeline.ended) = (now, f64::MAX);
    }

    /// The trouble has ended.
    pub fn ends(&self) {
        lock(&self.timeline).ended = self.start.elapsed().as_secs_f64();
    }

    /// What has been seen so far.
    #[must_use]
    pub fn seen(&self) -> Timeline {
        lock(&self.timeline).clone()
    }

    /// What it comes to so far.
    #[must_use]
    pub fn times(&self) -> Times {
        lock(&self.timeline).times()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(timeline: &Mutex<Timeline>) -> std::sync::MutexGuard<'_, Timeline> {
    timeline.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, limit: u32, closed: bool) -> Sample {
        Sample { at, limit, in_flight: limit, waiting: 9, done: (at * 10.0) as u64, closed }
    }

    #[test]
    fn times_count_from_the_trouble_and_from_its_end() {
        let mut timeline = Timeline { samples: vec![], began: 5.0, ended: 8.0 };
        for (at, limit, closed) in [
            (1.0, 90, true), // too long before
            (3.0, 10, true),
            (4.0, 12, true),
            (5.5, 6, true),
            (6.0, 5, true),
            (7.0, 1, false),
            (8.5, 9, false), // the breaker is still open
            (9.0, 8, true),  // too low, and something waits
            (9.5, 9, true),
        ] {
            timeline.samples.push(sample(at, limit, closed));
        }
        let times = timeline.times();
        let expected = Times {
            before: 11.0,
            least: 1,
            fell: Some(1.0),
            opened: Some(2.0),
            recovered: Some(1.5),
        };
        assert_eq!(times, expected);
        assert_eq!(timeline.rate(3.0, 9.0), 10.0);
        timeline.samples[7].waiting = 0;
        assert_eq!(timeline.times().recovered, Some(1.5), "in full use it may hold work back");
        timeline.samples[7].in_flight = 2;
        assert_eq!(timeline.times().recovered, Some(1.0), "low, and nothing waits for it");
    }
}
