//! The broken sink and the broken dead letters.

use crate::harness::{BrokenQueue, Fault};
use forebay_contract::{
    DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, History, MessageId, Outgoing,
    PublishError, Redriven, Sink,
};

pub(crate) struct BrokenSink {
    pub(crate) fault: Fault,
    pub(crate) queue: BrokenQueue,
}

impl Sink for BrokenSink {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        let mut batch = batch.to_vec();
        for outgoing in &mut batch {
            match self.fault {
                Fault::PublishesAtOnce => outgoing.delay = None,
                Fault::CutsPayload => outgoing.payload.truncate(1 << 16),
                _ => {}
            }
        }
        if self.fault == Fault::GivesToEverybody {
            self.queue.twin.publish(&batch).await;
        }
        let mut results = self.queue.main.publish(&batch).await;
        if self.fault == Fault::AnswersInReverse {
            results.reverse();
        }
        if self.fault == Fault::RefusesAll && results.iter().any(Result::is_err) {
            return batch
                .iter()
                .map(|_| Err(PublishError::Refused("one of them".into())))
                .collect();
        }
        results
    }
}

pub(crate) struct BrokenDead {
    pub(crate) fault: Fault,
    pub(crate) queue: BrokenQueue,
}

impl BrokenDead {
    fn filter(&self, filter: &DeadFilter) -> DeadFilter {
        if self.fault == Fault::IgnoresFilter { DeadFilter::default() } else { filter.clone() }
    }

    /// Deletes the letters, then publishes them: gone, if the caller goes away in between.
    async fn delete_and_move(&self, letters: Vec<DeadLetter>) -> Vec<DeadLetter> {
        for letter in &letters {
            let ids = Some(vec![letter.id.clone()]);
            let _ = self.queue.main.purge(&DeadFilter { ids, ..DeadFilter::default() }).await;
            if self.fault == Fault::DeletesFirst {
                tokio::task::yield_now().await;
            }
            let copy = Outgoing::new(letter.message.payload.clone());
            self.queue.main.publish(&[copy]).await;
        }
        letters
    }
}

impl DeadLetters for BrokenDead {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let mut letters = self.queue.main.list(&self.filter(filter), after, limit).await?;
        if self.fault == Fault::ForgetsHistory {
            letters.iter_mut().for_each(|letter| letter.message.history = History::new());
        }
        if self.fault != Fault::DiesThrice {
            return Ok(letters);
        }
        let copies = |letter: DeadLetter| {
            let copies = if letter.message.attempt == 3 { 3 } else { 1 };
            std::iter::repeat_n(letter, copies)
        };
        Ok(letters.into_iter().flat_map(copies).collect())
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        if matches!(self.fault, Fault::DeletesFirst | Fault::RedrivesRenamed) {
            let letters = self.queue.main.list(filter, None, limit).await?;
            return Ok(Redriven::all(self.delete_and_move(letters).await));
        }
        self.queue.main.redrive(&self.filter(filter), limit).await
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        self.queue.main.purge(&self.filter(filter)).await
    }
}
