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
    RabbitError, arrive,
    error::{is_consumer_timeout, reply},
    link::Pauses,
    renew::Renewal,
    session::{Life, Shared, State},
    stall::Full,
    tap::Tap,
};
use forebay_contract::{Scope, SourceEvent};
use futures_util::FutureExt;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The most deliveries that are taken in under one lock.
const CHUNK: usize = 256;

/// How often a consumer that rests, or its channel, is looked after.
const LOOK: Duration = Duration::from_millis(500);

/// For how long a prefetch is kept before a smaller one: where sizes vary much, so does their mean.
const STEADY: Duration = Duration::from_secs(1);

/// A channel that lived for less did not bring the pauses back to short ones.
const LIVED: Duration = Duration::from_secs(1);

/// How a session ended.
enum End {
    Closing(Duration),
    Lost(RabbitError),
    /// Given up by ourselves, for another.
    Renewed,
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
        let error = match Tap::open(&shared).await {
            Ok(tap) => {
                if std::mem::take(&mut down) {
                    let _ = shared.events.send(SourceEvent::Up);
                }
                match pump(&shared, tap).await {
                    End::Closing(within) => break closed(&shared, within).await,
                    End::Renewed => {
                        renew(&shared).await;
                        continue;
                    }
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

/// Moves what comes into the buffer, until the channel is lost or the worker is to close.
async fn pump(shared: &Arc<Shared>, mut tap: Tap) -> End {
    let mut look = tokio::time::interval(LOOK.min(shared.queue.checked.options.idle_after / 2));
    loop {
        let now = Instant::now();
        let acks = shared.lock().session.as_ref().and_then(|session| session.acks_due_at(now));
        tokio::select! {
            biased;
            came = tap.next() => if let Err(error) = take(shared, &mut tap, came) {
                return End::Lost(lost(shared, error.as_ref()));
            },
            () = shared.control.notified() => {}
            () = acks_due(acks) => {}
            _ = look.tick() => {}
        }
        match attend(shared, &mut tap).await {
            Ok(None) => {}
            Ok(Some(End::Closing(within))) => {
                // What is not given back in time comes back with the channel.
                let _ = tokio::time::timeout(within, tap.give_back(shared)).await;
                return End::Closing(within);
            }
            Ok(Some(end)) => return end,
            Err(error) => return End::Lost(error),
        }
    }
}

/// Waits until the broker is to be told of what is done.
async fn acks_due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Takes in what came, and all that is there behind it; an error when the consumer has ended.
fn take(
    shared: &Arc<Shared>,
    tap: &mut Tap,
    came: Option<lapin::Result<lapin::message::Delivery>>,
) -> Result<(), Option<lapin::Error>> {
    let (mut batch, mut next, mut ended) = (Vec::new(), Some(came), None);
    while let Some(came) = next {
        match came {
            Some(Ok(delivery)) => batch.push(delivery),
            // Stopped by ourselves.
            None if tap.has_stopped(shared) => break,
            other => {
                ended = Some(other.and_then(Result::err));
                break;
            }
        }
        next = if batch.len() < CHUNK { tap.next().now_or_never() } else { None };
    }
    arrive::take_in(shared, batch);
    ended.map_or(Ok(()), Err)
}

/// Looks whether the consumer is as it should be.
async fn attend(shared: &Arc<Shared>, tap: &mut Tap) -> Result<Option<End>, RabbitError> {
    let options = &shared.queue.checked.options;
    let (channel, change, rest, wake) = {
        let mut state = shared.lock();
        let State { life, session, demand } = &mut *state;
        if let Life::Closing(within) = life {
            return Ok(Some(End::Closing(*within)));
        }
        let Some(session) = session else {
            return Ok(Some(End::Lost(RabbitError::Closed)));
        };
        session.pace_acks(Instant::now());
        if options.ordered {
            let was_calm = session.is_calm;
            match session.renewal(options.consumer_timeout, Instant::now()) {
                Renewal::Now => return Ok(Some(End::Renewed)),
                Renewal::NotYet if was_calm => shared.arrived.notify_waiters(),
                Renewal::NotYet | Renewal::Calm => {}
            }
            if let Some(Full { keys, messages }) = session.stalled(Instant::now()) {
                tracing::warn!(
                    queue = %options.queue, prefetch = tap.prefetch, messages, keys,
                    "messages that wait for a retry, and those behind them of their keys, take up the \
                     prefetch: until a retry is through, other keys get little or nothing. Set \
                     `prefetch` to more than wait of one key, or let retries wait less"
                );
            }
        }
        // In key order, a consumer that goes makes another worker the active one, while messages of
        // the same keys are still here: so it stays as it is.
        let may_change = !options.ordered;
        let change = match options.prefetch {
            None if may_change => {
                let out = session.ledger.out();
                let change = demand.change(tap.prefetch, out, options.max_prefetch);
                let is_steady =
                    |better: &u16| *better > tap.prefetch || tap.since.elapsed() > STEADY;
                // What is on the way while a consumer goes, the broker takes back and counts as
                // returned. With all of the prefetch here, nothing is.
                let is_full = || session.ledger.unacked_after(tap.after) >= tap.prefetch.into();
                change.filter(is_steady).filter(|_| is_full())
            }
            _ => None,
        };
        let idle = demand.is_idle(options.idle_after, Instant::now());
        let rest = may_change && idle && session.buffer.has_ready();
        let wake = tap.is_closed() && demand.is_wanted();
        (session.channel.clone(), change, rest, wake)
    };
    if !channel.status().connected() {
        return Ok(Some(End::Lost(lost(shared, None))));
    }
    if rest {
        let messages = tap.give_back(shared).await?;
        tracing::info!(
            queue = %options.queue, messages,
            "nobody asks for messages: what was buffered goes back"
        );
    } else if wake || (change.is_some() && !tap.is_closed()) {
        tap.stop(shared).await?;
        tap.start(shared, change).await?;
    }
    Ok(None)
}

/// Why the consumer ended.
fn lost(shared: &Shared, error: Option<&lapin::Error>) -> RabbitError {
    let queue = &shared.queue.checked.options.queue;
    let connected = shared.lock().session.as_ref().is_some_and(|s| s.channel.status().connected());
    match error {
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
    }
}

/// Gives a channel up of which nothing is out; what it holds comes again through the next one.
async fn renew(shared: &Shared) {
    let Some(mut session) = shared.lock().session.take() else { return };
    session.send_acks();
    session.forget(&mut shared.memory());
    tracing::info!(
        queue = %shared.queue.checked.options.queue,
        "messages have waited here for nearly the broker's consumer_timeout: renewing the channel"
    );
    let _ = shared.events.send(SourceEvent::Lost(Scope(session.epoch)));
    // If it does not answer, the next one is opened all the same.
    let closed = session.channel.close(200, "done".into());
    drop(shared.queue.consume.answer(closed).await);
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
    if let Some(mut session) = session {
        session.send_acks();
        session.forget(&mut shared.memory());
        let at_least = until.max(tokio::time::Instant::now() + Duration::from_millis(200));
        // If it does not answer, the channel closes with the connection.
        let _ = tokio::time::timeout_at(at_least, session.channel.close(200, "done".into())).await;
    }
    Life::Closed
}
