CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL) STRICT;
INSERT INTO sequence VALUES (1, 1);

-- The counters are kept by the transactions that change them. total: runnable, blocked and leased.
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    total INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
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
-- also the epoch that makes receipts stale.
CREATE TABLE lease (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    trail INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_by_expiry ON lease (queue, expires);

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
