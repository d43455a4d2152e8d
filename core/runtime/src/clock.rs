//! The one place that reads the clock, and turns its readings into the policies' moments.
//!
//! The origin is shared by the process, so that workers that share a gate speak of the same moments.
//! It is tokio's clock, which a test can pause.

use forebay_policy::Moment;
use std::sync::OnceLock;
use tokio::time::Instant;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// The moment of `instant`; the origin itself for what lies before it.
pub(crate) fn moment(instant: Instant) -> Moment {
    let origin = *ORIGIN.get_or_init(Instant::now);
    let nanos = instant.saturating_duration_since(origin).as_nanos();
    Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The moment that it is.
pub(crate) fn now() -> Moment {
    moment(Instant::now())
}

/// When `moment` is, for a timer; `None` for [`Moment::NEVER`] and whatever no timer can reach.
pub(crate) fn instant(moment: Moment) -> Option<Instant> {
    let origin = *ORIGIN.get_or_init(Instant::now);
    if moment == Moment::NEVER {
        return None;
    }
    origin.checked_add(moment.since(Moment::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn moments_and_instants_agree() {
        let before = now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(now().since(before), Duration::from_secs(3));
        assert_eq!(instant(now()), Some(Instant::now()));
        assert_eq!(instant(Moment::NEVER), None);
    }
}
