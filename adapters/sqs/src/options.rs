//! Settings of a queue, with their defaults and units. They are checked when it is opened, so that
//! what SQS cannot honour is refused with the limit and the way out, not found out at night.

use crate::SqsError;
use std::time::Duration;

/// The longest that SQS hides a message, counted from its receipt: 12 hours.
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(12 * 60 * 60);

/// The longest that SQS lets a receive wait: 20 seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The largest message that SQS takes, with its attributes: 1 MiB.
const LARGEST_MESSAGE: usize = 1 << 20;

/// What [`SqsQueue::open`](crate::SqsQueue::open) does about the queues themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// Creates the queue and its dead-letter queue where they are missing, then checks them. Takes
    /// the right `sqs:CreateQueue`.
    Create,
    /// Checks that both are there and fit the settings.
    #[default]
    Verify,
    /// Asks nothing about them: for workers that may not read a queue's attributes. A redrive policy
    /// of the queue's own that takes messages away too early is then not noticed.
    Trust,
}

/// How a queue is opened. Made by [`SqsOptions::new`]; each field may be changed, or set by the method
/// of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqsOptions {
    /// The queue: its name, or its URL. A name that ends in `.fifo` is a FIFO queue, whose message
    /// group is the key.
    pub queue: String,
    /// The dead-letter queue: its name, or its URL. Default: `<queue>-dead`, for a FIFO queue
    /// `<queue>-dead.fifo`.
    pub dead_queue: Option<String>,
    /// Where the service is, as a URL: an emulator, a VPC endpoint. Default: AWS.
    pub endpoint: Option<String>,
    /// The region. Default: that in the queue's URL, else what the SDK's chain finds (`AWS_REGION`, the
    /// profile, the machine); beside an `endpoint`, else `us-east-1`.
    pub region: Option<String>,
    /// The profile in the shared AWS config files. Default: the SDK's own choice.
    pub profile: Option<String>,
    /// Whether to create the queues, to check them, or to leave them alone. Default: check.
    pub topology: Topology,
    /// For how long a message is ours at first and by each extension: the visibility timeout. Whole
    /// seconds (rounded up), from 1 second. Default: 30 seconds.
    pub lease: Duration,
    /// The longest that a message is held in all, extensions included. SQS hides a message for 12 hours
    /// at most, so 12 hours less this is the longest retry delay. Default: 2 hours.
    pub max_hold: Duration,
    /// The longest that one receive waits for messages, up to 20 seconds; also bounded by a quarter of
    /// `drain_timeout` and of `lease`. In whole seconds (rounded down). Default: 20 seconds.
    pub wait: Duration,
    /// The worker's drain timeout. A receive under way cannot be called off without hiding what it
    /// brings, so none waits longer than a quarter of this. Default: 30 seconds.
    pub drain_timeout: Duration,
    /// The most receives at a time; there is one on a quiet queue. 1 to 64. Default: 8.
    pub max_pollers: usize,
    /// The most batches (deletes, sends, visibility changes) under way at a time. 1 to 256.
    /// Default: 32.
    pub max_calls: usize,
    /// How many attempts the worker allows: what the queue's own redrive policy is held against.
    /// Default: 10.
    pub attempts: u32,
    /// By how much `maxReceiveCount` of the queue's own redrive policy must exceed `attempts`: SQS
    /// counts each receive, also those of messages that were given back unhandled. Default: 10.
    pub release_room: u32,
    /// The largest message that the service takes, with its attributes, in bytes. Where the queues are
    /// checked, theirs holds if it is lower. At least 1024. Default: 1 MiB (1,048,576).
    pub max_message: usize,
}

impl SqsOptions {
    /// The defaults, for a queue by its name or URL.
    #[must_use]
    pub fn new(queue: impl Into<String>) -> Self {
        Self {
            queue: queue.into(),
            dead_queue: None,
            endpoint: None,
            region: None,
            profile: None,
            topology: Topology::default(),
            lease: Duration::from_secs(30),
            max_hold: Duration::from_secs(2 * 60 * 60),
            wait: LONGEST_WAIT,
            drain_timeout: Duration::from_secs(30),
            max_pollers: 8,
            max_calls: 32,
            attempts: 10,
            release_room: 10,
            max_message: LARGEST_MESSAGE,
        }
    }

    /// Sets [`dead_queue`](Self::dead_queue).
    #[must_use]
    pub fn dead_queue(mut self, queue: impl Into<String>) -> Self {
        self.dead_queue = Some(queue.into());
        self
    }

    /// Sets [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets [`region`](Self::region).
    #[must_use]
    pub fn region(mut self, name: impl Into<String>) -> Self {
        self.region = Some(name.into());
        self
    }

    /// Sets [`profile`](Self::profile).
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Sets [`topology`](Self::topology).
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// Sets [`lease`](Self::lease).
    #[must_use]
    pub fn lease(mut self, length: Duration) -> Self {
        self.lease = length;
        self
    }

    /// Sets [`max_hold`](Self::max_hold).
    #[must_use]
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.max_hold = time;
        self
    }

    /// Sets [`wait`](Self::wait).
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// Sets [`drain_timeout`](Self::drain_timeout).
    #[must_use]
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.drain_timeout = time;
        self
    }

    /// Sets [`max_pollers`](Self::max_pollers).
    #[must_use]
    pub fn max_pollers(mut self, most: usize) -> Self {
        self.max_pollers = most;
        self
    }

    /// Sets [`max_calls`](Self::max_calls).
    #[must_use]
    pub fn max_calls(mut self, most: usize) -> Self {
        self.max_calls = most;
        self
    }

    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`release_room`](Self::release_room).
    #[must_use]
    pub fn release_room(mut self, receives: u32) -> Self {
        self.release_room = receives;
        self
    }

    /// Sets [`max_message`](Self::max_message).
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// The longest delay of a retry: what of the 12 hours is left when a message was held as long as
    /// it may.
    pub(crate) fn max_delay(&self) -> Duration {
        LONGEST_HOLD.saturating_sub(self.max_hold)
    }

    /// How long a receive waits, in seconds; 0 where the lease or the drain is too short for a wait.
    pub(crate) fn wait_secs(&self) -> i32 {
        let wait = self.wait.min(self.drain_timeout / 4).min(self.lease / 4).min(LONGEST_WAIT);
        i32::try_from(wait.as_secs()).unwrap_or(0)
    }

    /// The settings with the lease in whole seconds, or what is wrong with them.
    pub(crate) fn checked(mut self) -> Result<Self, SqsError> {
        let refuse = |setting, value: String, allowed: String| {
            Err(SqsError::Setting { setting, value, allowed })
        };
        self.lease = Duration::from_secs(secs_up(self.lease));
        let second = Duration::from_secs(1);
        if self.queue.is_empty() {
            return refuse("queue", "``".into(), "name the queue, or give its URL".into());
        }
        if self.lease < second || self.lease > self.max_hold {
            return refuse(
                "lease",
                format!("{:?}", self.lease),
                format!("from 1 second to `max_hold`, which is {:?}", self.max_hold),
            );
        }
        if self.max_hold > LONGEST_HOLD - second {
            return refuse(
                "max_hold",
                format!("{:?}", self.max_hold),
                "less than 12 hours: SQS hides no message for longer, and what is left of the 12 \
                 hours is the longest retry delay"
                    .into(),
            );
        }
        if self.wait > LONGEST_WAIT {
            return refuse(
                "wait",
                format!("{:?}", self.wait),
                "at most 20 seconds: SQS lets no receive wait longer".into(),
            );
        }
        for (setting, value, most) in
            [("max_pollers", self.max_pollers, 64), ("max_calls", self.max_calls, 256)]
        {
            if value == 0 || value > most {
                return refuse(setting, value.to_string(), format!("from 1 to {most}"));
            }
        }
        if self.attempts == 0 {
            return refuse("attempts", "0".into(), "at least 1".into());
        }
        if self.max_message < 1024 || self.max_message > LARGEST_MESSAGE {
            return refuse(
                "max_message",
                self.max_message.to_string(),
                format!("from 1024 to {LARGEST_MESSAGE} bytes: SQS takes no larger message"),
            );
        }
        Ok(self)
    }
}

/// Whole seconds, rounded up: SQS keeps time in seconds, and nothing may come early.
pub(crate) fn secs_up(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: fn(SqsOptions) -> SqsOptions) -> String {
        change(SqsOptions::new("orders")).checked().unwrap_err().to_string()
    }

    #[test]
    fn what_sqs_cannot_do_is_refused_with_the_limit() {
        for (text, says) in [
            (refusal(|o| o.lease(Duration::ZERO)), "`lease` is 0ns"),
            (refusal(|o| o.lease(Duration::from_secs(10_000))), "`max_hold`"),
            (refusal(|o| o.max_hold(LONGEST_HOLD)), "12 hours"),
            (refusal(|o| o.wait(Duration::from_secs(21))), "at most 20 seconds"),
            (refusal(|o| o.max_pollers(0)), "`max_pollers` is 0"),
            (refusal(|o| o.max_calls(1000)), "from 1 to 256"),
            (refusal(|o| o.attempts(0)), "`attempts` is 0"),
            (refusal(|o| o.max_message(2 << 20)), "1048576 bytes"),
        ] {
            assert!(text.contains(says), "{text}");
        }
        assert!(SqsOptions::new("").checked().is_err());
    }

    #[test]
    fn a_receive_waits_no_longer_than_a_quarter_of_the_drain_and_of_the_lease() {
        let wait = |o: SqsOptions| o.checked().unwrap().wait_secs();
        assert_eq!(wait(SqsOptions::new("q")), 7);
        let hour = Duration::from_secs(3600);
        assert_eq!(wait(SqsOptions::new("q").drain_timeout(hour).lease(hour)), 20);
        assert_eq!(wait(SqsOptions::new("q").lease(Duration::from_millis(400))), 0);
        assert_eq!(wait(SqsOptions::new("q").wait(Duration::from_millis(1900))), 1);
    }

    #[test]
    fn delay_and_hold_share_the_twelve_hours() {
        let options = SqsOptions::new("q").max_hold(Duration::from_secs(60));
        assert_eq!(options.max_delay(), Duration::from_secs(12 * 3600 - 60));
    }
}
