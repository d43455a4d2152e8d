//! One hand-out of a message: what settles it, for how long it is ours, and how far its settlement got.
//!
//! SQS tells little of a handle: deleting with one whose hand-out has ended reports success, and may
//! do nothing. So the book is kept here, by our clock, from the moment before the receive was asked:
//! what comes after the end is stale, whatever SQS says.
//!
//! ```text
//!          +-- copied, to the dead letters --> Copied -+
//!          |                                           v
//!  Out ----+----------------------- confirmed ------> Done
//!   \----------- the lease ends, or the source closes -------> Lost
//! ```

use crate::wire::Types;
use forebay_contract::{Message, Verdict};
use std::{
    mem::{Discriminant, discriminant},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Settles just the hand-out that it came with.
#[derive(Clone, Debug)]
pub struct Receipt(pub(crate) Arc<Handout>);

/// A hand-out.
#[derive(Debug)]
pub(crate) struct Handout {
    /// The handle by which SQS knows it.
    pub(crate) handle: String,
    /// The identity that SQS gives the message.
    pub(crate) message_id: Arc<str>,
    /// FIFO queues: the message's group.
    pub(crate) group: Option<Arc<str>>,
    /// Types of the producer's attributes, for copies.
    pub(crate) types: Option<Types>,
    /// When the receive was asked: from then on SQS may have hidden it.
    pub(crate) asked: Instant,
    /// Receives before this one that were no attempt.
    pub(crate) uncharged: u32,
    /// Attempts that failed in this process.
    pub(crate) failures: u32,
    /// The message, if it is to go back as a fresh copy.
    pub(crate) worn: Option<Arc<Message>>,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    expires_at: Instant,
    phase: Phase,
    /// When it died, once that is decided, so that each copy of the dead letter is the same.
    died_at: Option<SystemTime>,
    /// In which round of settling it was last, and at which place of its batch.
    planned: (u64, usize),
}

impl Book {
    fn phase(&mut self, now: Instant) -> Phase {
        if matches!(self.phase, Phase::Out | Phase::Copied) && self.expires_at <= now {
            self.phase = Phase::Lost;
        }
        self.phase
    }
}

/// How far the settlement of a hand-out got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not settled.
    Out,
    /// Its dead letter, or its fresh copy, is confirmed; it is to be deleted.
    Copied,
    /// Settled, by a verdict of this kind.
    Done(Discriminant<Verdict>),
    /// No longer ours.
    Lost,
}

impl Handout {
    pub(crate) fn new(
        handle: String,
        message_id: Arc<str>,
        group: Option<Arc<str>>,
        asked: Instant,
        lease: Duration,
    ) -> Self {
        let (expires_at, phase) = (asked + lease, Phase::Out);
        let book = Book { expires_at, phase, died_at: None, planned: (0, 0) };
        Self {
            handle,
            message_id,
            group,
            types: None,
            asked,
            uncharged: 0,
            failures: 0,
            worn: None,
            book: Mutex::new(book),
        }
    }

    /// How far it got, by now: a lease that has ended is lost.
    pub(crate) fn phase(&self, now: Instant) -> Phase {
        self.lock().phase(now)
    }

    /// As [`phase`](Self::phase), for the round of settling `round`, which is never 0. `Err`: it is in
    /// this round's batch before, at that place.
    pub(crate) fn planned(&self, now: Instant, round: u64, place: usize) -> Result<Phase, usize> {
        let mut book = self.lock();
        if book.planned.0 == round {
            return Err(book.planned.1);
        }
        book.planned = (round, place);
        Ok(book.phase(now))
    }

    /// Whether it is ours, and not settled.
    pub(crate) fn is_ours(&self, now: Instant) -> bool {
        matches!(self.phase(now), Phase::Out | Phase::Copied)
    }

    pub(crate) fn expires_at(&self) -> Instant {
        self.lock().expires_at
    }

    /// SQS has hidden it anew. `false`: too late, it is lost or settled.
    pub(crate) fn extended(&self, expires_at: Instant, now: Instant) -> bool {
        let ours = self.is_ours(now);
        if ours {
            self.lock().expires_at = expires_at;
        }
        ours
    }

    /// The verdict was carried out.
    pub(crate) fn done(&self, verdict: &Verdict) {
        self.lock().phase = Phase::Done(discriminant(verdict));
    }

    /// Its dead letter, or its fresh copy, is confirmed.
    pub(crate) fn copied(&self) {
        let mut book = self.lock();
        if book.phase == Phase::Out {
            book.phase = Phase::Copied;
        }
    }

    /// It is no longer ours.
    pub(crate) fn lose(&self) {
        let mut book = self.lock();
        if matches!(book.phase, Phase::Out | Phase::Copied) {
            book.phase = Phase::Lost;
        }
    }

    /// When it died: the first answer stands.
    pub(crate) fn died_at(&self, now: impl FnOnce() -> SystemTime) -> SystemTime {
        *self.lock().died_at.get_or_insert_with(now)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn handout(asked: Instant) -> Handout {
        Handout::new("h".into(), "m".into(), None, asked, Duration::from_secs(10))
    }

    #[test]
    fn it_is_lost_at_its_end_and_not_before() {
        let start = Instant::now();
        let it = handout(start);
        let at = |secs| start + Duration::from_secs(secs);
        assert!(it.is_ours(at(9)));
        assert!(it.extended(at(15), at(9)));
        assert_eq!(it.phase(at(14)), Phase::Out);
        assert_eq!(it.phase(at(15)), Phase::Lost);
        assert!(!it.extended(at(99), at(15)), "what is lost is not won back");
    }

    #[test]
    fn what_is_settled_is_not_lost_any_more() {
        let start = Instant::now();
        let it = handout(start);
        it.copied();
        assert_eq!(it.phase(start), Phase::Copied);
        it.done(&Verdict::Ack);
        it.lose();
        let late = start + Duration::from_secs(99);
        assert_eq!(it.phase(late), Phase::Done(discriminant(&Verdict::Ack)));
    }

    #[test]
    fn it_stands_once_in_a_round_of_settling() {
        let (start, it) = (Instant::now(), handout(Instant::now()));
        assert_eq!(it.planned(start, 1, 5), Ok(Phase::Out));
        assert_eq!(it.planned(start, 1, 7), Err(5));
        assert_eq!(it.planned(start, 2, 7), Ok(Phase::Out), "it is settled again");
    }

    #[test]
    fn the_time_of_death_stands() {
        let it = handout(Instant::now());
        let first = it.died_at(|| UNIX_EPOCH);
        assert_eq!(it.died_at(SystemTime::now), first);
    }
}
