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
    /// It is not to be had; a setting that asks for it is an error at start.
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
            emulated("retry topics, one for each of `retry_steps`; it comes when it is due"),
            emulated("wait queues with a TTL, one for each of `delays`; a wish is rounded up"),
            native("hidden by its visibility timeout; it stays in flight meanwhile"),
        ],
    },
    Feature {
        name: "max-retry-delay",
        means: "the longest wait that `retry.cap` may ask for",
        cells: [
            native("any"),
            emulated(
                "half of what the retry topics keep: a week for those that Forebay makes, 3.5 days \
                 where their settings may not be read; with `order`, any",
            ),
            emulated("the longest of `delays`, 3 h 38 min by default; with `ordered`, 15 minutes"),
            native(
                "12 hours less `max_hold`, so 10 hours by default: SQS hides nothing for longer",
            ),
        ],
    },
    Feature {
        name: "order-by-key",
        means: "`worker.ordered`: messages with one key one at a time, oldest first, retries too",
        cells: [
            native("always, asked for or not"),
            emulated("in lanes, beyond the number of partitions: `order = \"key\"`"),
            emulated("a single active consumer, and lanes in that worker: `ordered`"),
            native("FIFO queues, the key being the message group; a standard queue is refused"),
        ],
    },
    Feature {
        name: "attempts",
        means: "whether failed attempts are counted exactly, also after a crash",
        cells: [
            native("exact: a column of its row"),
            emulated("exact: in a header of each copy; in order, noted in a topic of their own"),
            emulated(
                "exact, in a header of each copy; with `ordered`, a lower bound: what a worker \
                 counts in its memory ends with its process",
            ),
            native("an upper bound: SQS counts receives, also those without an attempt"),
        ],
    },
    Feature {
        name: "release-keeps-attempt",
        means: "a message given back unhandled (drain, closed gate) is charged nothing",
        cells: [
            native("its row is as it was"),
            native("its offset is not done, and that is all"),
            native("requeued by `basic.nack`"),
            refused("it has been received once more; this process remembers, another does not"),
        ],
    },
    Feature {
        name: "history",
        means: "the errors of earlier attempts are known to the next worker",
        cells: [
            native("a column of its row"),
            emulated("in a header of each copy"),
            emulated("in a header of each copy; with `ordered`, only in its worker's memory"),
            refused(
                "only in the memory of the worker that retried it; a dead letter has what it knew",
            ),
        ],
    },
    Feature {
        name: "lease-extension",
        means: "a message stays hidden from others for as long as its handler runs",
        cells: [
            native("extended at half of `lease`"),
            not_needed("a partition is ours until a rebalance, and polling never stops"),
            not_needed("a delivery is ours as long as its channel; mind `consumer_timeout`"),
            native("the visibility timeout, extended in batches, up to `max_hold` in all"),
        ],
    },
    Feature {
        name: "dead-letters",
        means: "parked with reason, history, origin; listed, redriven, purged by `forebay dead`",
        cells: [
            native("a table of the same file; moved in one transaction"),
            emulated("a topic `<topic>.dead`; confirmed there before the offset is done"),
            emulated("a queue `<queue>.dead`; confirmed there before the ack"),
            emulated("a queue `<queue>-dead`; sent there before the delete"),
        ],
    },
    Feature {
        name: "delayed-publish",
        means: "`send --delay`: not handed out before its time",
        cells: [
            native("any delay"),
            emulated("through the retry topics; refused with `order`"),
            emulated("through the wait queues"),
            native("up to 15 minutes; refused by FIFO queues"),
        ],
    },
    Feature {
        name: "max-payload",
        means: "the largest payload that is taken; a larger one is refused by `send`",
        cells: [
            native("999,000,000 bytes"),
            native(
                "983,616 bytes by default: `max_message_bytes` less 16 KiB for what copies carry",
            ),
            native("16,777,216 bytes by default: `max_payload`, and the broker's own limit"),
            native("784,512 bytes of any kind, text up to nearly 1 MiB; headers count, too"),
        ],
    },
    Feature {
        name: "backlog",
        means: "`forebay depth`: how much is waiting",
        cells: [
            native("exact: counted in the same transactions"),
            emulated("about: from offsets, so transactions and compaction count as messages"),
            native("about: what waits is told, what other workers hold is not"),
            native("about: SQS counts approximately"),
        ],
    },
    Feature {
        name: "oldest-age",
        means: "for how long the oldest message has been due",
        cells: [
            native("from an index"),
            emulated("the timestamp of the first record that is not done"),
            refused("RabbitMQ tells it only to whoever takes the message"),
            refused("only CloudWatch knows it"),
        ],
    },
    Feature {
        name: "priorities",
        means: "some messages before others",
        cells: [
            refused("use a queue for each priority"),
            refused("use a topic for each priority"),
            native("`max_priority`, on classic queues; quorum queues refuse it"),
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
                "the producer's; else made at first sight, or refused by `identity = \"required\"`",
            ),
            native("the producer's, else SQS's message id"),
        ],
    },
    Feature {
        name: "suspects",
        means: "a message that kills its worker each time is counted, and run alone",
        cells: [
            native("a lease that ends without a verdict is counted"),
            refused("Kafka counts no hand-outs: what was out is repeated, and counts as new"),
            native("`x-delivery-count` of quorum queues; classic ones do not count"),
            refused("a death cannot be told from a release: each counts as an attempt"),
        ],
    },
    Feature {
        name: "makes-what-is-missing",
        means: "queues and topics that are not there",
        cells: [
            native("file and queue, at first use"),
            native("only with `create`, which says how many partitions and copies"),
            native("`topology`: declared, by default; or only looked at; or left alone"),
            native("`topology`: looked at, by default; or created; or left alone"),
        ],
    },
    Feature {
        name: "tls-and-login",
        means: "an encrypted connection, and who we are",
        cells: [
            not_needed("a file on local disk: its permissions decide"),
            native("TLS, with a client certificate if asked; SASL PLAIN and SCRAM"),
            native("`amqps://`; user and password in the URL"),
            native("HTTPS; credentials by the chain of AWS's own SDK"),
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
