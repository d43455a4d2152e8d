//! Every statement on the path of a message, in one place, so that one test can ask SQLite for each
//! plan and refuse those that scan.

/// Takes `?1` numbers from the sequence; gives the number after the last.
pub(crate) const TAKE_NUMBERS: &str =
    "UPDATE sequence SET next = next + ?1 WHERE one = 1 RETURNING next";

/// Changes a queue's counters.
pub(crate) const COUNT: &str =
    "UPDATE queue SET total = total + ?2, leased = leased + ?3, dead = dead + ?4 WHERE id = ?1";

/// Stores what the producer said.
pub(crate) const INSERT_MESSAGE: &str = "INSERT INTO message
    (seq, queue, id, key, payload, headers, enqueued, due, redrives)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Whether an earlier message of the key is there.
pub(crate) const KEY_IS_HELD: &str =
    "SELECT 1 FROM message WHERE queue = ?1 AND key = ?2 AND seq < ?3 LIMIT 1";

/// Makes a message claimable, once due.
pub(crate) const INSERT_RUNNABLE: &str = "INSERT INTO runnable
    (queue, due, seq, attempt, interrupted, deliveries, trail)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Puts a message behind an earlier one of its key.
pub(crate) const INSERT_BLOCKED: &str = "INSERT INTO blocked (queue, due, seq) VALUES (?1, ?2, ?3)";

/// The first message of a key.
pub(crate) const FIRST_OF_KEY: &str = "SELECT seq, due, redrives FROM message
    WHERE queue = ?1 AND key = ?2 ORDER BY seq LIMIT 1";

/// Takes a message out from behind another.
pub(crate) const DELETE_BLOCKED: &str =
    "DELETE FROM blocked WHERE queue = ?1 AND due = ?2 AND seq = ?3";

/// Leases that ran out by `?2`.
pub(crate) const EXPIRED: &str = "SELECT seq, due, attempt, interrupted, deliveries, trail
    FROM lease WHERE queue = ?1 AND expires <= ?2 ORDER BY expires LIMIT ?3";

/// Leases of the source `?2`; reads all of the queue's, which the workers' windows bound.
pub(crate) const HELD: &str = "SELECT seq, due, attempt, interrupted, deliveries, trail
    FROM lease WHERE queue = ?1 AND holder = ?2";

/// Ends a lease without a verdict.
pub(crate) const EXPIRE: &str = "DELETE FROM lease WHERE seq = ?1";

/// What is due by `?2`, oldest first.
pub(crate) const CLAIMABLE: &str = "SELECT r.due, r.seq, r.attempt, r.interrupted, r.deliveries,
    r.trail, m.id, m.key, m.payload, m.headers, m.enqueued, m.redrives
    FROM runnable r CROSS JOIN message m ON m.seq = r.seq
    WHERE r.queue = ?1 AND r.due <= ?2 ORDER BY r.due, r.seq LIMIT ?3";

/// Leases everything up to and including the message `?3`, due at `?2`.
pub(crate) const LEASE_PREFIX: &str = "INSERT INTO lease
    (seq, queue, expires, holder, due, attempt, interrupted, deliveries, trail)
    SELECT seq, queue, ?4, ?5, due, attempt, interrupted, deliveries + 1, trail
    FROM runnable WHERE queue = ?1 AND (due, seq) <= (?2, ?3)";

/// Removes that same prefix.
pub(crate) const DELETE_PREFIX: &str =
    "DELETE FROM runnable WHERE queue = ?1 AND (due, seq) <= (?2, ?3)";

/// The failures of a message.
pub(crate) const HISTORY: &str = "SELECT notes FROM history WHERE seq = ?1";

/// Records the failures of a message.
pub(crate) const SET_HISTORY: &str = "INSERT INTO history (seq, notes) VALUES (?1, ?2)
    ON CONFLICT (seq) DO UPDATE SET notes = excluded.notes";

/// Forgets the failures of a message.
pub(crate) const DELETE_HISTORY: &str = "DELETE FROM history WHERE seq = ?1";

/// When the next message of a queue is due.
pub(crate) const NEXT_DUE: &str =
    "SELECT due FROM runnable WHERE queue = ?1 ORDER BY due, seq LIMIT 1";

/// When the next lease of a queue runs out.
pub(crate) const NEXT_EXPIRY: &str =
    "SELECT expires FROM lease WHERE queue = ?1 ORDER BY expires LIMIT 1";

/// Ends a lease, if the hand-out `?2` is still the last one.
pub(crate) const END_LEASE: &str = "DELETE FROM lease WHERE seq = ?1 AND deliveries = ?2";

/// Moves the end of a lease, if the hand-out `?2` is still the last one.
pub(crate) const EXTEND: &str = "UPDATE lease SET expires = ?3 WHERE seq = ?1 AND deliveries = ?2";

/// Removes a message.
pub(crate) const DELETE_MESSAGE: &str = "DELETE FROM message WHERE seq = ?1";

/// Copies a message to the dead letters.
pub(crate) const BURY: &str = "INSERT INTO dead (pos, queue, seq, id, key, payload, headers,
    enqueued, attempt, interrupted, deliveries, redrives, reason, error, history, died)
    SELECT ?2, queue, seq, coalesce(id, CAST(seq AS TEXT)), key, payload, headers,
    enqueued, ?3, ?4, ?5, redrives, ?6, ?7, ?8, ?9 FROM message WHERE seq = ?1";

/// Dead letters after a place, filtered; a filter that is NULL lets everything pass.
pub(crate) const DEAD: &str = "SELECT pos, seq, id, key, payload, headers, enqueued, attempt,
    interrupted, deliveries, redrives, reason, history, died FROM dead
    WHERE queue = ?1 AND pos > ?2
    AND (?3 IS NULL OR reason = ?3)
    AND (?4 IS NULL OR instr(error, ?4) > 0)
    AND (?5 IS NULL OR died < ?5)
    AND (?6 IS NULL OR redrives < ?6)
    AND (?7 IS NULL OR pos IN (SELECT value FROM json_each(?7)))
    ORDER BY pos LIMIT ?8";

/// Removes a dead letter.
pub(crate) const EXHUME: &str = "DELETE FROM dead WHERE pos = ?1";

/// A queue's counters.
pub(crate) const COUNTERS: &str = "SELECT total, leased, dead FROM queue WHERE id = ?1";

/// What is not yet due.
pub(crate) const DELAYED: &str = "SELECT count(*) FROM runnable WHERE queue = ?1 AND due > ?2";

/// Leases that ran out and were not yet ended by a claim.
pub(crate) const OVERDUE: &str = "SELECT count(*) FROM lease WHERE queue = ?1 AND expires <= ?2";

/// The oldest that waits behind another of its key.
pub(crate) const OLDEST_BLOCKED: &str =
    "SELECT due FROM blocked WHERE queue = ?1 ORDER BY due, seq LIMIT 1";

/// The oldest that is handed out; bounded by what the workers hold.
pub(crate) const OLDEST_LEASED: &str = "SELECT min(due) FROM lease WHERE queue = ?1";

/// A number of rows, as SQLite takes it.
pub(crate) fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
