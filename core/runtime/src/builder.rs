//! How a worker is put together: a source, a handler, and what may be said about the two.
//!
//! Every setting has a default that is safe to start with. What the source cannot honour is refused
//! by [`Builder::build`], before anything is received.

use crate::{
    BatchHandler, BatchOptions, BuildError, Decode, DrainReport, Gate, Handler, Invoke, Json,
    RunError, Worker,
    control::Shared,
    invoke::{Batched, Single},
    observe::{Observed, Observer},
    pump::{Settings, orders_in_lanes},
    window::Window,
};
use forebay_contract::{Capabilities, OrderSupport, Source, Want};
use forebay_policy::{Breaker, BreakerSettings, Concurrency, Fuse, RetryPolicy, TokenBucket};
use std::{marker::PhantomData, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How many handlers run at once unless something else is said.
const CONCURRENCY: u32 = 64;
/// The window, as a multiple of the limit, unless something else is said.
const WINDOW: usize = 4;

/// Puts a [`Worker`] together; from [`Worker::builder`].
///
/// `D` decodes payloads, `T` is the shared state, and `I` is the handler, once there is one.
#[must_use = "a builder does nothing until it is run"]
pub struct Builder<S, D = Json, T = (), I = NoHandler> {
    source: S,
    decode: D,
    state: T,
    invoke: I,
    name: String,
    limits: Limits,
    gate: Option<Gate>,
    retry: RetryPolicy,
    fuse: Fuse,
    timeout: Option<Duration>,
    window: (Option<usize>, usize),
    ordered: bool,
    drain_timeout: Duration,
    park_max: Duration,
    observed: Observed,
}

/// The limits of the gate that the worker gets if it is not given one.
struct Limits {
    concurrency: Concurrency,
    rate: Option<TokenBucket>,
    breaker: Option<Breaker>,
}

/// A builder that has not been given a handler.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHandler;

impl<S: Source> Worker<S, NoHandler> {
    /// Starts with where the messages come from.
    pub fn builder(source: S) -> Builder<S> {
        Builder {
            source,
            decode: Json,
            state: (),
            invoke: NoHandler,
            name: "worker".into(),
            limits: Limits {
                concurrency: Concurrency::fixed(CONCURRENCY),
                rate: None,
                breaker: Breaker::new(BreakerSettings::default()).ok(),
            },
            gate: None,
            retry: RetryPolicy::default(),
            fuse: Fuse::default(),
            timeout: Some(Duration::from_secs(30)),
            window: (None, 64 << 20),
            ordered: false,
            drain_timeout: Duration::from_secs(25),
            park_max: Duration::from_secs(30),
            observed: Observed::default(),
        }
    }
}

impl<S: Source, D, T> Builder<S, D, T, NoHandler> {
    /// How payloads are decoded; [`Json`] by default.
    pub fn decode<D2>(self, decode: D2) -> Builder<S, D2, T, NoHandler> {
        self.with(|_, state, invoke| (decode, state, invoke))
    }

    /// State shared by all calls of the handler, which sees it as [`Job::state`](crate::Job::state).
    /// It is cloned for each job: a pool, or an `Arc`.
    pub fn state<T2>(self, state: T2) -> Builder<S, D, T2, NoHandler> {
        self.with(|decode, _, invoke| (decode, state, invoke))
    }

    /// The handler, called for one message at a time.
    pub fn handler<H, P>(self, handler: H) -> Builder<S, (), (), Single<H, D, P, T>>
    where
        H: Handler<P, T>,
        D: Decode<P>,
        P: Send + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.with(|decode, state, _| {
            ((), (), Single { handler, decode, state, payload: PhantomData })
        })
    }

    /// The handler, called for several messages at a time. A batch takes one permit of the
    /// concurrency limit, and a token of the rate for each message.
    pub fn batch_handler<H, P>(
        self,
        options: BatchOptions,
        handler: H,
    ) -> Builder<S, (), (), Batched<H, D, P, T>>
    where
        H: BatchHandler<P, T>,
        D: Decode<P>,
        P: Send + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.with(|decode, state, _| {
            ((), (), Batched { handler, decode, state, options, payload: PhantomData })
        })
    }

    fn with<D2, T2, I2>(
        self,
        change: impl FnOnce(D, T, NoHandler) -> (D2, T2, I2),
    ) -> Builder<S, D2, T2, I2> {
        let (decode, state, invoke) = change(self.decode, self.state, self.invoke);
        Builder {
            source: self.source,
            decode,
            state,
            invoke,
            name: self.name,
            limits: self.limits,
            gate: self.gate,
            retry: self.retry,
            fuse: self.fuse,
            timeout: self.timeout,
            window: self.window,
            ordered: self.ordered,
            drain_timeout: self.drain_timeout,
            park_max: self.park_max,
            observed: self.observed,
        }
    }
}

impl<S: Source, D, T, I> Builder<S, D, T, I> {
    /// The worker's name in logs; `worker` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many calls may run at once: a fixed number (64 by default), or one that adapts.
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.limits.concurrency = concurrency;
        self
    }

    /// How many messages may start per second; not limited by default.
    pub fn rate(mut self, rate: TokenBucket) -> Self {
        self.limits.rate = Some(rate);
        self
    }

    /// When to stop calling a system that fails; [`BreakerSettings::default`] by default. `None`: never.
    pub fn breaker(mut self, breaker: impl Into<Option<Breaker>>) -> Self {
        self.limits.breaker = breaker.into();
        self
    }

    /// A gate shared with other workers, in place of concurrency, rate and breaker of its own.
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// How often and when a failed message is tried again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// When to stop filling the dead letters, since it looks like an outage.
    pub fn fuse(mut self, fuse: Fuse) -> Self {
        self.fuse = fuse;
        self
    }

    /// How long one call may take; 30 s by default. `None`: as long as it likes.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How many messages, and how many bytes of them, may be in hand at once, waiting or running;
    /// by default four times the concurrency limit (or two batches for each), and 64 MiB.
    pub fn window(mut self, messages: usize, bytes: usize) -> Self {
        self.window = (Some(messages), bytes);
        self
    }

    /// Handles messages with the same key one at a time, in their order, also across retries. The
    /// source must be able to keep it.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// How long a drain lets running calls go on before it calls them off; 25 s by default, to fit
    /// into the 30 s that orchestrators give.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How long messages in hand wait at a closed gate before they go back; 30 s by default.
    pub fn park_max(mut self, park_max: Duration) -> Self {
        self.park_max = park_max;
        self
    }

    /// Who sees what the worker does, as it does it; nobody by default.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observed = Observed(Some(observer));
        self
    }
}

impl<S: Source, D, T, I: Invoke> Builder<S, D, T, I> {
    /// The worker, if the source can honour all that was asked for.
    ///
    /// # Errors
    /// [`BuildError`] names the setting, the limit and the way out.
    pub fn build(self) -> Result<Worker<S, I>, BuildError> {
        let gate = self.gate.unwrap_or_else(|| {
            Gate::with(self.limits.concurrency, self.limits.rate, self.limits.breaker)
        });
        let unit = self.invoke.batching().map_or(1, |batch| batch.size);
        let per_call = unit.saturating_mul(2).max(WINDOW);
        let by_limit = (gate.status().limit as usize).saturating_mul(per_call);
        let (messages, bytes) = (self.window.0.unwrap_or(by_limit), self.window.1);
        let positive = |setting, value: usize| match value {
            0 => Err(BuildError::Invalid {
                setting,
                value: "0".into(),
                allowed: "it must be at least 1",
            }),
            _ => Ok(()),
        };
        positive("window.messages", messages)?;
        positive("window.bytes", bytes)?;
        positive("batch.size", unit)?;
        check(self.source.capabilities(), self.ordered, &self.retry, self.timeout)?;
        Ok(Worker {
            in_lanes: orders_in_lanes(self.source.capabilities(), self.ordered),
            source: self.source,
            invoke: self.invoke,
            settings: Settings {
                retry: self.retry,
                timeout: self.timeout,
                drain_timeout: self.drain_timeout,
                park_max: self.park_max,
                window_per_call: self.window.0.is_none().then_some(per_call),
            },
            gate,
            fuse: self.fuse,
            shared: Arc::new(Shared::new(self.name)),
            observed: self.observed,
            window: Arc::new(Window::new(Want { messages, bytes })),
            requests: mpsc::unbounded_channel(),
        })
    }

    /// Builds the worker and runs it; see [`Worker::run`].
    ///
    /// # Errors
    /// [`RunError`], which a [`BuildError`] also becomes.
    pub async fn run(self) -> Result<DrainReport, RunError> {
        self.build()?.run().await
    }
}

/// Refuses what the source cannot honour.
fn check(
    can: &Capabilities,
    ordered: bool,
    retry: &RetryPolicy,
    timeout: Option<Duration>,
) -> Result<(), BuildError> {
    let broker = can.broker;
    if ordered && can.order == OrderSupport::None {
        let way_out = "open the source in key order, or leave `ordered` out";
        return Err(BuildError::Unordered { broker, way_out });
    }
    let cap = retry.longest_delay();
    if let Some(max) = can.max_delay.filter(|max| cap > *max) {
        return Err(BuildError::DelayTooLong { broker, cap, max });
    }
    let hold = can.lease.and_then(|lease| lease.max_hold);
    if let (Some(timeout), Some(max)) = (timeout, hold)
        && timeout > max
    {
        return Err(BuildError::TimeoutTooLong { broker, timeout, max });
    }
    Ok(())
}
