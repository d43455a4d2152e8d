//! The dead letters: partition 0 of their topic, read by a group of their own (`<group>.dead`) whose
//! ledger says which of them have been redriven or purged.
//!
//! Kafka cannot delete a record out of the midst of others. What has been taken out is marked as done
//! in the metadata of the group's commit, just as a worker marks its messages, so it does not appear
//! again; what lies before all that are left is deleted. One partition, so that the letters are in the
//! order of death.

mod marks;

use crate::{
    KafkaError, KafkaOptions,
    copy::Outcome,
    producer::{Producer, Record},
    reader::Reader,
    records::{self, Carries, Read},
    topics::Topics,
};
use forebay_contract::{
    Carried, DeadFilter, DeadId, DeadLetter, DeadOrigin, DeadReason, Message, Redriven,
};
use forebay_policy::{Ledger, Received};
use marks::{Marks, noted};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Instant, UNIX_EPOCH},
};

/// How many letters are moved before that is committed.
const CHUNK: usize = 200;

/// See the module's documentation. Its calls block.
#[derive(Debug)]
pub(crate) struct Graveyard {
    options: Arc<KafkaOptions>,
    topics: Arc<Topics>,
    /// One call at a time: two would overwrite each other's marks.
    reader: Mutex<Reader>,
    /// When the marks were last committed once more.
    kept: Mutex<Option<Instant>>,
}

impl Graveyard {
    pub(crate) fn new(
        options: &Arc<KafkaOptions>,
        topics: &Arc<Topics>,
    ) -> Result<Self, KafkaError> {
        let group = format!("{}.dead", options.group);
        let reader = Mutex::new(Reader::new(options, &group)?);
        let (options, topics) = (options.clone(), topics.clone());
        Ok(Self { options, topics, reader, kept: Mutex::default() })
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, KafkaError> {
        let after = after.map_or(Ok(-1), position)?;
        let mut letters = Vec::new();
        self.visit(&mut self.reader(), |offset, letter| {
            if letters.len() < limit && offset > after && filter.matches(&letter) {
                letters.push(letter);
            }
            letters.len() < limit
        })?;
        Ok(letters)
    }

    /// How many there are, about.
    pub(crate) fn count(&self) -> Result<u64, KafkaError> {
        let Marks { ledger, start, end } = self.marks(&self.reader())?;
        let all = end.saturating_sub(start).max(0).unsigned_abs();
        Ok(all.saturating_sub(ledger.gap() - ledger.outstanding()))
    }

    /// Moves letters, chunk by chunk. What has been moved is told, whatever ends it.
    pub(crate) fn redrive(
        &self,
        producer: &Producer,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, KafkaError> {
        let mut reader = self.reader();
        let (mut ledger, found) = self.find(&mut reader, filter, limit)?;
        let mut moved = Vec::with_capacity(found.len());
        let result = found.chunks(CHUNK).try_for_each(|chunk| {
            self.redrive_chunk(&reader, producer, &mut ledger, chunk, &mut moved)
        });
        self.delete_below_commit(&ledger);
        match result {
            Ok(()) => Ok(Redriven::all(moved)),
            Err(error) if moved.is_empty() => Err(error),
            Err(error) => Ok(Redriven { moved, stopped: Some(error.into()) }),
        }
    }

    fn redrive_chunk(
        &self,
        reader: &Reader,
        producer: &Producer,
        ledger: &mut Ledger,
        chunk: &[(i64, DeadLetter)],
        moved: &mut Vec<DeadLetter>,
    ) -> Result<(), KafkaError> {
        // What could not be noted must not be moved: it would be moved again each time.
        let mut after = ledger.clone();
        for (offset, _) in chunk {
            after.done(0, *offset);
        }
        noted(&mut after)?;
        let mut failed = None;
        for ((offset, letter), outcome) in chunk.iter().zip(self.send(producer, chunk)) {
            match outcome {
                Outcome::Confirmed { .. } => {
                    ledger.done(0, *offset);
                    moved.push(letter.clone());
                }
                Outcome::TooLate => {}
                Outcome::Failed(code) => failed = Some(code),
            }
        }
        self.commit(reader, ledger)?;
        let what = || format!("moving dead letters into `{}`", self.topics.main());
        failed.map_or(Ok(()), |code| Err(KafkaError::from_code(what(), code)))
    }

    /// Sends letters back, and waits for the answers. Those that are too large go once more, by
    /// themselves, since the broker refuses a batch as a whole, and then with less of ours.
    fn send(&self, producer: &Producer, chunk: &[(i64, DeadLetter)]) -> Vec<Outcome> {
        let too_large = Outcome::Failed(Code::MessageSizeTooLarge);
        let mut all = self.send_at_once(producer, chunk, Carries::All);
        for (outcome, letter) in all.iter_mut().zip(chunk.chunks(1)) {
            for carries in Carries::EACH {
                if *outcome == too_large {
                    *outcome = self.send_at_once(producer, letter, carries)[0];
                }
            }
        }
        all
    }

    fn send_at_once(
        &self,
        producer: &Producer,
        letters: &[(i64, DeadLetter)],
        carries: Carries,
    ) -> Vec<Outcome> {
        let (answers, outcomes) = mpsc::channel();
        for (i, (_, letter)) in letters.iter().enumerate() {
            let answers = answers.clone();
            let report = move |outcome| {
                // Somebody listens: the loop below.
                let _ = answers.send((i, outcome));
            };
            producer.send(self.record(&letter.message, carries), Box::new(report));
        }
        drop(answers);
        let mut all = vec![Outcome::Failed(Code::Unknown); letters.len()];
        for (i, outcome) in outcomes {
            all[i] = outcome;
        }
        all
    }

    fn record<'a>(&'a self, message: &'a Message, carries: Carries) -> Record<'a> {
        let carried = Carried { key: None, ..Carried::of(message).redriven() };
        let state = carries.state(carried, records::room(message, self.options.max_message_bytes));
        let id = Some(&message.id).filter(|_| carries != Carries::Nothing);
        Record {
            topic: self.topics.main(),
            partition: None,
            key: message.key.as_ref(),
            payload: Some(&message.payload),
            headers: records::headers(id, state.as_deref(), &message.headers),
        }
    }

    pub(crate) fn purge(&self, filter: &DeadFilter) -> Result<u64, KafkaError> {
        let mut reader = self.reader();
        let (mut ledger, found) = self.find(&mut reader, filter, usize::MAX)?;
        for (offset, _) in &found {
            ledger.done(0, *offset);
        }
        self.commit(&reader, &mut ledger)?;
        self.delete_below_commit(&ledger);
        Ok(found.len() as u64)
    }

    /// Those that match, and the ledger in which all that was read is in flight.
    fn find(
        &self,
        reader: &mut Reader,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<(Ledger, Vec<(i64, DeadLetter)>), KafkaError> {
        let mut found = Vec::new();
        let ledger = self.visit(reader, |offset, letter| {
            if found.len() < limit && filter.matches(&letter) {
                found.push((offset, letter));
            }
            found.len() < limit
        })?;
        Ok((ledger, found))
    }

    /// Shows all letters that are left, oldest first, until the visitor has seen enough.
    fn visit(
        &self,
        reader: &mut Reader,
        mut see: impl FnMut(i64, DeadLetter) -> bool,
    ) -> Result<Ledger, KafkaError> {
        let Marks { mut ledger, start, .. } = self.marks(reader)?;
        let topic = &self.topics.dead;
        let mut rewound = false;
        reader.read(topic, &[(0, start)], |_, read| match ledger.received(read.offset) {
            Received::Fresh => see(read.offset, letter(read, topic)),
            Received::AlreadyDone | Received::Fenced => true,
            Received::Rewound => {
                rewound = true;
                false
            }
        })?;
        if rewound {
            // What was marked would be other letters.
            let what = format!("reading the topic `{topic}`");
            let detail = "its log went back meanwhile; ask again".to_owned();
            return Err(KafkaError::Broker { what, detail, passing: true });
        }
        Ok(ledger)
    }
}

fn position(id: &DeadId) -> Result<i64, KafkaError> {
    id.0.strip_prefix("0:").and_then(|offset| offset.parse().ok()).ok_or_else(|| {
        KafkaError::Setting {
            setting: "after".into(),
            value: format!("`{id}`"),
            why: "a dead letter of Kafka is named by partition and offset, such as `0:17`".into(),
        }
    })
}

/// A record as a dead letter. One that is not ours (nothing says how it died) is shown all the same.
fn letter(read: Read, topic: &str) -> DeadLetter {
    let Read { offset, message, since, carried_death, .. } = read;
    let message = Arc::unwrap_or_clone(message);
    let (reason, origin, died_at) = match carried_death {
        Some(death) => (death.reason, death.origin, death.at),
        None => {
            let origin = DeadOrigin { queue: topic.into(), position: format!("0:{offset}") };
            (DeadReason::Permanent, origin, since.unwrap_or(UNIX_EPOCH))
        }
    };
    DeadLetter { id: DeadId(format!("0:{offset}").into()), message, reason, origin, died_at }
}
