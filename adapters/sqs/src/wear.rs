//! How far a message is worn by its receives: SQS counts each of them, says no more than the count, and
//! moves a message away that has too many.
//!
//! | what is counted | what follows |
//! |---|---|
//! | nearly as many receives as the queue's redrive policy allows | given back, it goes as a fresh copy, which starts from 0 |
//! | many receives that were no attempt, known to this process alone | the same: the copy carries the true count |
//! | no policy, and more receives than verdicts explain | it is a dead letter, not handed out |
//!
//! A copy goes to the end of its group, so a FIFO queue has none: there the policy must leave more room.

use crate::{SqsOptions, memo::Note, topology::receives_for};

/// The limits of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wear {
    /// After how many receives SQS itself moves a message.
    max_receives: Option<u32>,
    /// How many receives without a verdict are too many.
    unexplained: u32,
    /// How many receives that were no attempt are known to this process alone, at the most.
    uncharged: u32,
    fifo: bool,
}

impl Wear {
    pub(crate) fn new(options: &SqsOptions, max_receives: Option<u32>, fifo: bool) -> Self {
        Self {
            max_receives,
            unexplained: receives_for(options, fifo),
            // Half of the attempts: a worker that comes after this one takes them for attempts.
            uncharged: (options.attempts / 2).max(1),
            fifo,
        }
    }

    /// Whether a message, given back, is to be a fresh copy.
    pub(crate) fn wants_copy(&self, receives: u32, note: &Note) -> bool {
        // Some receives are not ours to see: answers that were lost.
        let near = |max: u32| receives.saturating_add((max / 10).clamp(1, 10)) >= max;
        !self.fifo && (self.max_receives.is_some_and(near) || note.uncharged >= self.uncharged)
    }

    /// Whether this is the last hand-out before SQS moves a message, and nothing can be done about it.
    pub(crate) fn is_last(&self, receives: u32) -> bool {
        self.fifo && self.max_receives.is_some_and(|max| receives >= max)
    }

    /// How many receives no verdict explains, if that is too many, and SQS does not see to it.
    pub(crate) fn killed_workers(&self, receives: u32, note: &Note) -> Option<u32> {
        let explained = note.uncharged.saturating_add(note.failures).saturating_add(1);
        let unexplained = receives.saturating_sub(explained);
        (self.max_receives.is_none() && unexplained >= self.unexplained).then_some(unexplained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wear(max_receives: Option<u32>, fifo: bool) -> Wear {
        Wear::new(&SqsOptions::new("orders").attempts(5), max_receives, fifo)
    }

    fn uncharged(uncharged: u32) -> Note {
        Note { uncharged, ..Note::default() }
    }

    #[test]
    fn a_copy_is_made_before_sqs_moves_the_message_or_much_is_known_here_alone() {
        let copied = |receives, note| wear(Some(50), false).wants_copy(receives, &note);
        assert!(!copied(44, Note::default()) && copied(45, Note::default()));
        assert!(!copied(3, uncharged(1)) && copied(3, uncharged(2)));
        assert!(wear(Some(2), false).wants_copy(1, &Note::default()));
        assert!(!wear(None, false).wants_copy(900, &Note::default()));
        assert!(!wear(Some(50), true).wants_copy(50, &uncharged(40)), "it would lose its place");
        assert!(wear(Some(50), true).is_last(50) && !wear(Some(50), true).is_last(49));
    }

    #[test]
    fn receives_that_no_verdict_explains_are_killed_workers_where_there_is_no_policy() {
        let killed = |receives, note| wear(None, false).killed_workers(receives, &note);
        assert_eq!(killed(50, Note::default()), None);
        assert_eq!(killed(51, Note::default()), Some(50));
        assert_eq!(killed(60, uncharged(10)), None, "given back so often");
        assert_eq!(killed(60, Note { failures: 10, ..Note::default() }), None, "it has failed");
        assert_eq!(wear(Some(1000), false).killed_workers(900, &Note::default()), None);
    }
}
