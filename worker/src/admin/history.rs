//! The last 15 minutes, a sample a second: what the page's charts are drawn from. Pure: time is passed
//! in, and what was read is given.
//!
//! Kept here rather than in the page, so that whoever opens it after an incident sees the incident. A
//! ring of 900 samples is some 300 KiB; a scraper that keeps more has `/metrics`.

use forebay::{
    Backlog, Counts,
    policy::{Moment, ScaleAdvice},
};
use serde::Serialize;
use std::{collections::VecDeque, time::Duration};

/// How many samples are kept: 15 minutes.
pub(crate) const KEPT: usize = 900;
/// How often one is taken.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// What is the matter, the worst first: an operator looks at the first alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The worker has ended.
    Stopped,
    /// It does not get through to its broker.
    BrokerGone,
    /// Nearly nothing succeeds: messages are kept.
    FuseBlown,
    /// What is behind fails: nothing is let through.
    BreakerOpen,
    /// What runs has been called off.
    Cancelling,
    /// It takes no more, and finishes what it has started.
    Draining,
    /// A few calls find out whether what is behind is well again.
    BreakerProbing,
    /// Nothing is started until it is resumed.
    Paused,
    /// It takes messages.
    Running,
    /// It handles none: it only says how many workers there should be.
    Scaling,
    /// Metrics or traces do not get to their collector. Jobs go on, so this is never the worst.
    Unsent,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breaker {
    /// Everything is let through.
    Closed,
    /// Nothing is.
    Open,
    /// A few probes are.
    HalfOpen,
}

/// How long what ended of late took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    pub(crate) p99: Duration,
}

/// The worker's own part of a reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) counts: Counts,
    pub(crate) limit: u32,
    pub(crate) in_flight: u32,
    /// Received and not settled.
    pub(crate) in_hand: u64,
    pub(crate) breaker: Option<Breaker>,
}

/// What was read at one moment. What is `None` was not to be had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// All that is the matter; at least one.
    pub(crate) states: Vec<State>,
    /// `None` where no jobs are handled.
    pub(crate) work: Option<Work>,
    /// In hand, until a call began.
    pub(crate) wait: Option<Percentiles>,
    /// Of a call.
    pub(crate) handling: Option<Percentiles>,
    /// `None` also where the last one says nothing about now.
    pub(crate) backlog: Option<Backlog>,
    pub(crate) advice: Option<ScaleAdvice>,
}

/// Messages per second, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    done: f64,
    retried: f64,
    postponed: f64,
    released: f64,
    dropped: f64,
    dead: f64,
}

impl Rates {
    fn between(before: &Counts, after: &Counts, elapsed: Duration) -> Option<Self> {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = |of: fn(&Counts) -> u64| {
            #[allow(clippy::cast_precision_loss, reason = "a rate for people to read")]
            let grown = of(after).saturating_sub(of(before)) as f64;
            tenths(grown / seconds)
        };
        Some(Self {
            done: rate(|it| it.acked),
            retried: rate(|it| it.retried),
            postponed: rate(|it| it.postponed),
            released: rate(|it| it.released),
            dropped: rate(|it| it.dropped),
            dead: rate(|it| it.dead),
        })
    }
}

#[derive(Clone, Debug)]
struct Sample {
    seq: u64,
    at_ms: u64,
    rates: Option<Rates>,
    reading: Reading,
}

/// A cell of a row, as JSON writes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    None,
    Whole(u64),
    Number(f64),
    State(State),
    Breaker(Breaker),
    Yes(bool),
    Text(&'static str),
}

/// What the cells of a row are; times end in their unit. Rates are per second.
pub(crate) const FIELDS: [&str; 29] = [
    "seq",
    "at_ms",
    "state",
    "broker_up",
    "done",
    "retried",
    "postponed",
    "released",
    "dropped",
    "dead",
    "arrival_rate",
    "wait_p50_ms",
    "wait_p95_ms",
    "wait_p99_ms",
    "handling_p50_ms",
    "handling_p95_ms",
    "handling_p99_ms",
    "ready",
    "delayed",
    "leased",
    "dead_letters",
    "oldest_age_ms",
    "limit",
    "in_flight",
    "in_hand",
    "breaker",
    "desired_workers",
    "because",
    "time_to_drain_ms",
];

/// A sample as [`FIELDS`] says.
pub(crate) type Row = [Cell; FIELDS.len()];

/// The samples of the last 15 minutes, and since when what is the matter is.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
    /// How many were ever taken.
    taken: u64,
    last: Option<(Moment, Counts)>,
    /// What is the matter, and since when, in milliseconds since 1970.
    since: Vec<(State, u64)>,
}

impl History {
    /// Takes a sample at `now`, which is `at_ms` milliseconds since 1970 by the clock on the wall.
    pub(crate) fn push(&mut self, mut reading: Reading, now: Moment, at_ms: u64) {
        reading.states.sort_unstable();
        self.note(&reading.states, at_ms);
        let rates = match (&self.last, &reading.work) {
            (Some((at, before)), Some(work)) => {
                Rates::between(before, &work.counts, now.since(*at))
            }
            _ => None,
        };
        self.last = reading.work.as_ref().map(|work| (now, work.counts));
        self.taken += 1;
        self.samples.push_back(Sample { seq: self.taken, at_ms, rates, reading });
        while self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }

    /// Takes note of all that is the matter at `at_ms`, also between two samples.
    pub(crate) fn note(&mut self, states: &[State], at_ms: u64) {
        let held = |state| self.since.iter().find(|(known, _)| *known == state);
        let since = |state: &State| held(*state).copied().unwrap_or((*state, at_ms));
        self.since = states.iter().map(since).collect();
        self.since.sort_unstable();
    }

    /// The sequence number of the newest sample; 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.taken
    }

    /// The samples after the one of this number, oldest first, as far as they are kept.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = Row> {
        self.samples.iter().filter(move |sample| sample.seq > seq).map(Sample::row)
    }

    /// What is the matter, the worst first, and since when, in milliseconds since 1970.
    pub(crate) fn states(&self) -> &[(State, u64)] {
        &self.since
    }
}

impl Sample {
    fn row(&self) -> Row {
        let Self { seq, at_ms, rates, reading } = self;
        let work = reading.work.as_ref();
        let rate = |of: fn(&Rates) -> f64| optional(rates.as_ref(), |it| Cell::Number(of(it)));
        let [wait, handling] = [reading.wait, reading.handling];
        let advice = reading.advice.as_ref();
        let backlog = reading.backlog.as_ref();
        let count = |of: fn(&Backlog) -> Option<forebay::Count>| {
            optional(backlog.and_then(of), |count| Cell::Whole(count.value))
        };
        let is_up = !reading.states.contains(&State::BrokerGone);
        [
            Cell::Whole(*seq),
            Cell::Whole(*at_ms),
            optional(reading.states.first(), |state| Cell::State(*state)),
            Cell::Yes(is_up),
            rate(|it| it.done),
            rate(|it| it.retried),
            rate(|it| it.postponed),
            rate(|it| it.released),
            rate(|it| it.dropped),
            rate(|it| it.dead),
            optional(advice, |it| Cell::Number(tenths(it.arrival_rate))),
            optional(wait, |it| millis(it.p50)),
            optional(wait, |it| millis(it.p95)),
            optional(wait, |it| millis(it.p99)),
            optional(handling, |it| millis(it.p50)),
            optional(handling, |it| millis(it.p95)),
            optional(handling, |it| millis(it.p99)),
            count(|it| it.ready),
            count(|it| it.delayed),
            count(|it| it.leased),
            count(|it| it.dead),
            optional(backlog.and_then(|it| it.oldest_age), millis),
            optional(work, |it| Cell::Whole(it.limit.into())),
            optional(work, |it| Cell::Whole(it.in_flight.into())),
            optional(work, |it| Cell::Whole(it.in_hand)),
            optional(work.and_then(|it| it.breaker), Cell::Breaker),
            optional(advice, |it| Cell::Whole(it.desired_workers.into())),
            optional(advice, |it| Cell::Text(it.because.as_str())),
            optional(advice.and_then(|it| it.time_to_drain), millis),
        ]
    }
}

fn optional<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
    value.map_or(Cell::None, cell)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> Cell {
    Cell::Number((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests;
