//! The topics of a queue: their names, and which retry topic a delay belongs to.
//!
//! ```text
//!   orders             the queue itself
//!   orders.retry.10s   retries that wait 10 s at most (one topic for each step)
//!   orders.dead        dead letters, in partition 0
//!   orders.attempts    with order: failed attempts of messages that wait in their lanes
//! ```

use crate::{KafkaOptions, Order};
use std::{sync::Arc, time::Duration};

/// Which topic, by its place in [`Topics::read`].
pub(crate) type TopicIndex = usize;

/// The names.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    /// Those that a worker reads: the queue, then its retry topics with ascending delays.
    pub(crate) read: Vec<Arc<str>>,
    pub(crate) dead: Arc<str>,
    /// With order only.
    pub(crate) attempts: Option<Arc<str>>,
    steps: Vec<Duration>,
}

impl Topics {
    pub(crate) fn new(options: &KafkaOptions) -> Self {
        let own = &options.own_topics;
        let ordered = options.order != Order::None;
        // An ordered retry waits in its lane, so there is nothing to read.
        let steps = if ordered { Vec::new() } else { options.retry_steps.clone() };
        let retries = steps.iter().map(|step| format!("{own}.retry.{}", short(*step)).into());
        Self {
            read: std::iter::once(options.topic.as_str().into()).chain(retries).collect(),
            dead: format!("{own}.dead").into(),
            attempts: ordered.then(|| format!("{own}.attempts").into()),
            steps,
        }
    }

    /// The queue itself.
    pub(crate) fn main(&self) -> &Arc<str> {
        &self.read[0]
    }

    /// Where a retry with this delay waits: the first step that is not shorter, else the longest.
    pub(crate) fn retry(&self, after: Duration) -> Option<&Arc<str>> {
        let step = self.steps.partition_point(|step| *step < after);
        self.read.get(1 + step.min(self.steps.len().checked_sub(1)?))
    }

    pub(crate) fn index(&self, name: &str) -> Option<TopicIndex> {
        self.read.iter().position(|topic| **topic == *name)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.read.iter().chain([&self.dead]).chain(&self.attempts)
    }
}

/// A delay as people write it: `100ms`, `1s`, `10m`, `1h`.
fn short(delay: Duration) -> String {
    let millis = delay.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let (unit, name) =
        units.into_iter().find(|(unit, _)| millis.is_multiple_of(*unit)).unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_in_the_first_step_that_is_long_enough() {
        let topics = Topics::new(&KafkaOptions::new("x:1", "t"));
        let name = |millis| &**topics.retry(Duration::from_millis(millis)).unwrap();
        assert_eq!(name(0), "t.retry.1s");
        assert_eq!(name(1000), "t.retry.1s");
        assert_eq!(name(1001), "t.retry.10s");
        assert_eq!(name(500_000), "t.retry.10m");
        assert_eq!(name(100_000_000), "t.retry.1h");
    }

    #[test]
    fn with_order_there_are_attempts_and_no_retry_topics() {
        let mut options = KafkaOptions::new("x:1", "t");
        options.order = Order::Key;
        options.own_topics = "own".into();
        let topics = Topics::new(&options);
        let all: Vec<_> = topics.all().map(|name| &**name).collect();
        assert_eq!(all, ["t", "own.dead", "own.attempts"]);
        assert_eq!(topics.retry(Duration::ZERO), None);
    }

    #[test]
    fn delays_read_as_people_write_them() {
        let names = [100, 1500, 2000, 90_000, 120_000, 7_200_000];
        let names = names.map(|millis| short(Duration::from_millis(millis)));
        assert_eq!(names, ["100ms", "1500ms", "2s", "90s", "2m", "2h"]);
    }
}
