//! What the cases share: a queue with its handles, and the few things that they do to it over and
//! over, each with a limit and a clear word of what was awaited.

use crate::{Harness, Setup, Stop, Timing, stop::check};
use forebay_contract::{
    Backlog, Bytes, Capabilities, DeadFilter, DeadLetter, DeadLetters, DeadReason, Delivery,
    Exactness, FailureKind, FailureNote, Headers, History, MessageId, Outgoing, SettleError,
    Settled, Settlement, Sink, Source, Verdict, Want,
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

/// A delivery of a source.
pub(crate) type Out<S> = Delivery<<S as Source>::Receipt>;

/// Enough for any case.
pub(crate) const BYTES: usize = 64 << 20;

/// How much earlier than due a message may come: brokers keep whole milliseconds.
pub(crate) const GRAIN: Duration = Duration::from_millis(2);

/// Waits for `future`, and fails the case when it takes longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Result<T, Stop> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| Stop::fail(format!("waited {limit:?} in vain for {what}")))
}

/// A note for a verdict.
pub(crate) fn note(error: &str) -> FailureNote {
    FailureNote::new(FailureKind::Transient, error, SystemTime::now())
}

/// A retry after a while.
pub(crate) fn retry(after: Duration, error: &str) -> Verdict {
    Verdict::Retry { after, note: note(error) }
}

/// A release after a while.
pub(crate) fn release(after: Duration) -> Verdict {
    Verdict::Release { after }
}

/// A dead letter.
pub(crate) fn dead_letter(error: &str) -> Verdict {
    Verdict::DeadLetter { reason: DeadReason::Permanent, note: note(error) }
}

/// Messages of text, unkeyed: `0`, `1`, …
pub(crate) fn numbered(n: usize) -> Vec<Outgoing> {
    (0..n).map(|i| Outgoing::new(i.to_string())).collect()
}

/// The payload as text, for comparing and for messages to people.
pub(crate) fn text<R>(delivery: &Delivery<R>) -> String {
    String::from_utf8_lossy(&delivery.message.payload).into_owned()
}

/// The producer's headers: without those that Forebay carries along.
pub(crate) fn producer_headers(headers: &Headers) -> Vec<(String, Bytes)> {
    let own = headers.iter().filter(|(name, _)| !name.starts_with("forebay-"));
    own.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// The error texts of a history, oldest first.
pub(crate) fn errors(history: &History) -> Vec<&str> {
    history.notes().iter().map(|note| note.error.as_str()).collect()
}

/// Insists on a number of attempts, as exactly as the broker counts them.
pub(crate) fn check_attempt(
    capabilities: &Capabilities,
    seen: u32,
    expected: u32,
    when: &str,
) -> Result<(), Stop> {
    let holds = match capabilities.attempts {
        Exactness::Exact => seen == expected,
        Exactness::UpperBound => seen >= expected,
        Exactness::LowerBound => seen <= expected,
    };
    check!(holds, "`attempt` is {seen} {when}, expected {expected}");
    Ok(())
}

/// Polls a future a few times, some of them a moment apart, then drops it: a caller that goes away.
pub(crate) async fn give_up_on<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..fastrand::u32(1..6) {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(value) = polled {
            return Some(value);
        }
        if fastrand::u8(0..4) == 0 {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..1500))).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    None
}

/// A queue of a case's own.
pub(crate) struct Stage<'a, H: Harness> {
    pub(crate) harness: &'a H,
    pub(crate) queue: H::Queue,
    pub(crate) setup: Setup,
    pub(crate) timing: Timing,
}

impl<'a, H: Harness> Stage<'a, H> {
    /// An empty queue.
    pub(crate) async fn new(harness: &'a H, setup: Setup) -> Result<Self, Stop> {
        let queue = harness.fresh(&setup).await?;
        Ok(Self { harness, queue, setup, timing: harness.timing() })
    }

    /// A worker at the queue.
    pub(crate) async fn worker(&self) -> Result<Worker<H::Source>, Stop> {
        let source = self.harness.open(&self.queue, &self.setup).await?;
        Ok(Worker { source, timing: self.timing })
    }

    /// Publishes, and insists that all of it is confirmed.
    pub(crate) async fn publish(&self, batch: &[Outgoing]) -> Result<Vec<MessageId>, Stop> {
        let sink = self.harness.sink(&self.queue).await?;
        let results = within(self.timing.patience, "a publish", sink.publish(batch)).await?;
        check!(
            results.len() == batch.len(),
            "{} results answer {} published messages",
            results.len(),
            batch.len()
        );
        results.into_iter().map(|result| result.map_err(Stop::from)).collect()
    }

    /// All dead letters.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Stop> {
        let dead = self.harness.dead(&self.queue).await?;
        Ok(dead.list(&DeadFilter::default(), None, 10_000).await?)
    }

    /// Publishes messages and makes each a dead letter, in order.
    pub(crate) async fn bury(&self, batch: &[Outgoing]) -> Result<Vec<MessageId>, Stop> {
        let worker = self.worker().await?;
        let ids = self.publish(batch).await?;
        let mut out = worker.receive_n(batch.len()).await?;
        // Without a key they may come in any order; they are to die in that of the batch.
        out.sort_by_key(|out| batch.iter().position(|it| it.payload == out.message.payload));
        for delivery in &out {
            worker.settle(delivery, dead_letter(&format!("error of {}", text(delivery)))).await?;
        }
        worker.close().await?;
        Ok(ids)
    }

    /// Waits until as many dead letters are there.
    pub(crate) async fn dead_letters_n(&self, n: usize) -> Result<Vec<DeadLetter>, Stop> {
        let start = Instant::now();
        loop {
            let letters = self.dead_letters().await?;
            if letters.len() >= n || start.elapsed() > self.timing.patience {
                check!(letters.len() == n, "{} dead letters, expected {n}", letters.len());
                return Ok(letters);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One worker: a source, and how long to wait for it.
pub(crate) struct Worker<S> {
    pub(crate) source: S,
    pub(crate) timing: Timing,
}

impl<S: Source> Worker<S> {
    /// Receives until `n` messages are there.
    pub(crate) async fn receive_n(&self, n: usize) -> Result<Vec<Out<S>>, Stop> {
        let mut out = Vec::new();
        let limit = Instant::now() + self.timing.patience;
        while out.len() < n {
            let want = Want { messages: n - out.len(), bytes: BYTES };
            let have = out.len();
            let left = limit.saturating_duration_since(Instant::now());
            let Ok(received) =
                tokio::time::timeout(left, self.source.receive(want, &mut out)).await
            else {
                let waited = self.timing.patience;
                return Err(Stop::fail(format!("got {have} of {n} messages within {waited:?}")));
            };
            received?;
            check!(out.len() > have, "receive returned with no message");
            check!(out.len() <= n, "asked for {}, got {}", n - have, out.len() - have);
        }
        Ok(out)
    }

    /// Receives one message.
    pub(crate) async fn receive_one(&self) -> Result<Out<S>, Stop> {
        Ok(self.receive_n(1).await?.remove(0))
    }

    /// Receives what comes within the time given, up to `max`; none is fine.
    pub(crate) async fn receive_for(
        &self,
        time: Duration,
        max: usize,
    ) -> Result<Vec<Out<S>>, Stop> {
        let mut out = Vec::new();
        let end = Instant::now() + time;
        while out.len() < max {
            let want = Want { messages: max - out.len(), bytes: BYTES };
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.source.receive(want, &mut out)).await {
                Ok(received) => received?,
                Err(_) => break,
            }
        }
        Ok(out)
    }

    /// Insists that no message comes for a while.
    pub(crate) async fn nothing_comes(&self, why: &str) -> Result<(), Stop> {
        let out = self.receive_for(self.timing.quiet, 1).await?;
        check!(out.is_empty(), "a message came although {why}: {:?}", out[0].message);
        Ok(())
    }

    /// Settles a batch; result `i` answers `batch[i]`.
    pub(crate) async fn try_settle(
        &self,
        batch: &[(&Out<S>, Verdict)],
    ) -> Result<Vec<Result<Settled, SettleError>>, Stop> {
        let batch: Vec<_> = batch
            .iter()
            .map(|(delivery, verdict)| Settlement {
                receipt: delivery.receipt.clone(),
                message: delivery.message.clone(),
                verdict: verdict.clone(),
            })
            .collect();
        let results =
            within(self.timing.patience, "a settlement", self.source.settle(&batch)).await?;
        check!(
            results.len() == batch.len(),
            "{} results answer {} settlements",
            results.len(),
            batch.len()
        );
        Ok(results)
    }

    /// Settles one delivery, and insists that it works.
    pub(crate) async fn settle(&self, delivery: &Out<S>, verdict: Verdict) -> Result<(), Stop> {
        let what = format!("{verdict:?} of `{}`", text(delivery));
        match self.try_settle(&[(delivery, verdict)]).await?.remove(0) {
            Ok(_) => Ok(()),
            Err(error) => Err(Stop::fail(format!("{what}: {error}"))),
        }
    }

    /// Acknowledges all of them, and insists that it works.
    pub(crate) async fn ack_all(&self, out: &[Out<S>]) -> Result<(), Stop> {
        let batch: Vec<_> = out.iter().map(|delivery| (delivery, Verdict::Ack)).collect();
        for (i, result) in self.try_settle(&batch).await?.into_iter().enumerate() {
            result.map_err(|error| Stop::fail(format!("ack {i} of {}: {error}", out.len())))?;
        }
        Ok(())
    }

    /// The length of its leases, where they expire soon enough to be waited for.
    pub(crate) fn short_lease(&self) -> Result<Duration, Stop> {
        let Some(terms) = self.source.capabilities().lease else {
            return Err(Stop::skip("hand-outs of this broker do not expire"));
        };
        if terms.length > Duration::from_secs(5) {
            return Err(Stop::skip(format!("a lease of {:?} is too long to wait", terms.length)));
        }
        Ok(terms.length)
    }

    /// Closes it, in all the time that the harness grants: where connections are cut on the way, a last
    /// commit is tried until it is there.
    pub(crate) async fn close(&self) -> Result<(), Stop> {
        let patience = self.timing.patience;
        let longer = patience + Duration::from_secs(1);
        within(longer, "close", self.source.close(patience)).await??;
        Ok(())
    }

    /// Waits until the backlog is as it should be.
    pub(crate) async fn backlog_until(
        &self,
        what: &str,
        holds: impl Fn(&Backlog) -> bool,
    ) -> Result<Backlog, Stop> {
        let start = Instant::now();
        loop {
            let backlog = self.source.backlog().await?;
            if holds(&backlog) {
                return Ok(backlog);
            }
            let waited = start.elapsed();
            check!(waited < self.timing.patience, "the backlog never came to {what}: {backlog:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
