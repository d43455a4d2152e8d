//! A worker's consumer on its channel: opened, stopped, opened again with another prefetch.

use crate::{
    RabbitError, arrive,
    session::{Session, Shared},
    settle,
};
use forebay_contract::{Settlement, Verdict};
use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The number of the next session, of whatever queue.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// A consumer, or the lack of one.
pub(crate) struct Tap {
    channel: Channel,
    consumer: Option<Consumer>,
    pub(crate) prefetch: u16,
    /// Since when it has that prefetch.
    pub(crate) since: Instant,
    /// The last delivery of the consumer before.
    pub(crate) after: u64,
}

impl Tap {
    /// Opens a channel and consumes through it.
    pub(crate) async fn open(shared: &Shared) -> Result<Self, RabbitError> {
        let (queue, options) = (&shared.queue, &shared.queue.checked.options);
        queue.queues.ready().await?;
        let channel = queue.consume.channel().await?;
        let prefetch = match options.prefetch {
            Some(fixed) => fixed,
            // In key order it must not shrink from one consumer to the next: a quorum queue puts what
            // comes back behind what came back before, so a smaller one that is lost in its turn would
            // leave its messages behind others of their keys. And it should be large: what waits in
            // it, with all that is behind it of its key, keeps other keys from coming.
            None if options.ordered => options.max_prefetch,
            None => shared.lock().demand.prefetch(options.max_prefetch),
        };
        let consumer = consume(shared, &channel, prefetch).await?;
        let session = Session {
            epoch: EPOCH.fetch_add(1, Ordering::Relaxed),
            channel: channel.clone(),
            consuming: Some(consumer.tag()),
            prefetch,
            pace: Default::default(),
            ledger: Default::default(),
            buffer: Default::default(),
            is_calm: false,
            stall: Default::default(),
        };
        shared.lock().session = Some(session);
        Ok(Self { channel, consumer: Some(consumer), prefetch, since: Instant::now(), after: 0 })
    }

    /// The next delivery; for ever none while there is no consumer.
    pub(crate) async fn next(&mut self) -> Option<lapin::Result<Delivery>> {
        match &mut self.consumer {
            Some(consumer) => consumer.next().await,
            None => std::future::pending().await,
        }
    }

    /// Whether there is no consumer.
    pub(crate) fn is_closed(&self) -> bool {
        self.consumer.is_none()
    }

    /// The deliveries have ended: whether we stopped them ourselves.
    pub(crate) fn has_stopped(&mut self, shared: &Shared) -> bool {
        let stopped = shared.lock().session.as_ref().is_some_and(|s| s.consuming.is_none())
            && self.channel.status().connected();
        if stopped {
            self.consumer = None;
        }
        stopped
    }

    /// Consumes, with another prefetch if one is given.
    pub(crate) async fn start(
        &mut self,
        shared: &Shared,
        prefetch: Option<u16>,
    ) -> Result<(), RabbitError> {
        self.prefetch = prefetch.unwrap_or(self.prefetch);
        let consumer = consume(shared, &self.channel, self.prefetch).await?;
        if let Some(session) = &mut shared.lock().session {
            session.consuming = Some(consumer.tag());
            session.prefetch = self.prefetch;
            self.after = session.ledger.last();
        }
        (self.consumer, self.since) = (Some(consumer), Instant::now());
        Ok(())
    }

    /// Stops consuming; what is on the way still comes into the buffer.
    pub(crate) async fn stop(&mut self, shared: &Arc<Shared>) -> Result<(), RabbitError> {
        let Some(mut stopping) = self.consumer.take() else { return Ok(()) };
        let tag = shared.lock().session.as_mut().and_then(|session| session.consuming.take());
        let stopped = async {
            if let Some(tag) = tag {
                self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            }
            while let Some(delivery) = stopping.next().await {
                arrive::take_in(shared, vec![delivery?]);
            }
            Ok(())
        };
        Ok(shared.queue.consume.answer(stopped).await??)
    }

    /// Stops, and gives back all that has not been handed out; how many that were. What came back
    /// before is copied to the end of the queue instead: the broker would count a second return just
    /// as it counts deaths. In key order, all comes back with the channel, and only then.
    pub(crate) async fn give_back(&mut self, shared: &Arc<Shared>) -> Result<usize, RabbitError> {
        if shared.queue.checked.options.ordered {
            return Ok(0);
        }
        self.stop(shared).await?;
        let mut again = Vec::new();
        let mut count = 0;
        {
            let mut state = shared.lock();
            let Some(session) = &mut state.session else { return Ok(0) };
            let mut memory = shared.memory();
            let ready: Vec<_> = session.buffer.drain_ready().collect();
            for out in ready {
                count += 1;
                let tag = out.receipt.tag;
                if session.is_new(tag) {
                    session.nack(tag, &mut memory);
                } else {
                    session.ledger.hand_out(tag);
                    let verdict = Verdict::Release { after: Duration::ZERO };
                    again.push(Settlement { receipt: out.receipt, message: out.message, verdict });
                }
            }
        }
        // What cannot be copied stays out, and comes back with the channel.
        drop(settle::carry_out(shared, &again).await);
        Ok(count)
    }
}

async fn consume(
    shared: &Shared,
    channel: &Channel,
    prefetch: u16,
) -> Result<Consumer, RabbitError> {
    let queue = &shared.queue.checked.options.queue;
    let consuming = async {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (name, options) = (queue.as_str().into(), BasicConsumeOptions::default());
        channel.basic_consume(name, "".into(), options, FieldTable::default()).await
    };
    let consumer = shared.queue.consume.answer(consuming).await?;
    tracing::debug!(%queue, prefetch, "consuming");
    consumer.map_err(|error| RabbitError::about(queue, &error))
}
