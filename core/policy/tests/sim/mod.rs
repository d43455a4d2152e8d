//! A small discrete-event simulator: a worker with an endless backlog, a concurrency limit, and a
//! system behind it that behaves by a [`Service`].
//!
//! Seeded, so every run of a test sees the same calls; a minute of a busy system takes well under a
//! second.

use forebay_policy::{Concurrency, LimitCause, Moment, Signal};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

mod service;

#[allow(unused_imports, reason = "each test file uses some of it")]
pub(crate) use service::{Event, Random, Service};
use service::{Outcome, SECOND, World};

/// How often the limit is ticked, as the runtime does it.
const TICK: u64 = 100_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) service: Service,
    pub(crate) events: Vec<Event>,
    /// Of each call's time, by how much it varies: the sigma of a log-normal factor.
    pub(crate) noise: f64,
    /// And of all calls' time together, for a fraction of a second: what the host, or a checkpoint, does.
    pub(crate) wander: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// Work arrives at this rate per second; `None`: there is always more.
    pub(crate) arrivals: Option<f64>,
}

impl Scenario {
    pub(crate) fn of(service: Service) -> Self {
        Self {
            service,
            events: vec![],
            noise: 0.0,
            wander: 0.0,
            seconds: 60.0,
            seed: 1,
            arrivals: None,
        }
    }

    pub(crate) fn with(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

/// What was seen, in steps of a tenth of a second.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) limits: Vec<u32>,
    pub(crate) completions: Vec<u32>,
    /// Of each success: when it ended, and how long it took, in seconds.
    pub(crate) took: Vec<(f64, f64)>,
    pub(crate) causes: BTreeMap<&'static str, u32>,
}

impl Seen {
    /// Successes per second between two seconds.
    pub(crate) fn throughput(&self, from: f64, to: f64) -> f64 {
        let range = (from * 10.0) as usize..(to * 10.0) as usize;
        f64::from(self.completions[range].iter().sum::<u32>()) / (to - from)
    }

    /// The 99th percentile of how long successes took that ended between two seconds.
    pub(crate) fn p99(&self, from: f64, to: f64) -> f64 {
        let within = self.took.iter().filter(|(at, _)| (from..to).contains(at));
        let mut took: Vec<f64> = within.map(|(_, took)| *took).collect();
        took.sort_by(f64::total_cmp);
        took[(took.len() * 99).div_ceil(100) - 1]
    }

    pub(crate) fn mean_limit(&self, from: f64, to: f64) -> f64 {
        let range = (from * 10.0) as usize..(to * 10.0) as usize;
        let limits = &self.limits[range];
        f64::from(limits.iter().sum::<u32>()) / limits.len() as f64
    }

    /// The lowest limit between two seconds.
    pub(crate) fn least(&self, from: f64, to: f64) -> u32 {
        let range = (from * 10.0) as usize..(to * 10.0) as usize;
        self.limits[range].iter().copied().min().expect("there is a step in between")
    }

    /// The highest limit between two seconds.
    pub(crate) fn most(&self, from: f64, to: f64) -> u32 {
        let range = (from * 10.0) as usize..(to * 10.0) as usize;
        self.limits[range].iter().copied().max().expect("there is a step in between")
    }

    /// The limit at a second.
    pub(crate) fn limit(&self, at: f64) -> u32 {
        self.limits[(at * 10.0) as usize]
    }
}

pub(crate) fn run(scenario: &Scenario, mut limit: Concurrency) -> Seen {
    let mut world = World::new(scenario);
    let mut seen = Seen::default();
    // (when it ends, number, when it started, whether it succeeds)
    let mut running: BinaryHeap<Reverse<(u64, u64, u64, Outcome)>> = BinaryHeap::new();
    let mut started = BTreeMap::<(u64, u64), ()>::new();
    let (mut now, mut number, mut next_tick, mut done) = (0_u64, 0_u64, TICK, 0_u32);
    let end = (scenario.seconds * SECOND) as u64;
    let mut arrived = 0_u64;
    while now < end {
        let waiting = match scenario.arrivals {
            None => u32::MAX,
            Some(rate) => (now / period(rate) - arrived) as u32,
        };
        let granted = limit.admit(waiting, Moment::from_nanos(now)).granted;
        for _ in 0..granted {
            let in_flight = running.len() as u32;
            let (took, outcome) = world.call(now, in_flight);
            running.push(Reverse((now + took, number, now, outcome)));
            started.insert((now, number), ());
            number += 1;
            arrived += 1;
        }
        let next_end = running.peek().map_or(u64::MAX, |Reverse(call)| call.0);
        let next_arrival = match scenario.arrivals {
            None => u64::MAX,
            Some(rate) => (arrived + 1) * period(rate),
        };
        let next_arrival = if limit.in_flight() < limit.limit() { next_arrival } else { u64::MAX };
        now = next_end.min(next_tick).min(next_arrival).max(now);
        if now == next_tick {
            let oldest = started.first_key_value().map(|((at, _), ())| nanos(now - at));
            note(&mut seen, limit.tick(Moment::from_nanos(now), oldest));
            seen.limits.push(limit.limit());
            seen.completions.push(std::mem::take(&mut done));
            next_tick += TICK;
        } else if now == next_end {
            let Some(Reverse((_, number, at, outcome))) = running.pop() else { continue };
            started.remove(&(at, number));
            let signal = match outcome {
                Outcome::Success => Signal::Success(nanos(now - at)),
                Outcome::Failure => Signal::Failure(nanos(now - at)),
                Outcome::Refused => Signal::Backpressure,
            };
            if outcome == Outcome::Success {
                done += 1;
                seen.took.push((now as f64 / SECOND, (now - at) as f64 / SECOND));
            }
            note(&mut seen, limit.record(signal, Moment::from_nanos(now)));
        }
    }
    seen
}

/// Between two arrivals, in nanoseconds.
fn period(rate: f64) -> u64 {
    (SECOND / rate) as u64
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn note(seen: &mut Seen, change: Option<forebay_policy::LimitChange>) {
    let Some(change) = change else { return };
    let cause = match change.cause {
        LimitCause::Growth => "growth",
        LimitCause::Latency => "latency",
        LimitCause::Failures => "failures",
        LimitCause::Backpressure => "backpressure",
        LimitCause::Hang => "hang",
        LimitCause::Measuring => "measuring",
    };
    *seen.causes.entry(cause).or_default() += 1;
}
