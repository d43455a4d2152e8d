//! When a channel in key order is given up for a new one, before the broker does it.
//!
//! A message that waits for its next attempt stays unacked, and so does what is later of its key,
//! over all attempts. When something is unacked for longer than the broker's `consumer_timeout`, it
//! closes the channel, and all that a handler has at that moment is done twice. So once the oldest is
//! nearly as old as that, the channel is renewed at a moment when no handler has anything; and if
//! there is none by itself, nothing is handed out for a while, so that there is.
//!
//! ```text
//!   0                                 3/4            7/8             consumer_timeout
//!   |  as ever                         |  hand out    |  as ever,      |
//!   |                                  |  nothing     |  renew if idle |
//! ```
//!
//! A message that a handler has had all the time cannot be helped: only it could end that.

use std::time::Duration;

/// What is to be done about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    NotYet,
    /// Hand out nothing, until nothing is with a handler.
    Calm,
    Now,
}

/// What is to be done when the oldest unacked message came so long ago and waits here, with so many
/// others out.
pub(crate) fn renewal(oldest_waits_for: Duration, out: usize, timeout: Duration) -> Renewal {
    let from = timeout / 4 * 3;
    if oldest_waits_for < from {
        Renewal::NotYet
    } else if out == 0 {
        Renewal::Now
    } else if oldest_waits_for < from + timeout / 8 {
        Renewal::Calm
    } else {
        Renewal::NotYet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_renewed_before_the_broker_closes_it_and_when_nothing_is_out() {
        let at = |minutes: u64, out| {
            renewal(Duration::from_secs(60 * minutes), out, Duration::from_secs(60 * 32))
        };
        assert_eq!((at(23, 0), at(23, 9)), (Renewal::NotYet, Renewal::NotYet));
        assert_eq!((at(24, 0), at(24, 9)), (Renewal::Now, Renewal::Calm));
        assert_eq!((at(28, 0), at(28, 9)), (Renewal::Now, Renewal::NotYet));
    }
}
