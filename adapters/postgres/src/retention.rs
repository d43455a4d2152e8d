//! How long a message must be remembered: as long as it can come again after it was done.
//!
//! A copy outlives its original when a worker dies between the commit and the acknowledgement, when a
//! retry was published and the original not yet removed, or when a redrive was killed half-way. Such a
//! copy goes through the whole of the retry policy, and, dead at its end, may be redriven as late as
//! the operators allow themselves, and then go through the retry policy once more.

use forebay::policy::{RetryPolicy, THROTTLE_MAX_AGE};
use std::time::Duration;

/// How long a message can be on its way from its first attempt to its last.
pub(crate) fn retries(policy: &RetryPolicy) -> Duration {
    let settings = policy.settings();
    let cap = settings.cap;
    if let Some(age) = settings.max_age {
        // What fails just before it is too old is tried once more, after a wait.
        return age.saturating_add(cap);
    }
    let mut waits = Duration::ZERO;
    let mut wait = settings.base;
    for attempt in 1..settings.max_attempts {
        if wait >= cap {
            // All waits from here on are the longest one.
            let rest = settings.max_attempts - attempt;
            waits = waits.saturating_add(cap.saturating_mul(rest));
            break;
        }
        waits = waits.saturating_add(wait);
        wait = Duration::try_from_secs_f64(wait.as_secs_f64() * settings.factor).unwrap_or(cap);
    }
    // Without an age, throttling alone can postpone it for a day, and failures come on top.
    THROTTLE_MAX_AGE.saturating_add(cap).saturating_add(waits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay::policy::RetrySettings;

    fn of(change: impl FnOnce(&mut RetrySettings)) -> Duration {
        let mut settings = RetrySettings::default();
        change(&mut settings);
        retries(&RetryPolicy::new(settings).unwrap())
    }

    #[test]
    fn an_age_bounds_it() {
        let hour = Duration::from_secs(3600);
        assert_eq!(of(|s| s.max_age = Some(hour)), hour + Duration::from_secs(900));
    }

    #[test]
    fn without_an_age_it_is_a_day_and_the_waits() {
        let day = THROTTLE_MAX_AGE + Duration::from_secs(900);
        // 1 + 2 + 4 + … + 256 s: nine waits for ten attempts.
        assert_eq!(of(|_| ()), day + Duration::from_secs(511));
        // 512 s, then 900 s for each of the rest.
        assert_eq!(of(|s| s.max_attempts = 13), day + Duration::from_secs(511 + 512 + 2 * 900));
        assert_eq!(of(|s| s.max_attempts = 1), day);
        assert!(of(|s| s.max_attempts = u32::MAX) > Duration::from_secs(900 * 4_000_000_000));
    }
}
