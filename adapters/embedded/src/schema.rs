//! The tables in the file, and what marks the file as ours.
//!
//! Shaped for few index writes per message. What never changes (`message`) is apart from what moves
//! (`runnable`, `blocked`, `lease`), so claiming a large message does not rewrite its payload.
//! Every message that is not dead is in exactly one of those three:
//!
//! ```text
//!              publish                     claim                   settle
//!   producer ----------->  runnable  -------------->  lease  ------------------> gone, or dead
//!       |                   ^   ^                       |
//!       | behind another    |   +-----------------------+  retry, postpone, release, expiry
//!       | of its key        |
//!       +---> blocked ------+  when the one before it is gone
//! ```
//!
//! `runnable` holds only what could be handed out now or at a known time, so a claim reads a prefix
//! of it whatever the backlog, and a hot key is no obstacle to the rest. Times are milliseconds
//! since 1970 by the machine's clock.

/// Marks the file as ours in its header: `FRBY`.
pub(crate) const APPLICATION_ID: i32 = 0x4652_4259;

/// The version of the tables below, in the file's `user_version`. Version 1 found its leases by number,
/// with a second index by expiry, and counted them in `queue.leased`.
pub(crate) const VERSION: i32 = 2;

/// Makes version 2 of version 1. A process that has the file open since version 1 can go on, as its
/// statements mean the same in the new table, if more slowly; `queue.leased` is left to it, and what
/// it tells of the backlog is without what others hold.
pub(crate) const FROM_1: &str = "
ALTER TABLE lease RENAME TO lease_1;
CREATE TABLE lease (
    queue INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    trail INTEGER NOT NULL,
    PRIMARY KEY (queue, expires, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO lease (queue, expires, seq, holder, due, attempt, interrupted, deliveries, trail)
SELECT queue, expires, seq, holder, due, attempt, interrupted, deliveries, trail FROM lease_1;
DROP TABLE lease_1;
";

/// Creates the tables. Runs in one transaction with the two marks.
pub(crate) const CREATE: &str = "
-- The next number for a message or a dead letter: unique in the file, never used twice. It begins at a
-- million of its own (of 70 million), so that an inbox that has seen the messages of another file, or of
-- the one that was here before, does not take these for those. All fit into six bytes.
CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL) STRICT;
INSERT INTO sequence VALUES (1, 1 + 1000000 * abs(random() % 70000000));

-- The counters are kept by the transactions that change them. total: runnable, blocked and leased.
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    total INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What the producer said. id: NULL where it is seq. due: not handed out before.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    id TEXT,
    key BLOB,
    payload BLOB NOT NULL,
    headers BLOB,
    enqueued INTEGER NOT NULL,
    due INTEGER NOT NULL,
    redrives INTEGER NOT NULL
) STRICT;
CREATE INDEX message_by_key ON message (queue, key) WHERE key IS NOT NULL;

-- Failures so far, as the contract's JSON. Only for messages that had some, or were redriven.
CREATE TABLE history (seq INTEGER PRIMARY KEY, notes TEXT NOT NULL) STRICT;

-- Can be handed out once due. trail: whether there may be a history.
CREATE TABLE runnable (
    queue INTEGER NOT NULL,
    due INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    trail INTEGER NOT NULL,
    PRIMARY KEY (queue, due, seq)
) STRICT, WITHOUT ROWID;

-- Waits for an earlier message of its key.
CREATE TABLE blocked (
    queue INTEGER NOT NULL,
    due INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue, due, seq)
) STRICT, WITHOUT ROWID;

-- Handed out, to the source with the random number holder. deliveries counts the hand-outs, so it is
-- also the epoch that makes receipts stale. In the order in which they end; a receipt knows when its
-- own does, so no index by number is needed.
CREATE TABLE lease (
    queue INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    trail INTEGER NOT NULL,
    PRIMARY KEY (queue, expires, seq)
) STRICT, WITHOUT ROWID;

-- Dead letters; pos orders them by the time of their death. error: the last one, for searching.
CREATE TABLE dead (
    pos INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    key BLOB,
    payload BLOB NOT NULL,
    headers BLOB,
    enqueued INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    redrives INTEGER NOT NULL,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    history TEXT NOT NULL,
    died INTEGER NOT NULL
) STRICT;
CREATE INDEX dead_by_queue ON dead (queue);
";
