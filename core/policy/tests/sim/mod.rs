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

/// How often the limit is ticked, as the runtime does it.
const TICK: u64 = 100_000_000;
const SECOND: f64 = 1e9;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for a simulation.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Exponential with mean one.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

/// How the system behind behaves.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// A queue before `servers` that each take exponential time (M/M/c): a sharp knee.
    Queue { servers: usize, seconds: f64 },
    /// A pool: as `Queue`, with times that hardly vary.
    Pool { servers: usize, seconds: f64 },
    /// Latency grows with the calls in flight beyond `knee`; throughput stays.
    Slowdown { knee: f64, seconds: f64 },
    /// Contention, by Gunther's universal scalability law: beyond its peak, throughput falls.
    Contention { sigma: f64, kappa: f64, seconds: f64 },
}

/// What happens in the meantime.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// From this second on, the system is another.
    Becomes(f64, Service),
    /// Between these seconds nothing completes.
    Hangs(f64, f64),
    /// Between these seconds this share of calls fails, in a tenth of the time.
    Fails(f64, f64, f64),
    /// Between these seconds, calls beyond so many in flight are refused at once.
    Refuses(f64, f64, u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) service: Service,
    pub(crate) events: Vec<Event>,
    /// Of each call's time, by how much it varies: the sigma of a log-normal factor.
    pub(crate) noise: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// Work arrives at this rate per second; `None`: there is always more.
    pub(crate) arrivals: Option<f64>,
}

impl Scenario {
    pub(crate) fn of(service: Service) -> Self {
        Self { service, events: vec![], noise: 0.0, seconds: 60.0, seed: 1, arrivals: None }
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
    pub(crate) causes: BTreeMap<&'static str, u32>,
}

impl Seen {
    /// Successes per second between two seconds.
    pub(crate) fn throughput(&self, from: f64, to: f64) -> f64 {
        let range = (from * 10.0) as usize..(to * 10.0) as usize;
        f64::from(self.completions[range].iter().sum::<u32>()) / (to - from)
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

    /// The limit at a second.
    pub(crate) fn limit(&self, at: f64) -> u32 {
        self.limits[(at * 10.0) as usize]
    }
}

struct World {
    scenario: Scenario,
    random: Random,
    /// When each server of a queue is free, in nanoseconds.
    servers: BinaryHeap<Reverse<u64>>,
    servers_of: usize,
}

pub(crate) fn run(scenario: &Scenario, mut limit: Concurrency) -> Seen {
    let mut world = World {
        scenario: scenario.clone(),
        random: Random::new(scenario.seed),
        servers: BinaryHeap::new(),
        servers_of: usize::MAX,
    };
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
            done += u32::from(outcome == Outcome::Success);
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Success,
    Failure,
    Refused,
}

impl World {
    /// How long a call takes that starts now, and how it ends.
    fn call(&mut self, now: u64, in_flight: u32) -> (u64, Outcome) {
        let at = now as f64 / SECOND;
        let mut service = self.scenario.service.clone();
        let (mut failing, mut refusing) = (0.0, u32::MAX);
        for event in &self.scenario.events {
            match event {
                Event::Becomes(from, other) if at >= *from => service = other.clone(),
                Event::Fails(from, to, share) if (*from..*to).contains(&at) => failing = *share,
                Event::Refuses(from, to, most) if (*from..*to).contains(&at) => refusing = *most,
                _ => {}
            }
        }
        if in_flight >= refusing {
            return (1_000_000, Outcome::Refused);
        }
        if self.random.unit() <= failing {
            return (2_000_000, Outcome::Failure);
        }
        let took = self.time(&service, now, in_flight);
        (self.hung(now, took), Outcome::Success)
    }

    fn time(&mut self, service: &Service, now: u64, in_flight: u32) -> u64 {
        let n = f64::from(in_flight) + 1.0;
        let noise = self.noise();
        match *service {
            Service::Queue { servers, seconds } => {
                let work = seconds * self.random.exponential() * noise;
                self.queue(servers, now, work)
            }
            Service::Pool { servers, seconds } => {
                let work = seconds * (0.9 + 0.2 * self.random.unit()) * noise;
                self.queue(servers, now, work)
            }
            Service::Slowdown { knee, seconds } => {
                (seconds * (n / knee).max(1.0) * noise * SECOND) as u64
            }
            Service::Contention { sigma, kappa, seconds } => {
                let slower = 1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0);
                (seconds * slower * noise * SECOND) as u64
            }
        }
    }

    fn queue(&mut self, servers: usize, now: u64, work: f64) -> u64 {
        if self.servers_of != servers {
            self.servers_of = servers;
            self.servers = (0..servers).map(|_| Reverse(now)).collect();
        }
        let Reverse(free) = self.servers.pop().expect("a system has servers");
        let ends = free.max(now) + (work * SECOND) as u64;
        self.servers.push(Reverse(ends));
        ends - now
    }

    /// Log-normal with mean one (Box and Muller).
    fn noise(&mut self) -> f64 {
        let sigma = self.scenario.noise;
        if sigma == 0.0 {
            return 1.0;
        }
        let normal = (-2.0 * self.random.unit().ln()).sqrt()
            * (std::f64::consts::TAU * self.random.unit()).cos();
        (sigma * normal - sigma * sigma / 2.0).exp()
    }

    /// A call that would run during a hang ends as much later.
    fn hung(&mut self, now: u64, took: u64) -> u64 {
        for event in &self.scenario.events {
            let Event::Hangs(from, to) = event else { continue };
            let (from, to) = ((from * SECOND) as u64, (to * SECOND) as u64);
            if now < to && now + took > from {
                let delay = to - now.max(from);
                // The queue behind moves on by as much: nobody is served in between.
                return took + delay;
            }
        }
        took
    }
}
