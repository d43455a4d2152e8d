//! Loops as one writes them by hand, without decoding, timeouts, panics caught, or anything settled.

use super::{AT_ONCE, PAYLOAD};
use crate::cost::{Cost, Stopwatch};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    future::Future,
    hint::black_box,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::sync::{Semaphore, mpsc};

/// The handler that does nothing, as all loops have it.
async fn handle(payload: Bytes) -> io::Result<()> {
    black_box(payload);
    Ok(())
}

/// Takes a permit, spawns a task that handles one message and gives the permit back.
pub(super) async fn spawn_semaphore(messages: u64) -> Cost {
    let start = Stopwatch::start();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    for _ in 0..messages {
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let call = handle(PAYLOAD.clone());
        tokio::spawn(async move {
            black_box(call.await.is_ok());
            drop(permit);
        });
    }
    // All permits are back when all handlers are done.
    black_box(permits.acquire_many(AT_ONCE as u32).await.is_ok());
    start.each(messages)
}

/// Polls each handler once, and keeps those that wait.
pub(super) async fn inline_unordered(messages: u64) -> Cost {
    let start = Stopwatch::start();
    let mut waiting = FuturesUnordered::new();
    for _ in 0..messages {
        if waiting.len() >= AT_ONCE {
            black_box(waiting.next().await);
        }
        let mut call = Box::pin(handle(PAYLOAD.clone()));
        match poll_once(call.as_mut()) {
            Poll::Ready(result) => drop(black_box(result)),
            Poll::Pending => waiting.push(call),
        }
        tokio::task::consume_budget().await;
    }
    while waiting.next().await.is_some() {}
    start.each(messages)
}

/// Polls each handler once, and makes those that wait tasks.
pub(super) async fn inline_spawn(messages: u64) -> Cost {
    let start = Stopwatch::start();
    let (done_tx, mut done) = mpsc::channel(AT_ONCE);
    let mut running = 0;
    for _ in 0..messages {
        if running >= AT_ONCE {
            black_box(done.recv().await);
            running -= 1;
        }
        let mut call = Box::pin(handle(PAYLOAD.clone()));
        match poll_once(call.as_mut()) {
            Poll::Ready(result) => drop(black_box(result)),
            Poll::Pending => {
                let done = done_tx.clone();
                tokio::spawn(async move { done.send(call.await).await });
                running += 1;
            }
        }
        tokio::task::consume_budget().await;
    }
    drop(done_tx);
    while done.recv().await.is_some() {}
    start.each(messages)
}

fn poll_once<F: Future>(call: Pin<&mut F>) -> Poll<F::Output> {
    call.poll(&mut Context::from_waker(Waker::noop()))
}
