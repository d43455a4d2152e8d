//! Every statement on the path of a message, in one place, so that one test can ask SQLite for each
//! plan and refuse those that scan.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*

        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    /// The next number of the sequence. Not by `RETURNING` of the next statement: for that, SQLite makes
    /// a table each time, which costs several times as much.
    NEXT_NUMBER = "SELECT next FROM sequence WHERE one = 1";

    /// Takes numbers from the sequence, up to `?1`, which is the next one then.
    TAKE_NUMBERS = "UPDATE sequence SET next = ?1 WHERE one = 1";

    /// Changes a queue's counters.
    COUNT = "UPDATE queue SET total = total + ?2, dead = dead + ?3 WHERE id = ?1";

    /// Stores what the producer said.
    INSERT_MESSAGE = "INSERT INTO message
        (seq, queue, id, key, payload, headers, enqueued, due, redrives)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

    /// Whether an earlier message of the key is there.
    KEY_IS_HELD = "SELECT 1 FROM message WHERE queue = ?1 AND key = ?2 AND seq < ?3 LIMIT 1";

    /// Makes a message claimable, once due.
    INSERT_RUNNABLE = "INSERT INTO runnable
        (queue, due, seq, attempt, interrupted, deliveries, trail)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

    /// Makes the new messages from `?1` up to, not including, `?2` claimable that have no key.
    INSERT_RUNNABLES = "INSERT INTO runnable
        (queue, due, seq, attempt, interrupted, deliveries, trail)
        SELECT queue, due, seq, 0, 0, 0, 0
        FROM message WHERE seq >= ?1 AND seq < ?2 AND key IS NULL";

    /// Puts a message behind an earlier one of its key.
    INSERT_BLOCKED = "INSERT INTO blocked (queue, due, seq) VALUES (?1, ?2, ?3)";

    /// The first message of a key.
    FIRST_OF_KEY = "SELECT seq, due, redrives FROM message
        WHERE queue = ?1 AND key = ?2 ORDER BY seq LIMIT 1";

    /// Takes a message out from behind another.
    DELETE_BLOCKED = "DELETE FROM blocked WHERE queue = ?1 AND due = ?2 AND seq = ?3";

    /// Leases that ran out by `?2`.
    EXPIRED = "SELECT expires, seq, due, attempt, interrupted, deliveries, trail
        FROM lease WHERE queue = ?1 AND expires <= ?2 ORDER BY expires LIMIT ?3";

    /// Leases of the source `?2`; reads all of the queue's, which the workers' windows bound.
    HELD = "SELECT expires, seq, due, attempt, interrupted, deliveries, trail
        FROM lease WHERE queue = ?1 AND holder = ?2";

    /// Ends a lease without a verdict.
    EXPIRE = "DELETE FROM lease WHERE queue = ?1 AND expires = ?2 AND seq = ?3";

    /// What is due by `?2`, oldest first.
    CLAIMABLE = "SELECT r.due, r.seq, r.attempt, r.interrupted, r.deliveries,
        r.trail, m.id, m.key, m.payload, m.headers, m.enqueued, m.redrives
        FROM runnable r CROSS JOIN message m ON m.seq = r.seq
        WHERE r.queue = ?1 AND r.due <= ?2 ORDER BY r.due, r.seq LIMIT ?3";

    /// Leases everything up to and including the message `?3`, due at `?2`.
    LEASE_PREFIX = "INSERT INTO lease
        (queue, expires, seq, holder, due, attempt, interrupted, deliveries, trail)
        SELECT queue, ?4, seq, ?5, due, attempt, interrupted, deliveries + 1, trail
        FROM runnable WHERE queue = ?1 AND (due, seq) <= (?2, ?3)";

    /// Removes that same prefix.
    DELETE_PREFIX = "DELETE FROM runnable WHERE queue = ?1 AND (due, seq) <= (?2, ?3)";

    /// The failures of a message.
    HISTORY = "SELECT notes FROM history WHERE seq = ?1";

    /// Records the failures of a message.
    SET_HISTORY = "INSERT INTO history (seq, notes) VALUES (?1, ?2)
        ON CONFLICT (seq) DO UPDATE SET notes = excluded.notes";

    /// Forgets the failures of a message.
    DELETE_HISTORY = "DELETE FROM history WHERE seq = ?1";

    /// When the next message of a queue is due.
    NEXT_DUE = "SELECT due FROM runnable WHERE queue = ?1 ORDER BY due, seq LIMIT 1";

    /// When the next lease of a queue runs out.
    NEXT_EXPIRY = "SELECT expires FROM lease WHERE queue = ?1 ORDER BY expires LIMIT 1";

    /// Ends a lease, if the hand-out `?4` is still the last one.
    END_LEASE = "DELETE FROM lease
        WHERE queue = ?1 AND expires = ?2 AND seq = ?3 AND deliveries = ?4";

    /// How many of the messages from `?3` to `?4` are leased until `?2`, by the hand-out `?5` each.
    COUNT_LEASES = "SELECT count(*) FROM lease
        WHERE queue = ?1 AND expires = ?2 AND seq >= ?3 AND seq <= ?4 AND deliveries = ?5";

    /// Ends the leases of all those.
    END_LEASES = "DELETE FROM lease
        WHERE queue = ?1 AND expires = ?2 AND seq >= ?3 AND seq <= ?4 AND deliveries = ?5";

    /// Moves the end of a lease, if the hand-out `?4` is still the last one.
    EXTEND = "UPDATE lease SET expires = ?5
        WHERE queue = ?1 AND expires = ?2 AND seq = ?3 AND deliveries = ?4";

    /// Removes a message.
    DELETE_MESSAGE = "DELETE FROM message WHERE seq = ?1";

    /// Removes the messages from `?1` to `?2`.
    DELETE_MESSAGES = "DELETE FROM message WHERE seq >= ?1 AND seq <= ?2";

    /// Copies a message to the dead letters.
    BURY = "INSERT INTO dead (pos, queue, seq, id, key, payload, headers,
        enqueued, attempt, interrupted, deliveries, redrives, reason, error, history, died)
        SELECT ?2, queue, seq, coalesce(id, CAST(seq AS TEXT)), key, payload, headers,
        enqueued, ?3, ?4, ?5, redrives, ?6, ?7, ?8, ?9 FROM message WHERE seq = ?1";

    /// Dead letters after a place, filtered; a filter that is NULL lets everything pass.
    DEAD = "SELECT pos, seq, id, key, payload, headers, enqueued, attempt,
        interrupted, deliveries, redrives, reason, history, died FROM dead
        WHERE queue = ?1 AND pos > ?2
        AND (?3 IS NULL OR reason = ?3)
        AND (?4 IS NULL OR instr(error, ?4) > 0)
        AND (?5 IS NULL OR died < ?5)
        AND (?6 IS NULL OR redrives < ?6)
        AND (?7 IS NULL OR pos IN (SELECT value FROM json_each(?7)))
        ORDER BY pos LIMIT ?8";

    /// Removes a dead letter.
    EXHUME = "DELETE FROM dead WHERE pos = ?1";

    /// A queue's counters.
    COUNTERS = "SELECT total, dead FROM queue WHERE id = ?1";

    /// What is not yet due.
    DELAYED = "SELECT count(*) FROM runnable WHERE queue = ?1 AND due > ?2";

    /// What is handed out. Those whose leases ran out are as good as back.
    LEASED = "SELECT count(*) FROM lease WHERE queue = ?1 AND expires > ?2";

    /// The oldest that waits behind another of its key.
    OLDEST_BLOCKED = "SELECT due FROM blocked WHERE queue = ?1 ORDER BY due, seq LIMIT 1";

    /// The oldest that is handed out; bounded by what the workers hold.
    OLDEST_LEASED = "SELECT min(due) FROM lease WHERE queue = ?1";
}

/// A number of rows, as SQLite takes it.
pub(crate) fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// The steps by which SQLite runs a statement.
    fn plan(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        (1..=statement.parameter_count()).for_each(|i| statement.raw_bind_parameter(i, 1).unwrap());
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get("detail").unwrap());
        }
        steps
    }

    #[test]
    fn no_statement_scans_or_sorts() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(crate::schema::CREATE).unwrap();
        assert!(ALL.len() > 25);
        for (name, sql) in ALL {
            for step in plan(&conn, sql) {
                // The ids of a filter are a list that came with the statement.
                let scan = step.starts_with("SCAN") && !step.starts_with("SCAN json_each");
                assert!(!scan && !step.contains("TEMP B-TREE"), "{name}: {step}");
            }
        }
    }

    #[test]
    fn claims_read_a_prefix_of_the_runnable() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(crate::schema::CREATE).unwrap();
        let step = |sql| plan(&conn, sql).remove(0);
        assert_eq!(step(CLAIMABLE), "SEARCH r USING PRIMARY KEY (queue=? AND due<?)");
        for sql in [LEASE_PREFIX, DELETE_PREFIX] {
            assert_eq!(
                step(sql),
                "SEARCH runnable USING PRIMARY KEY (queue=? AND (due,seq)<(?,?))"
            );
        }
    }
}
