//! What each broker does natively, what its adapter makes up for, and what is refused: as data.
//!
//! `forebay adapters` prints it, and docs/brokers-matrix.md is made of it; tests hold the page to it,
//! and it to what the adapters say of themselves (`Capabilities`). What cannot be done is refused at
//! start by whoever knows the setting: the runtime (order, delays, timeouts), or the adapter.

use crate::brokers::BROKERS;
use std::fmt::Write as _;

/// How a broker comes to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The broker does it.
    Native,
    /// The adapter does it, on top of what the broker does.
    Emulated,
    /// Nobody does it; a setting that asks for it is an error at start.
    Refused,
    /// There is nothing to do.
    NotNeeded,
}

impl How {
    /// In a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Emulated => "emulated",
            Self::Refused => "refused",
            Self::NotNeeded => "n.a.",
        }
    }
}

/// What one broker does about one feature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// How.
    pub(crate) how: How,
    /// By what, and up to which limit.
    pub(crate) says: &'static str,
}

/// Something that a queue may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    /// Its name, for machines too.
    pub(crate) name: &'static str,
    /// What is meant by it.
    pub(crate) means: &'static str,
    /// What each broker does about it, in the order of [`BROKERS`].
    pub(crate) cells: [Cell; BROKERS.len()],
}

const fn native(says: &'static str) -> Cell {
    Cell { how: How::Native, says }
}

const fn emulated(says: &'static str) -> Cell {
    Cell { how: How::Emulated, says }
}

const fn refused(says: &'static str) -> Cell {
    Cell { how: How::Refused, says }
}

const fn not_needed(says: &'static str) -> Cell {
    Cell { how: How::NotNeeded, says }
}

/// All of it.
pub(crate) const FEATURES: &[Feature] = &[
    Feature {
        name: "delayed-retry",
        means: "a failed message waits for its next attempt, and holds up no other",
        cells: [
            native("kept in the file with its due time"),
            emulated(
                "retry topics, one for each step; a retry waits in the first that is long enough",
            ),
            emulated(
                "wait queues with a TTL, one for each step, dead-lettered back when it is over",
            ),
            native("hidden by its visibility timeout; it stays in flight meanwhile"),
        ],
    },
    Feature {
        name: "max-retry-delay",
        means: "the longest wait that `retry.cap` may ask for",
        cells: [
            native("any"),
            emulated("any: a longer wait than the last step's goes round in it"),
            emulated("any: a longer wait than the last step's goes round in it"),
            native("12 hours, less what the handler may take: the most that SQS hides a message"),
        ],
    },
    Feature {
        name: "order-by-key",
        means: "`worker.ordered`: messages with one key one at a time, oldest first, retries too",
        cells: [
            native("always, whether asked for or not"),
            emulated("within a partition, beyond the number of partitions: `order = \"key\"`"),
            native(
                "a single active consumer takes the queue in order; keys run side by side in it",
            ),
            native("FIFO queues, the key being the message group; a standard queue is refused"),
        ],
    },
    Feature {
        name: "exact-attempts",
        means: "an attempt is counted when it has failed, and only then",
        cells: [
            native("a column of its row"),
            emulated("in a header of the retry copy; of a lane's retry, in the commit's metadata"),
            emulated("in a header of the retry copy; in order, an upper bound"),
            refused("an upper bound: SQS counts each hand-out, also one that was given back"),
        ],
    },
    Feature {
        name: "release-keeps-attempt",
        means: "a message given back unhandled (drain, closed gate) is charged nothing",
        cells: [
            native("its row is as it was"),
            native("its offset stays uncommitted"),
            native("requeued by `basic.nack`"),
            refused("it has been received once more, and that counts"),
        ],
    },
    Feature {
        name: "lease-extension",
        means: "a message stays hidden from others for as long as its handler runs",
        cells: [
            native("extended at half of `lease`"),
            not_needed("a partition is ours until a rebalance; polling goes on while handlers run"),
            not_needed("a delivery is ours as long as its channel; `consumer_timeout` is watched"),
            native("the visibility timeout is extended, in batches, up to 12 hours in all"),
        ],
    },
    Feature {
        name: "dead-letters",
        means: "parked with reason, history, origin; listed, redriven, purged by `forebay dead`",
        cells: [
            native("a table of the same file; moved in one transaction"),
            emulated("a topic `<topic>.dead`; confirmed there before the offset counts"),
            emulated("a queue `<queue>.dead`; confirmed there before the ack"),
            emulated("a queue `<queue>-dead`; sent there before the delete"),
        ],
    },
    Feature {
        name: "delayed-publish",
        means: "`send --delay`: not handed out before its time",
        cells: [
            native("any delay"),
            emulated("through the retry topics"),
            emulated("through the wait queues"),
            native("15 minutes at most; not on FIFO queues"),
        ],
    },
    Feature {
        name: "max-payload",
        means: "the largest payload that is taken",
        cells: [
            native("999,000,000 bytes"),
            native("983,616 bytes by default: `max_message_bytes`, less 16 KiB for the history"),
            native("128 MiB by default, as RabbitMQ is set up"),
            native("1 MiB with all headers"),
        ],
    },
    Feature {
        name: "exact-backlog",
        means: "`forebay depth` is exact",
        cells: [
            native("counted in the same transactions"),
            emulated("from offsets: transactions and compaction leave gaps that count as messages"),
            native("ready and unacknowledged, as the broker counts"),
            refused("SQS tells about how many, and says so"),
        ],
    },
    Feature {
        name: "oldest-age",
        means: "for how long the oldest message has been due",
        cells: [
            native("from an index"),
            emulated("from the timestamp of the first record that is not done"),
            refused("RabbitMQ does not tell it without taking the message"),
            refused("only CloudWatch knows it"),
        ],
    },
    Feature {
        name: "priorities",
        means: "some messages before others",
        cells: [
            refused("use a queue for each priority"),
            refused("use a topic for each priority"),
            native("`x-max-priority` of a classic queue, passed through"),
            refused("use a queue for each priority"),
        ],
    },
    Feature {
        name: "identity",
        means: "the same `id` at every redelivery, so that an inbox may rest on it",
        cells: [
            native("the producer's, else a number of the file"),
            native("the producer's, else topic, partition and offset of the first record"),
            emulated(
                "the producer's (`forebay-id` or `message-id`), else one given at first sight",
            ),
            native("the producer's, else the message id of the first"),
        ],
    },
    Feature {
        name: "suspects",
        means: "a message that kills its worker each time is told from its neighbours",
        cells: [
            native("a lease that ended without a verdict is counted"),
            emulated("what was out at an unclean end is noted in the commit's metadata"),
            native("`x-delivery-count` of quorum queues; not of classic ones"),
            native("a hand-out without a verdict shows in the receive count"),
        ],
    },
    Feature {
        name: "makes-what-is-missing",
        means: "queues and topics that are not there",
        cells: [
            native("file and queue, at first use"),
            native("only with `create`, which says how many partitions and copies"),
            native("declared, checked only, or left alone, by choice"),
            native("only by choice"),
        ],
    },
    Feature {
        name: "tls-and-login",
        means: "an encrypted connection, and who we are",
        cells: [
            not_needed("a file on local disk: its permissions decide"),
            native("TLS, SASL/PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
            native("`amqps://`, name and password or a client certificate"),
            native("HTTPS, and the chain of credentials of AWS's own SDK"),
        ],
    },
];

/// The page docs/brokers-matrix.md.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# What each broker does\n\n\
         This page says, for each feature, whether a broker does it natively, whether its adapter \
         makes up for it, or whether it is refused; and by what.\n\n\
         It is made by `forebay adapters --markdown`, and a test holds it to that. A setting that a \
         broker cannot honour is an error at start, which names the setting, the limit, and the way \
         out.\n\n",
    );
    let mut row = |cells: &mut dyn Iterator<Item = &str>| {
        for cell in cells {
            let _ = write!(page, "| {cell} ");
        }
        page.push_str("|\n");
    };
    row(&mut ["feature"].into_iter().chain(BROKERS));
    row(&mut ["---"; BROKERS.len() + 1].into_iter());
    for feature in FEATURES {
        let link = format!("[{0}](#{0})", feature.name);
        let hows = feature.cells.iter().map(|cell| cell.how.as_str());
        row(&mut [&*link].into_iter().chain(hows));
    }
    for feature in FEATURES {
        let _ = write!(page, "\n## {}\n\nMeaning: {}.\n\n", feature.name, feature.means);
        for (broker, cell) in BROKERS.iter().zip(&feature.cells) {
            let _ = writeln!(page, "- **{broker}**, {}: {}.", cell.how.as_str(), cell.says);
        }
    }
    page
}
