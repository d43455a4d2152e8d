//! How long to wait before a broker that is away is asked again.

use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// Growing pauses, with jitter; starts afresh after a success.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Option<backon::ExponentialBackoff>);

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pauses = self.0.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(20))
                .with_max_delay(LONGEST)
                .with_jitter()
                .without_max_times()
                .build()
        });
        pauses.next().unwrap_or(LONGEST)
    }

    /// It worked: the next pause is a short one again.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_afresh_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] < Duration::from_millis(50), "{pauses:?}");
        assert!(pauses[10..].iter().all(|pause| *pause >= LONGEST), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 2 * LONGEST), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(50));
    }
}
