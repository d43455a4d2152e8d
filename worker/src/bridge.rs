//! What a bridge does with its messages: puts them into another queue.
//!
//! It is an ordinary batch handler, so limits, retries, the breaker and the dead letters are those of
//! any worker. `Ok` is said only for what the sink has confirmed; a bridge that dies in between sends
//! again what it had sent, and loses nothing.
//!
//! | the sink says | the message |
//! |---|---|
//! | confirmed | is acknowledged |
//! | refused: too large, a header it cannot take | is a dead letter of the source, with the sink's words |
//! | unavailable, closed | is tried again; when that goes on, the breaker opens, and the source is left alone |
//!
//! Key, headers, payload and identity go along. Attempts, history and redrives do not: they tell of the
//! queue that the message has left. Nor does a delay that was still to pass: the source has waited for it.

use forebay::{
    AnySink, BatchHandler, BatchOutcome, Bytes, Failure, Job, Outgoing, PublishError, Sink,
};

/// Puts messages into a queue.
pub(crate) struct Bridge {
    sink: AnySink,
}

impl Bridge {
    /// A bridge into this queue.
    pub(crate) fn new(sink: AnySink) -> Self {
        Self { sink }
    }
}

impl BatchHandler<Bytes> for Bridge {
    async fn handle_batch(&self, jobs: Vec<Job<Bytes>>) -> BatchOutcome {
        let batch: Vec<_> = jobs.iter().map(outgoing).collect();
        let results = self.sink.publish(&batch).await;
        BatchOutcome::from(results.into_iter().map(verdict).collect::<Vec<_>>())
    }
}

fn outgoing(job: &Job<Bytes>) -> Outgoing {
    Outgoing {
        id: Some(job.id().clone()),
        key: job.key().cloned(),
        payload: job.payload.clone(),
        headers: job.headers().clone(),
        delay: None,
    }
}

fn verdict<T>(result: Result<T, PublishError>) -> Result<(), Failure> {
    match result {
        Ok(_) => Ok(()),
        Err(PublishError::Refused(error)) => Err(Failure::permanent(error)),
        Err(error) => Err(Failure::transient(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay::{Raw, Worker, testing::MemoryQueue};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_message_is_acknowledged_when_it_has_arrived_and_arrives_as_it_was() {
        let (from, to) = (MemoryQueue::new(), MemoryQueue::new());
        let sent = Outgoing::new("x").key("k").id("o-7").header("a", "1").header("a", "2");
        for published in from.publish(std::slice::from_ref(&sent)).await {
            published.unwrap();
        }
        to.down("being restarted");
        let worker = Worker::builder(from.source())
            .decode(Raw)
            .batch_handler(forebay::BatchOptions::of(10), Bridge::new(AnySink::new(to.clone())))
            .build()
            .unwrap();
        let control = worker.control();
        let running = tokio::spawn(worker.run_until_drained());
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((from.backlog().outstanding(), to.backlog().outstanding()), (1, 0));
        to.up();
        while from.backlog().outstanding() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        control.drain();
        running.await.unwrap().unwrap();

        let arrived = forebay::testing::MemoryQueue::source(&to);
        let mut out = Vec::new();
        let want = forebay::Want { messages: 10, bytes: 1 << 20 };
        forebay::Source::receive(&arrived, want, &mut out).await.unwrap();
        let [delivery] = &*out else { panic!("{out:?}") };
        let message = &delivery.message;
        assert_eq!(message.id, "o-7".into());
        assert_eq!((&*message.payload, message.key.as_deref()), (&b"x"[..], Some(&b"k"[..])));
        assert_eq!(message.headers, sent.headers);
        assert_eq!((message.attempt, message.redrives), (0, 0));
    }

    #[test]
    fn what_the_sink_refuses_can_never_arrive() {
        let refused = verdict::<()>(Err(PublishError::Refused("too large".into())));
        assert!(matches!(refused, Err(Failure::Permanent(_))));
        let away = verdict::<()>(Err(PublishError::Unavailable("away".into())));
        assert!(matches!(away, Err(Failure::Transient { .. })));
    }
}
