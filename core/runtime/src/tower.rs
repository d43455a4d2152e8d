//! tower's middleware around a handler: timeouts, limits and whatever layer a team already has.
//!
//! ```
//! use forebay::{Failure, Job, Worker, testing::MemoryQueue, tower as bridge};
//! use tower::ServiceBuilder;
//!
//! async fn greet(job: Job<String>) -> Result<(), Failure> {
//!     println!("hello, {}", job.payload);
//!     Ok(())
//! }
//!
//! # async fn run(queue: MemoryQueue) -> Result<(), forebay::RunError> {
//! let stack = ServiceBuilder::new()
//!     .map_request(|job: Job<String>| job.map(|name| name.trim().to_owned())) // any layers
//!     .service(bridge::service(greet));
//! Worker::builder(queue.source()).handler(bridge::handler(stack)).run().await?;
//! # Ok(()) }
//! ```
//!
//! Two functions, each named after what it makes: [`service`] makes a handler the innermost service
//! of a stack, [`handler`] makes the finished stack a handler again. A service of another origin
//! needs only the second.
//!
//! # What an error means
//!
//! | the stack's error | counts as |
//! |---|---|
//! | [`Failed`], itself or boxed by a layer | the [`Failure`] in it, just as the handler said it |
//! | any other: a layer's own, such as an elapsed timeout | [`Failure::Transient`] |
//!
//! Layers box errors ([`BoxError`]) and can carry only what is an [`Error`], which a [`Failure`]
//! deliberately is not. [`Failed`] carries it through them. A service that fails with a [`Failure`]
//! becomes one of these with `.map_err(Failed)`; a layer's error that should count as something else
//! is turned into a [`Failed`] in the same way.
//!
//! # Backpressure
//!
//! Each job has a clone of the stack, which is waited for ([`Service::poll_ready`]) and then called.
//! So a concurrency limit in the stack is shared by all jobs; a job that waits for it holds its
//! permit of the worker's gate, and its timeout runs. Where a limit is for the worker as a whole,
//! [`Builder::concurrency`](crate::Builder::concurrency) is the better place: what waits there is still
//! nobody's, and goes back at once when the worker drains.

use crate::{Handler, Job};
use ::tower::{Service, ServiceExt};
use forebay_contract::{BoxError, Failure};
use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Makes a service, layers and all, the handler of a worker.
///
/// It must be [`Clone`], as stacks of layers are that share what they limit; for one that is not,
/// `tower::buffer` gives a handle that is.
pub fn handler<Svc>(service: Svc) -> ServiceHandler<Svc> {
    ServiceHandler(service)
}

/// Makes a handler a service, to put layers around it.
pub fn service<H>(handler: H) -> HandlerService<H> {
    HandlerService(Arc::new(handler))
}

/// A service as a handler; from [`handler()`].
#[derive(Clone, Debug)]
pub struct ServiceHandler<Svc>(Svc);

impl<Svc, T, S> Handler<T, S> for ServiceHandler<Svc>
where
    Svc: Service<Job<T, S>, Response = ()> + Clone + Send + Sync + 'static,
    Svc::Error: Into<BoxError>,
    Svc::Future: Send,
    T: Send,
    S: Send,
{
    async fn handle(&self, job: Job<T, S>) -> Result<(), Failure> {
        self.0.clone().oneshot(job).await.map_err(|error| failure(error.into()))
    }
}

/// A handler as a service; from [`service()`]. Cloning shares the handler.
#[derive(Debug)]
pub struct HandlerService<H>(Arc<H>);

impl<H> Clone for HandlerService<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H, T, S> Service<Job<T, S>> for HandlerService<H>
where
    H: Handler<T, S>,
    T: Send + 'static,
    S: Send + 'static,
{
    type Response = ();
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job<T, S>) -> Self::Future {
        let handler = Arc::clone(&self.0);
        Box::pin(async move { handler.handle(job).await.map_err(Failed) })
    }
}

/// A [`Failure`] on its way through layers, as the [`Error`] that they ask for.
#[derive(Debug)]
pub struct Failed(pub Failure);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Without a source: the text has all causes already.
impl Error for Failed {}

fn failure(error: BoxError) -> Failure {
    match error.downcast::<Failed>() {
        Ok(failed) => failed.0,
        Err(other) => Failure::transient(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use ::tower::service_fn;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };
    use tokio::sync::{OwnedSemaphorePermit, Semaphore};

    async fn by_number(job: Job<u32>) -> Result<(), Failure> {
        match job.payload {
            0 => Ok(()),
            1 => Err(Failure::permanent("number one")),
            2 => Err(Failure::discard("number two")),
            _ if job.attempt() == 1 => Err(Failure::transient("another number")),
            _ => Ok(()),
        }
    }

    async fn run<Svc>(stack: Svc, numbers: &[u32]) -> testing::Run
    where
        Svc: Service<Job<u32>, Response = (), Error: Into<BoxError>, Future: Send>,
        Svc: Clone + Send + Sync + 'static,
    {
        testing::run(handler(stack), numbers.iter().map(|n| serde_json::json!(n))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_means_the_same_behind_a_layer_that_boxes_it() {
        let boxing = service(by_number).map_err(BoxError::from);
        let run = run(boxing, &[0, 1, 2, 3]).await;
        run.assert_acked(0);
        run.assert_dead(1, "number one");
        run.assert_dropped(2);
        run.assert_acked(3);
        assert_eq!(run.retries(3), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_error_is_transient() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let fails_once = service_fn(move |_: Job<u32>| {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { Err(BoxError::from("overloaded")) } else { Ok(()) } }
        });
        let run = run(fails_once, &[0]).await;
        assert_eq!(run.retries(0), 1);
        run.assert_acked(0);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_failure_keeps_its_text_on_the_way() {
        let failed = Failed(Failure::from(std::io::Error::other("the database is away")));
        assert_eq!(failed.to_string(), "the database is away");
        let back = failure(Box::new(failed));
        assert!(matches!(back, Failure::Transient { error, .. } if error.is::<std::io::Error>()));
    }

    /// Lets a number of calls through at once, and panics when called without having been ready.
    struct Limit {
        slots: Arc<Semaphore>,
        slot: Option<OwnedSemaphorePermit>,
        waiting: Option<Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send + Sync>>>,
        most: Arc<AtomicUsize>,
        size: usize,
    }

    impl Limit {
        fn of(size: usize) -> Self {
            let (slots, most) = (Arc::new(Semaphore::new(size)), Arc::default());
            Self { slots, slot: None, waiting: None, most, size }
        }
    }

    /// A clone is not ready, however ready its original is.
    impl Clone for Limit {
        fn clone(&self) -> Self {
            let (slots, most) = (self.slots.clone(), self.most.clone());
            Self { slots, slot: None, waiting: None, most, size: self.size }
        }
    }

    impl Service<Job<u32>> for Limit {
        type Response = ();
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            let slots = self.slots.clone();
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(async { slots.acquire_owned().await.unwrap() }));
            let slot = std::task::ready!(waiting.as_mut().poll(cx));
            (self.slot, self.waiting) = (Some(slot), None);
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Job<u32>) -> Self::Future {
            let slot = self.slot.take().expect("called without having been ready");
            let busy = self.size - self.slots.available_permits();
            self.most.fetch_max(busy, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(slot);
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_called_only_when_it_is_ready() {
        let limit = Limit::of(3);
        let most = limit.most.clone();
        let run = run(limit, &[0; 20]).await;
        (0..20).for_each(|i| run.assert_acked(i));
        assert!((0..20).all(|i| run.retries(i) == 0), "no call failed for want of a slot");
        assert_eq!(most.load(Ordering::Relaxed), 3);
    }
}
