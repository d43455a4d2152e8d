//! Settings of a queue on RabbitMQ, with their defaults, and what is wrong with some.

use crate::{RabbitError, ladder::Ladder};
use lapin::uri::{AMQPScheme, AMQPUri};
use std::{path::PathBuf, time::Duration};

/// What kind of queue the messages are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// Replicated by Raft, survives the loss of a minority of nodes, counts its deliveries.
    #[default]
    Quorum,
    /// On one node; has priorities; does not count deliveries, so that a message that stops its
    /// worker cannot be told from its neighbours.
    Classic,
}

/// What is done about queues before they are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// Declared when missing: the queue and its dead letters at once, the delays when first needed.
    /// A queue that is there with other arguments is an error.
    #[default]
    Declare,
    /// Looked at and never made: what is missing is an error, and so is a queue that drops messages
    /// (a delivery limit without a dead-letter exchange) or, in key order, has no single active
    /// consumer. Needs the right to configure the queue, for RabbitMQ tells its arguments only to
    /// who may declare it.
    Verify,
    /// Neither: somebody else answers for it.
    Leave,
}

/// How a message comes by its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The header `forebay-id`, else the property `message-id`, else one made at first sight, which
    /// is another one if the message is delivered again before it is copied.
    #[default]
    MessageId,
    /// As [`Identity::MessageId`], but a message with neither becomes a dead letter
    /// (`undecodable`). Identities are then stable, and an inbox can rest on them.
    Required,
    /// The header `forebay-id`, else one made at first sight: for producers whose `message-id` does
    /// not tell messages apart.
    Header,
}

/// Where the queue is, and how it is used. All of it is checked by
/// [`RabbitQueue::open`](crate::RabbitQueue::open).
#[derive(Clone, Debug)]
pub struct RabbitOptions {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS. The default vhost is `%2f`.
    pub url: String,
    /// The queue. Beside it there are `<queue>.dead` and `<queue>.retry.<milliseconds>`.
    pub queue: String,
    /// Default: [`QueueKind::Quorum`]. Delays and dead letters are always in quorum queues, for
    /// classic ones pass messages on without a confirm.
    pub kind: QueueKind,
    /// Default: [`Topology::Declare`].
    pub topology: Topology,
    /// Whether messages with one key come in order. Then one worker at a time is active (single
    /// active consumer), and a retried message waits in that worker. Default: no.
    pub ordered: bool,
    /// Messages that the broker hands to a worker ahead, 1 to 65,535. Default (`None`): as many as
    /// the worker's window holds, up to [`RabbitOptions::max_prefetch`]; in key order as many as that.
    /// There it should be more than ever wait of one key: what waits for a retry, and what is behind
    /// it, takes up its room.
    pub prefetch: Option<u16>,
    /// The most that `prefetch` comes to by itself; in key order what it is. Default: 2,000.
    pub max_prefetch: u16,
    /// After how many hand-outs without a verdict the broker itself moves a message to the dead
    /// letters: the last net under a message that kills every worker. Quorum queues only; at least
    /// 5. Default: 100.
    pub delivery_limit: u32,
    /// The delays that there are queues for, ascending; a wish is rounded up to the next. Default:
    /// 100 ms, doubling 17 times, up to 3 h 38 min.
    pub delays: Vec<Duration>,
    /// Priorities 0 to this, 1 to 255; classic queues only. More than 10 cost the broker much.
    /// Default: none.
    pub max_priority: Option<u8>,
    /// Default: [`Identity::MessageId`].
    pub identity: Identity,
    /// Buffered messages are given back when no receive has asked for them for so long; at least
    /// 100 ms. Default: 5 s.
    pub idle_after: Duration,
    /// How long a settlement or a publish waits for the broker's confirm before it is reported as
    /// unavailable. Default: 10 s.
    pub confirm_timeout: Duration,
    /// The broker's own `consumer_timeout`, if it is not the usual one; at least 1 s. In key order,
    /// where a message stays unacked while it waits for its next attempt, the channel is renewed
    /// before that has passed. Default: 30 min.
    pub consumer_timeout: Duration,
    /// How long connecting may take. Default: 10 s.
    pub connect_timeout: Duration,
    /// How often the connection shows a sign of life, in whole seconds; after twice that without
    /// one, it is taken for dead. Default: 10 s.
    pub heartbeat: Duration,
    /// Channels that publish at the same time, 1 to 16: what is settled or sent while one waits for
    /// its confirms goes out by the next. Default: 2.
    pub publish_channels: usize,
    /// A PEM file of certificates to trust beside the system's own, for `amqps://`. Default: none.
    pub ca_file: Option<PathBuf>,
    /// The largest payload that is published, in bytes; the broker's own limit is `max_message_size`
    /// (128 MiB on RabbitMQ 3.x, 16 MiB from 4.0). Default: 16 MiB.
    pub max_payload: usize,
    /// The connection's name on the broker's pages. Default: `forebay <queue>`.
    pub name: Option<String>,
}

impl RabbitOptions {
    /// A queue with everything at its default.
    #[must_use]
    pub fn new(url: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            queue: queue.into(),
            kind: QueueKind::default(),
            topology: Topology::default(),
            ordered: false,
            prefetch: None,
            max_prefetch: 2_000,
            delivery_limit: 100,
            delays: Ladder::default()
                .steps()
                .iter()
                .map(|step| Duration::from_millis(*step))
                .collect(),
            max_priority: None,
            identity: Identity::default(),
            idle_after: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(10),
            consumer_timeout: Duration::from_secs(30 * 60),
            connect_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            publish_channels: 2,
            ca_file: None,
            max_payload: 16 << 20,
            name: None,
        }
    }

    /// As declared, or looked at, or left alone.
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// A quorum or a classic queue.
    #[must_use]
    pub fn kind(mut self, kind: QueueKind) -> Self {
        self.kind = kind;
        self
    }

    /// In key order, or not.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }
}

/// Options that hold, with what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) options: RabbitOptions,
    pub(crate) uri: AMQPUri,
    pub(crate) ladder: Ladder,
    pub(crate) dead: String,
}

impl Checked {
    /// The name of the queue that delays by so many milliseconds.
    pub(crate) fn retry_queue(&self, millis: u64) -> String {
        format!("{}.retry.{millis}", self.options.queue)
    }

    /// Where the broker is, without the password.
    pub(crate) fn address(&self) -> String {
        let AMQPUri { authority, vhost, scheme, .. } = &self.uri;
        format!("{scheme}://{}:{}/{}", authority.host, authority.port, vhost.replace('/', "%2f"))
    }
}

/// Whether a password is cut in two, and its rest taken for a path: it would be shown as such.
fn has_a_cut_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once(['/', '?', '#']).is_some_and(|(_, path)| path.contains('@'))
}

/// The longest name that AMQP has.
const LONGEST_NAME: usize = 255;

impl RabbitOptions {
    /// Checks all of it, before anything is asked of a broker.
    pub(crate) fn check(self) -> Result<Checked, RabbitError> {
        let wrong = |option, why: String| Err(RabbitError::Option { option, why });
        if has_a_cut_password(&self.url) {
            let why = "in a password, `/`, `?` and `#` are written %2f, %3f and %23, and in a vhost \
                       `@` is written %40";
            return wrong("url", why.into());
        }
        let mut uri: AMQPUri = self.url.parse().map_err(|why| RabbitError::Option {
            option: "url",
            why: format!("{why}; it is written amqp://user:password@host:5672/%2f"),
        })?;
        if self.url.len() > 8 && uri.vhost.is_empty() {
            let why = "it names the vhost \"\": the default one is written %2f, as in \
                       amqp://host:5672/%2f";
            return wrong("url", why.into());
        }
        if self.ca_file.is_some() && uri.scheme == AMQPScheme::AMQP {
            let why = "it is for TLS, and the URL begins with amqp://: make that amqps://";
            return wrong("ca_file", why.into());
        }
        let ladder = match Ladder::new(&self.delays) {
            Ok(ladder) => ladder,
            Err(why) => return wrong("delays", why),
        };
        let suffix = format!(".retry.{}", ladder.longest().as_millis()).len().max(".dead".len());
        if self.queue.is_empty() || self.queue.len() + suffix > LONGEST_NAME {
            let most = LONGEST_NAME - suffix;
            let why = format!("a name has 1 to {most} bytes, and this one {}", self.queue.len());
            return wrong("queue", why);
        }
        if self.queue.starts_with("amq.") {
            return wrong("queue", "RabbitMQ keeps names that begin with `amq.` to itself".into());
        }
        if self.prefetch == Some(0) || self.max_prefetch == 0 {
            return wrong("prefetch", "0 is RabbitMQ's word for no limit: use 1 to 65535".into());
        }
        if self.delivery_limit < 5 {
            let why = "below 5, a few restarts of the broker make dead letters: use at least 5";
            return wrong("delivery_limit", why.into());
        }
        match (self.max_priority, self.kind) {
            (Some(0), _) => return wrong("max_priority", "use 1 to 255, or none".into()),
            (Some(_), QueueKind::Quorum) => {
                let why = "a quorum queue has no priorities: use a classic one, or none";
                return wrong("max_priority", why.into());
            }
            _ => {}
        }
        if self.ordered && self.max_priority.is_some() {
            return wrong("max_priority", "priorities overtake, so there is no order".into());
        }
        if self.idle_after < Duration::from_millis(100) {
            return wrong("idle_after", "use at least 100 ms".into());
        }
        if self.consumer_timeout < Duration::from_secs(1) {
            return wrong("consumer_timeout", "use what the broker has, at least 1 s".into());
        }
        let seconds = u16::try_from(self.heartbeat.as_secs()).unwrap_or(0);
        if seconds == 0 || self.heartbeat.subsec_nanos() > 0 {
            return wrong("heartbeat", "use whole seconds, 1 to 65535".into());
        }
        if !(1..=16).contains(&self.publish_channels) {
            return wrong("publish_channels", "use 1 to 16".into());
        }
        for (name, timeout) in
            [("confirm_timeout", self.confirm_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if timeout.is_zero() {
                return wrong(name, "0 leaves no time at all".into());
            }
        }
        uri.query.heartbeat = Some(seconds);
        let dead = format!("{}.dead", self.queue);
        Ok(Checked { uri, ladder, dead, options: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: fn(&mut RabbitOptions)) -> Result<Checked, RabbitError> {
        let mut options = RabbitOptions::new("amqp://guest:secret@127.0.0.1:5672/%2f", "orders");
        change(&mut options);
        options.check()
    }

    #[test]
    fn the_defaults_hold_and_the_password_is_not_told() {
        let checked = check(|_| ()).unwrap();
        assert_eq!(checked.address(), "amqp://127.0.0.1:5672/%2f");
        assert_eq!(checked.retry_queue(100), "orders.retry.100");
        assert_eq!(checked.dead, "orders.dead");
    }

    #[test]
    fn each_wrong_option_is_named() {
        type Change = fn(&mut RabbitOptions);
        let wrong: [(Change, &str); 18] = [
            (|o| o.url = "http://localhost".into(), "url"),
            (|o| o.url = "amqp://localhost/".into(), "url"),
            (|o| o.url = "amqp://me:secret/2@localhost:5672/%2f".into(), "%2f"),
            (|o| o.url = "amqp://me:12/secret@localhost:5672/%2f".into(), "%2f"),
            (|o| o.queue.clear(), "queue"),
            (|o| o.queue = "q".repeat(245), "queue"),
            (|o| o.queue = "amq.x".into(), "queue"),
            (|o| o.prefetch = Some(0), "prefetch"),
            (|o| o.max_prefetch = 0, "prefetch"),
            (|o| o.delivery_limit = 1, "delivery_limit"),
            (|o| o.max_priority = Some(5), "max_priority"),
            (|o| o.delays.clear(), "delays"),
            (|o| o.idle_after = Duration::ZERO, "idle_after"),
            (|o| o.heartbeat = Duration::from_millis(1500), "heartbeat"),
            (|o| o.publish_channels = 0, "publish_channels"),
            (|o| o.confirm_timeout = Duration::ZERO, "confirm_timeout"),
            (|o| o.consumer_timeout = Duration::ZERO, "consumer_timeout"),
            (|o| o.ca_file = Some("ca.pem".into()), "ca_file"),
        ];
        for (change, names) in wrong {
            let said = check(change).unwrap_err().to_string();
            assert!(said.contains(names), "expected `{names}` in: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
