//! The task that consumes: opens a channel when somebody wants messages, fills the buffer, and does
//! it again when the channel is lost.
//!
//! ```text
//!              wanted              opened                lost
//!   waiting ----------> opening ----------> consuming ----------+
//!      ^                  | failed            |   ^             |
//!      |                  v                   |   | wanted      |
//!      +------------ a pause <----------------|---|-------------+
//!                                        idle |   |
//!                                             v   |
//!                                           resting (the channel stays, the buffer goes back)
//! ```
//!
//! It rests when nobody has asked for a while, as behind a closed gate: messages in a buffer are
//! messages that no other worker gets, and that no autoscaler sees.

use crate::{
    RabbitError,
    error::{is_consumer_timeout, reply},
    link::Pauses,
    session::{Life, Session, Shared},
};
use forebay_contract::SourceEvent;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    Consumer,
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

/// The most deliveries that are taken in under one lock.
const CHUNK: usize = 256;

/// How often a consumer that rests, or its channel, is looked after.
const LOOK: Duration = Duration::from_millis(500);

/// A channel that lived for less did not bring the pauses back to short ones.
const LIVED: Duration = Duration::from_secs(1);

/// The prefetch in key order, unless one is set. It must not shrink from one consumer to the next: a
/// quorum queue puts what comes back behind what came back before, so a smaller one that is lost in
/// its turn would leave its messages behind others of their keys.
const ORDERED_PREFETCH: u16 = 500;

/// The number of the next session, of whatever queue.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// How a session ended.
enum End {
    Closing(Duration),
    Lost(RabbitError),
}

/// Runs until the worker is closed, or fails for good.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pauses = Pauses::default();
    let mut down = false;
    let life = loop {
        if let Some(within) = until_wanted(&shared).await {
            break closed(&shared, within).await;
        }
        let began = Instant::now();
        let error = match open(&shared).await {
            Ok((consumer, prefetch)) => {
                if std::mem::take(&mut down) {
                    let _ = shared.events.send(SourceEvent::Up);
                }
                match pump(&shared, consumer, prefetch).await {
                    End::Closing(within) => break closed(&shared, within).await,
                    End::Lost(error) => {
                        shared.lose(&error);
                        down = true;
                        error
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut down, true) {
                    let _ = shared.events.send(SourceEvent::Down(error.to_string()));
                }
                if error.is_fatal() {
                    break Life::Failed(error);
                }
                error
            }
        };
        if began.elapsed() > LIVED {
            pauses.reset();
        }
        let pause = pauses.next();
        tracing::debug!(queue = %shared.queue.checked.options.queue, "next try in {pause:?}: {error}");
        // Cut short by whatever there is to look at: a close.
        let _ = tokio::time::timeout(pause, shared.control.notified()).await;
    };
    shared.end(life);
    shared.ended.notify_one();
}

/// Waits until somebody wants messages; the time to close in, if it is to be closed instead.
async fn until_wanted(shared: &Shared) -> Option<Duration> {
    loop {
        {
            let state = shared.lock();
            match state.life {
                Life::Closing(within) => return Some(within),
                _ if state.demand.is_wanted() => return None,
                _ => {}
            }
        }
        shared.control.notified().await;
    }
}

/// Opens a channel and consumes through it.
async fn open(shared: &Shared) -> Result<(Consumer, u16), RabbitError> {
    let queue = &shared.queue;
    queue.queues.ready().await?;
    let channel = queue.consume.channel().await?;
    let prefetch = match queue.checked.options.prefetch {
        Some(fixed) => fixed,
        // The same for each worker and each time: see `ORDERED_PREFETCH`.
        None if queue.checked.options.ordered => {
            ORDERED_PREFETCH.min(queue.checked.options.max_prefetch)
        }
        None => shared.lock().demand.prefetch(queue.checked.options.max_prefetch),
    };
    let session = Session {
        epoch: EPOCH.fetch_add(1, Ordering::Relaxed),
        channel,
        ledger: Default::default(),
        buffer: Default::default(),
    };
    let consumer = consume(shared, &session.channel, prefetch).await?;
    shared.lock().session = Some(session);
    Ok((consumer, prefetch))
}

async fn consume(
    shared: &Shared,
    channel: &lapin::Channel,
    prefetch: u16,
) -> Result<Consumer, RabbitError> {
    let queue = &shared.queue.checked.options.queue;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel
        .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
        .await;
    tracing::debug!(%queue, prefetch, "consuming");
    consumer.map_err(|error| RabbitError::about(queue, &error))
}

/// Moves what comes into the buffer, until the channel is lost or the worker is to close.
async fn pump(shared: &Arc<Shared>, consumer: Consumer, mut prefetch: u16) -> End {
    let mut consumer = Some(consumer);
    let mut look = tokio::time::interval(LOOK.min(shared.queue.checked.options.idle_after / 2));
    loop {
        let delivery = async {
            match &mut consumer {
                Some(consumer) => consumer.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            delivery = delivery => match delivery {
                Some(Ok(first)) => {
                    let mut batch = vec![first];
                    let mut over = None;
                    while batch.len() < CHUNK && over.is_none()
                        && let Some(next) = consumer.as_mut().and_then(|c| c.next().now_or_never())
                    {
                        match next {
                            Some(Ok(delivery)) => batch.push(delivery),
                            other => over = Some(other.and_then(Result::err)),
                        }
                    }
                    crate::arrive::take_in(shared, batch);
                    if let Some(error) = over {
                        return lost(shared, error.as_ref());
                    }
                }
                Some(Err(error)) => return lost(shared, Some(&error)),
                None => return lost(shared, None),
            },
            () = shared.control.notified() => {}
            _ = look.tick() => {}
        }
        match attend(shared, &mut consumer, &mut prefetch).await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(error) => return End::Lost(error),
        }
    }
}

/// Looks whether the consumer is as it should be.
async fn attend(
    shared: &Arc<Shared>,
    consumer: &mut Option<Consumer>,
    prefetch: &mut u16,
) -> Result<Option<End>, RabbitError> {
    let options = &shared.queue.checked.options;
    let (channel, change, rest, wake) = {
        let state = shared.lock();
        if let Life::Closing(within) = state.life {
            return Ok(Some(End::Closing(within)));
        }
        let Some(session) = &state.session else {
            return Ok(Some(End::Lost(RabbitError::Closed)));
        };
        // In key order, a consumer that goes makes another worker the active one, while messages of
        // the same keys are still here: so it stays as it is.
        let may_change = !options.ordered;
        let change = match options.prefetch {
            None if may_change => {
                let out = session.ledger.out();
                state.demand.change(*prefetch, out, options.max_prefetch)
            }
            _ => None,
        };
        let idle = state.demand.is_idle(options.idle_after, Instant::now());
        let rest = may_change && consumer.is_some() && idle && session.buffer.has_ready();
        let wake = consumer.is_none() && state.demand.is_wanted();
        (session.channel.clone(), change, rest, wake)
    };
    if !channel.status().connected() {
        return Ok(Some(lost(shared, None)));
    }
    if rest {
        stop(shared, &channel, consumer).await?;
        let given_back = give_back(shared);
        tracing::info!(
            queue = %options.queue, messages = given_back,
            "nobody asks for messages: what was buffered goes back"
        );
    } else if wake || (change.is_some() && consumer.is_some()) {
        stop(shared, &channel, consumer).await?;
        *prefetch = change.unwrap_or(*prefetch);
        *consumer = Some(consume(shared, &channel, *prefetch).await?);
    }
    Ok(None)
}

/// Stops consuming; what is on the way still comes into the buffer.
async fn stop(
    shared: &Arc<Shared>,
    channel: &lapin::Channel,
    consumer: &mut Option<Consumer>,
) -> Result<(), RabbitError> {
    let Some(mut stopping) = consumer.take() else { return Ok(()) };
    channel.basic_cancel(stopping.tag(), BasicCancelOptions::default()).await?;
    while let Some(delivery) = stopping.next().await {
        crate::arrive::take_in(shared, vec![delivery?]);
    }
    Ok(())
}

/// Gives back all that has not been handed out; how many that were.
fn give_back(shared: &Shared) -> usize {
    let mut state = shared.lock();
    let Some(session) = &mut state.session else { return 0 };
    let mut memory = shared.memory();
    let tags: Vec<_> = session.buffer.drain_ready().map(|out| out.receipt.tag).collect();
    for tag in &tags {
        session.nack(*tag, &mut memory);
    }
    tags.len()
}

/// Why the consumer ended.
fn lost(shared: &Shared, error: Option<&lapin::Error>) -> End {
    let queue = &shared.queue.checked.options.queue;
    let connected = shared.lock().session.as_ref().is_some_and(|s| s.channel.status().connected());
    End::Lost(match error {
        Some(error) if is_consumer_timeout(error) => {
            tracing::warn!(
                %queue,
                "RabbitMQ closed the channel because a message was out for longer than its \
                 `consumer_timeout` (30 minutes unless set): all that was out comes again. Let \
                 handlers take less time, keep the window small, or raise consumer_timeout"
            );
            RabbitError::Broker(reply(error).map_or_else(|| error.to_string(), |(_, why)| why))
        }
        Some(error) => RabbitError::about(queue, error),
        None if connected => RabbitError::Broker(format!(
            "the broker cancelled the consumer of `{queue}`: was the queue deleted, or its node stopped?"
        )),
        None => RabbitError::Broker("the connection is gone".into()),
    })
}

/// Lets go in order: copies under way are waited for, so that none is doubled; all else that is out
/// goes back with the channel.
async fn closed(shared: &Shared, within: Duration) -> Life {
    let until = tokio::time::Instant::now() + within;
    let copied = async {
        loop {
            let settled = shared.settled.notified();
            let mut settled = std::pin::pin!(settled);
            settled.as_mut().enable();
            let copying =
                shared.lock().session.as_ref().is_some_and(|session| session.ledger.is_copying());
            if !copying {
                return;
            }
            settled.await;
        }
    };
    // What is not copied in time comes again, and its copy, too.
    let _ = tokio::time::timeout_at(until, copied).await;
    let session = shared.lock().session.take();
    if let Some(session) = session {
        session.forget(&mut shared.memory());
        let at_least = until.max(tokio::time::Instant::now() + Duration::from_millis(200));
        // If it does not answer, the channel closes with the connection.
        let _ = tokio::time::timeout_at(at_least, session.channel.close(200, "done".into())).await;
    }
    Life::Closed
}
