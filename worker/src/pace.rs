//! Spreads work evenly over time, for `send --rate` and `dead redrive --rate`: the policy that limits
//! a worker, with a clock.

use forebay::policy::{Moment, TokenBucket};
use tokio::time::{Instant, sleep};

/// Hands out turns at a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    bucket: TokenBucket,
    started: Instant,
}

impl Pace {
    /// Turns at the rate that [`rate`] has read.
    pub(crate) fn new(per_second: &TokenBucket) -> Self {
        Self { bucket: per_second.clone(), started: Instant::now() }
    }

    /// Waits until there is a turn, then takes up to `want`.
    pub(crate) async fn turns(&mut self, want: usize) -> usize {
        let want = u32::try_from(want).unwrap_or(u32::MAX).max(1);
        loop {
            let now = Moment::ZERO + self.started.elapsed();
            let admission = self.bucket.admit(want, now);
            if admission.granted > 0 {
                return admission.granted as usize;
            }
            sleep(admission.again_at.since(now)).await;
        }
    }

    /// Gives back turns that were not used.
    pub(crate) fn give_back(&mut self, unused: usize) {
        self.bucket.refund(u32::try_from(unused).unwrap_or(u32::MAX));
    }
}

/// Reads a rate in messages per second from the command line.
///
/// # Errors
/// A text that says what a rate is.
pub(crate) fn rate(text: &str) -> Result<TokenBucket, String> {
    let wrong = || format!("`{text}` is no rate: write messages per second, such as 50 or 0.5");
    let per_second = text.parse::<f64>().map_err(|_| wrong())?;
    TokenBucket::new(per_second, usual_burst(per_second)).map_err(|_| wrong())
}

/// How many may come at once after a stall: a tenth of a second's worth, since less would be lost to
/// the granularity of timers, and more would be felt behind.
pub(crate) fn usual_burst(per_second: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float-to-integer cast saturates, and 0 is raised to 1"
    )]
    let burst = (per_second / 10.0) as u32;
    burst.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_unused_turns_come_back() {
        let mut pace = Pace::new(&rate("100").unwrap());
        let started = Instant::now();
        let mut taken = 0;
        while taken < 1000 {
            let turns = pace.turns(7).await;
            pace.give_back(turns - 1);
            taken += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        assert!((9.8..10.1).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_not_made_up_for_in_one_burst() {
        let mut pace = Pace::new(&rate("100").unwrap());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(pace.turns(1000).await, 10);
    }

    #[test]
    fn what_is_no_rate_says_what_one_is() {
        for wrong in ["", "fast", "0", "-1", "inf", "NaN"] {
            assert!(rate(wrong).unwrap_err().contains("such as 50"), "{wrong}");
        }
    }
}
