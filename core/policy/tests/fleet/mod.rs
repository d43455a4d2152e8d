//! A fleet of workers at one queue, simulated event by event: messages arrive, pods start and stop,
//! an autoscaler looks every fifteen seconds.
//!
//! Both rules work through the same actuator, which does what Kubernetes does with its defaults: the
//! horizontal pod autoscaler reads every 15 s, tolerates 10%, at most doubles (or adds four) at each
//! reading; a pod needs [`START_UP`] until it works; KEDA switches between none and one every 30 s,
//! and back to none after a cooldown.

use crate::sim::Random;
use forebay_policy::{Held, Moment, Scale, ScaleReading, ScaleSettings};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

const SYNC: f64 = 15.0;
/// Seconds from the decision to a worker at work.
pub(crate) const START_UP: f64 = 20.0;
/// Messages that a worker handles at a time, and what it handles per second.
const SLOTS: u32 = 4;
pub(crate) const PACE: f64 = 10.0;
/// The most workers, for both rules.
pub(crate) const MOST: u32 = 40;

/// A load and what befalls it.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    /// Messages per second at a time.
    pub(crate) rate: fn(f64) -> f64,
    /// From when to when nothing completes, and the breakers are open.
    pub(crate) outage: Option<(f64, f64)>,
    /// From when to when the system behind serves only so many messages per second.
    pub(crate) slow: Option<(f64, f64, f64)>,
    /// From when to when this share of messages is poison: over in no time.
    pub(crate) poison: Option<(f64, f64, f64)>,
}

impl Shape {
    pub(crate) const fn of(name: &'static str, seconds: f64, rate: fn(f64) -> f64) -> Self {
        Self { name, seconds, rate, outage: None, slow: None, poison: None }
    }
}

/// A rule that says how many workers there should be.
pub(crate) enum Rule {
    /// Backlog by threshold, as KEDA gives it to the autoscaler.
    Threshold(f64),
    /// The policy under test.
    Forebay(ScaleSettings),
}

/// What a rule cost, and what it was worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) worker_hours: f64,
    /// The longest that a message waited, in seconds.
    pub(crate) worst_age: f64,
    /// How often the number of workers was changed.
    pub(crate) steps: u32,
    /// Messages that were not handled at the end.
    pub(crate) left: usize,
}

impl Outcome {
    /// Whether this is no worse than the other in anything, and better in something.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let no_worse = self.worker_hours <= other.worker_hours
            && self.worst_age <= other.worst_age
            && self.steps <= other.steps;
        no_worse && self != other
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done,
    Arrival,
    Ready,
    Sync,
    Resume,
}

struct Fleet<'a> {
    shape: &'a Shape,
    random: Random,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now: f64,
    waiting: VecDeque<f64>,
    /// When each message at work was taken from the queue does not matter; how many there are does.
    running: u32,
    workers: u32,
    starting: u32,
    handled: u64,
    /// Each worker counts by the share of its slots that are in use.
    busy_seconds: f64,
    worker_seconds: f64,
    worst_age: f64,
    steps: u32,
}

/// Runs a rule through a shape.
pub(crate) fn run(shape: &Shape, rule: &Rule, seed: u64) -> Outcome {
    let mut fleet = Fleet {
        shape,
        random: Random::new(seed),
        events: BinaryHeap::new(),
        now: 0.0,
        waiting: VecDeque::new(),
        running: 0,
        workers: 1,
        starting: 0,
        handled: 0,
        busy_seconds: 0.0,
        worker_seconds: 0.0,
        worst_age: 0.0,
        steps: 0,
    };
    let mut scaler = Scaler::new(rule);
    fleet.at(SYNC, Event::Sync);
    fleet.next_arrival();
    if let Some((_, end)) = shape.outage {
        fleet.at(end, Event::Resume);
    }
    while let Some(Reverse((nanos, event))) = fleet.events.pop() {
        let now = nanos as f64 / 1e9;
        if now > shape.seconds {
            break;
        }
        fleet.worker_seconds += f64::from(fleet.workers + fleet.starting) * (now - fleet.now);
        fleet.busy_seconds += f64::from(fleet.running) / f64::from(SLOTS) * (now - fleet.now);
        fleet.now = now;
        match event {
            Event::Arrival => {
                fleet.waiting.push_back(now);
                fleet.next_arrival();
            }
            Event::Done => {
                fleet.running -= 1;
                fleet.handled += 1;
            }
            Event::Ready => {
                let came = fleet.starting.min(1);
                fleet.starting -= came;
                fleet.workers += came;
            }
            Event::Sync => {
                let reading = fleet.reading();
                let wanted = scaler.wanted(&reading, fleet.workers + fleet.starting, now);
                fleet.scale_to(wanted);
                fleet.at(now + SYNC, Event::Sync);
            }
            Event::Resume => {}
        }
        fleet.start_handlers();
    }
    let oldest = fleet.waiting.front().map_or(0.0, |at| shape.seconds - at);
    Outcome {
        worker_hours: fleet.worker_seconds / 3600.0,
        worst_age: fleet.worst_age.max(oldest),
        steps: fleet.steps,
        left: fleet.waiting.len(),
    }
}

impl Fleet<'_> {
    fn at(&mut self, seconds: f64, event: Event) {
        self.events.push(Reverse(((seconds * 1e9) as u64, event)));
    }

    /// Poisson arrivals at a changing rate, by thinning (P. Lewis and G. Shedler, 1979).
    fn next_arrival(&mut self) {
        const FASTEST: f64 = 400.0;
        let mut at = self.now;
        while at < self.shape.seconds {
            at += self.random.exponential() / FASTEST;
            if self.random.unit() * FASTEST <= (self.shape.rate)(at) {
                self.at(at, Event::Arrival);
                return;
            }
        }
    }

    fn within(&self, span: Option<(f64, f64)>) -> bool {
        span.is_some_and(|(from, to)| (from..to).contains(&self.now))
    }

    fn down(&self) -> bool {
        self.within(self.shape.outage)
    }

    fn start_handlers(&mut self) {
        if self.down() {
            return;
        }
        let slow = self.shape.slow.filter(|&(from, to, _)| self.within(Some((from, to))));
        while self.running < self.workers * SLOTS && !self.waiting.is_empty() {
            let came = self.waiting.pop_front().unwrap_or(self.now);
            self.worst_age = self.worst_age.max(self.now - came);
            let mut seconds = f64::from(SLOTS) / PACE * self.random.exponential();
            if let Some((_, _, serves)) = slow {
                // The system behind shares what it can do among all that ask.
                let asked = f64::from(self.running + 1) * PACE / f64::from(SLOTS);
                seconds *= (asked / serves).max(1.0);
            }
            let poison = self.shape.poison.filter(|&(from, to, _)| self.within(Some((from, to))));
            if poison.is_some_and(|(_, _, share)| self.random.unit() <= share) {
                seconds = 0.001;
            }
            self.running += 1;
            self.at(self.now + seconds, Event::Done);
        }
    }

    fn reading(&self) -> ScaleReading {
        let capacity = f64::from(self.workers) * PACE;
        let slow = self.shape.slow.filter(|&(from, to, _)| self.within(Some((from, to))));
        let held = match slow {
            _ if self.down() => Held::Breaker,
            Some((_, _, serves)) if capacity > serves => Held::Downstream,
            _ => Held::Free,
        };
        ScaleReading {
            backlog: self.waiting.len() as u64 + u64::from(self.running),
            oldest_age: self.waiting.front().map(|at| Duration::from_secs_f64(self.now - at)),
            handled: self.handled,
            workers: self.workers,
            busy: Duration::from_secs_f64(self.busy_seconds),
            held,
        }
    }

    /// Those that are asked to go finish what they have: their slots are gone as it ends.
    fn scale_to(&mut self, wanted: u32) {
        let have = self.workers + self.starting;
        if wanted == have {
            return;
        }
        self.steps += 1;
        if wanted > have {
            self.starting += wanted - have;
            (have..wanted).for_each(|_| self.at(self.now + START_UP, Event::Ready));
        } else {
            let unstarted = self.starting.min(have - wanted);
            self.starting -= unstarted;
            self.workers -= have - wanted - unstarted;
        }
    }
}

/// A rule, and what Kubernetes makes of it.
enum Scaler<'a> {
    Threshold { threshold: f64, wished: VecDeque<(f64, u32)>, busy_at: f64 },
    Forebay { policy: Box<Scale>, settings: &'a ScaleSettings },
}

impl<'a> Scaler<'a> {
    fn new(rule: &'a Rule) -> Self {
        match rule {
            Rule::Threshold(threshold) => {
                Self::Threshold { threshold: *threshold, wished: VecDeque::new(), busy_at: 0.0 }
            }
            Rule::Forebay(settings) => {
                let policy = Scale::new(*settings).expect("the settings are valid");
                Self::Forebay { policy: Box::new(policy), settings }
            }
        }
    }

    fn wanted(&mut self, reading: &ScaleReading, have: u32, now: f64) -> u32 {
        match self {
            Self::Threshold { threshold, wished, busy_at } => {
                keda(*threshold, wished, busy_at, reading, have, now)
            }
            Self::Forebay { policy, settings } => {
                let nanos = Moment::from_nanos((now * 1e9) as u64);
                let advice = policy.observe(*reading, nanos);
                policy.invariants();
                assert!((settings.min..=settings.max).contains(&advice.desired_workers));
                // What is starting has been asked for already, and the policy does not see it.
                let wanted = match advice.desired_workers {
                    wanted if wanted == reading.workers => have,
                    wanted => wanted,
                };
                upwards(wanted, have)
            }
        }
    }
}

/// The autoscaler at most doubles, or adds four, at each reading.
fn upwards(wanted: u32, have: u32) -> u32 {
    wanted.min((have * 2).max(have + 4)).min(MOST)
}

/// KEDA and the horizontal pod autoscaler, with their defaults.
fn keda(
    threshold: f64,
    wished: &mut VecDeque<(f64, u32)>,
    busy_at: &mut f64,
    reading: &ScaleReading,
    have: u32,
    now: f64,
) -> u32 {
    const STABLE: f64 = 300.0;
    const COOLDOWN: f64 = 300.0;
    if reading.backlog > 0 {
        *busy_at = now;
    }
    if have == 0 {
        let polled = ((now / SYNC).round() as u64).is_multiple_of(2);
        return u32::from(reading.backlog > 0 && polled);
    }
    if now - *busy_at >= COOLDOWN {
        wished.clear();
        return 0;
    }
    let ratio = reading.backlog as f64 / (threshold * f64::from(have));
    let by_ratio = (reading.backlog as f64 / threshold).ceil() as u32;
    let wish = if (ratio - 1.0).abs() <= 0.1 { have } else { by_ratio.clamp(1, MOST) };
    wished.push_back((now, wish));
    while wished.front().is_some_and(|(at, _)| now - at > STABLE) {
        wished.pop_front();
    }
    let stable = wished.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
    if wish >= have { upwards(wish, have) } else { stable.min(have) }
}
