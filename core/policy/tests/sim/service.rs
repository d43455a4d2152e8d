//! The system behind the simulated worker: how long a call takes, and how it ends.

use super::Scenario;
use std::{cmp::Reverse, collections::BinaryHeap};

pub(crate) const SECOND: f64 = 1e9;
/// How often the system's own pace changes, and how long it takes to be forgotten, in seconds.
const WANDER_STEP: f64 = 0.01;
const WANDER_TIME: f64 = 0.3;

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
    /// As `Slowdown`, but beyond `knee` throughput falls, by the power `steep` of the load.
    Collapse { knee: f64, steep: f64, seconds: f64 },
    /// A part of each call that runs beside others, and one under a lock, which is handed on the more
    /// slowly the more wait for it: by the share `handing` for each.
    Convoy { beside: f64, locked: f64, handing: f64 },
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
    /// Between these seconds calls come to take so many times as long, evenly, and stay at that.
    Drifts(f64, f64, f64),
    /// Between these seconds, calls beyond so many in flight are refused at once.
    Refuses(f64, f64, u32),
}

pub(super) struct World {
    scenario: Scenario,
    random: Random,
    /// When each server of a queue is free, in nanoseconds.
    servers: BinaryHeap<Reverse<u64>>,
    servers_of: usize,
    /// By what all calls take longer now, as a logarithm, and until when, in nanoseconds.
    wandered: f64,
    wanders_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Success,
    Failure,
    Refused,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.clone(),
            random: Random::new(scenario.seed),
            servers: BinaryHeap::new(),
            servers_of: usize::MAX,
            wandered: 0.0,
            wanders_at: 0,
        }
    }

    /// How long a call takes that starts now, and how it ends.
    pub(super) fn call(&mut self, now: u64, in_flight: u32) -> (u64, Outcome) {
        let at = now as f64 / SECOND;
        let mut service = self.scenario.service.clone();
        let (mut failing, mut refusing, mut slower) = (0.0, u32::MAX, 1.0);
        for event in &self.scenario.events {
            match event {
                Event::Becomes(from, other) if at >= *from => service = other.clone(),
                Event::Fails(from, to, share) if (*from..*to).contains(&at) => failing = *share,
                Event::Refuses(from, to, most) if (*from..*to).contains(&at) => refusing = *most,
                Event::Drifts(from, to, factor) => {
                    slower = 1.0 + (factor - 1.0) * ((at - from) / (to - from)).clamp(0.0, 1.0);
                }
                _ => {}
            }
        }
        if in_flight >= refusing {
            return (1_000_000, Outcome::Refused);
        }
        if self.random.unit() <= failing {
            return (2_000_000, Outcome::Failure);
        }
        let took = self.time(&service, now, in_flight, slower);
        (self.hung(now, took), Outcome::Success)
    }

    fn time(&mut self, service: &Service, now: u64, in_flight: u32, slower: f64) -> u64 {
        let n = f64::from(in_flight) + 1.0;
        let noise = self.noise() * slower * self.wander(now);
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
                let crowd = 1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0);
                (seconds * crowd * noise * SECOND) as u64
            }
            Service::Collapse { knee, steep, seconds } => {
                (seconds * (n / knee).max(1.0).powf(1.0 + steep) * noise * SECOND) as u64
            }
            Service::Convoy { beside, locked, handing } => {
                // Who comes later waits for longer: the parts beside the lock are alike.
                let beside = (beside * noise * SECOND) as u64;
                let waiting = (n - 1.0 - beside as f64 / SECOND / locked).max(0.0);
                let locked = locked * noise * (1.0 + handing * waiting);
                beside + self.queue(1, now + beside, locked)
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
        (sigma * self.normal() - sigma * sigma / 2.0).exp()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.random.unit().ln()).sqrt() * (std::f64::consts::TAU * self.random.unit()).cos()
    }

    /// What all calls have in common: a random walk that is drawn back to one.
    fn wander(&mut self, now: u64) -> f64 {
        let sigma = self.scenario.wander;
        if sigma == 0.0 {
            return 1.0;
        }
        while now >= self.wanders_at {
            let kept = (-WANDER_STEP / WANDER_TIME).exp();
            self.wandered =
                kept * self.wandered + sigma * (1.0 - kept * kept).sqrt() * self.normal();
            self.wanders_at += (WANDER_STEP * SECOND) as u64;
        }
        self.wandered.exp()
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
