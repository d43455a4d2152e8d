//! What is true of the queue after every step, whatever came before it. The histories that try to make
//! it false are in `model`.

use crate::{
    lines::{LineId, Token},
    state::State,
    table::{Place, WorkerId},
};
use std::collections::HashMap;

impl State {
    /// Panics unless all of the queue's parts tell the same.
    pub(crate) fn invariants(&self) {
        let (mut delayed, mut leases, mut out) = (0, 0, 0);
        let mut lines: HashMap<LineId, (usize, u32)> = HashMap::new();
        for (slot, entry) in self.table.iter() {
            let counts = entry.line.map(|line| lines.entry(line).or_default());
            match entry.place {
                Place::Out { expires, .. } => {
                    out += 1;
                    counts.into_iter().for_each(|counts| counts.1 += 1);
                    if let Some(end) = expires {
                        leases += 1;
                        assert_eq!(self.leases.get(&(end, entry.seq)), Some(&slot));
                    }
                }
                Place::Delayed => {
                    delayed += 1;
                    counts.into_iter().for_each(|counts| counts.0 += 1);
                    assert_eq!(self.delayed.get(&(entry.due, entry.seq)), Some(&slot));
                }
                Place::Waiting => {
                    if counts.is_none() {
                        assert!(self.is_offered((slot, entry.seq), None), "nobody sees {entry:?}");
                    }
                    counts.into_iter().for_each(|counts| counts.0 += 1);
                }
            }
        }
        assert_eq!((self.delayed.len(), self.leases.len(), self.out), (delayed, leases, out));
        assert_eq!(self.lines.iter().count(), lines.len(), "empty lines are forgotten");
        for (key, line) in self.lines.iter() {
            let (waiting, returned) = line.all();
            assert_eq!((waiting.len(), line.out), lines[&key], "line of {key:?}");
            assert!(waiting.is_sorted_by_key(|(_, seq)| *seq), "line of {key:?}");
            assert!(!self.at_source() || line.out <= 1, "two of {key:?} are out");
            assert!(returned.iter().all(|seq| waiting.iter().any(|(_, other)| other == seq)));
            let busy = line.out > 0 || !returned.is_empty();
            assert_eq!(line.owner.is_some(), busy && !self.at_source(), "owner of {key:?}");
            let Some(token) = line.next(self.at_source()) else { continue };
            let waits = self.table.get(token.0).is_some_and(|e| e.place == Place::Waiting);
            assert!(!waits || self.is_offered(token, line.owner), "nobody sees {key:?}");
        }
    }

    /// Whether there is a token for it where those look who may have it.
    fn is_offered(&self, token: Token, owner: Option<WorkerId>) -> bool {
        let owner = owner.map(|owner| self.workers[owner as usize].as_ref());
        match owner {
            Some(Some(worker)) => worker.own.contains(&token),
            Some(None) => true, // gone: offered again when its lease ends
            None => {
                self.lines.returned.contains(&token)
                    || self.lines.ready.contains(&token)
                    || self.workers.iter().flatten().any(|worker| worker.own.contains(&token))
            }
        }
    }
}
