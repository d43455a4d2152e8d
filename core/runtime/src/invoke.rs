//! The step from a started message to its handler's outcome: decode, and call.
//!
//! The pump knows messages and nothing of payload types; this is where the two meet. What a call
//! panics with is caught where it is polled ([`poll_caught`]), so that a call is one flat future,
//! cheap to make and to move.

use crate::{
    BatchHandler, BatchOutcome, Decode, Handler, Job, batch::BatchOptions, job::Context,
    verdict::Outcome,
};
use forebay_contract::Failure;
use std::{
    any::Any,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

/// What the messages of a unit came to, by index.
pub type Outcomes = Vec<Outcome>;

/// What a call came to.
#[derive(Debug)]
pub enum Called {
    /// The unit was one message.
    One(Outcome),
    /// Each message of the unit has its own outcome.
    Each(Outcomes),
    /// A batch failed as a whole: to be split, until it is known whose fault it is.
    Together(Outcome),
}

/// Calls the handler. Not for users: they write a [`Handler`].
pub trait Invoke: Send + Sync + 'static {
    /// Starts the call for one message. The future owns all that it needs, and gives its hold on the
    /// handler back, so that the next call needs no new one.
    fn invoke(
        self: Arc<Self>,
        context: Context,
    ) -> impl Future<Output = (Arc<Self>, Outcome)> + Send + 'static;

    /// Starts the call for a batch; by default, one message after the other.
    fn invoke_batch(
        self: Arc<Self>,
        contexts: Vec<Context>,
    ) -> impl Future<Output = Called> + Send + 'static {
        async move {
            let mut outcomes = Outcomes::with_capacity(contexts.len());
            for context in contexts {
                outcomes.push(self.clone().invoke(context).await.1);
            }
            Called::Each(outcomes)
        }
    }

    /// How many messages make a batch; `None`: the handler takes one at a time.
    fn batching(&self) -> Option<&BatchOptions>;
}

/// One message at a time.
pub struct Single<H, D, T, S> {
    pub(crate) handler: H,
    pub(crate) decode: D,
    pub(crate) state: S,
    pub(crate) payload: PhantomData<fn() -> T>,
}

impl<H, D, T, S> Invoke for Single<H, D, T, S>
where
    H: Handler<T, S>,
    D: Decode<T>,
    T: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    async fn invoke(self: Arc<Self>, context: Context) -> (Arc<Self>, Outcome) {
        let payload = match self.decode.decode(&context.message) {
            Ok(payload) => payload,
            Err(error) => return (self, Outcome::Undecodable(Box::new(error))),
        };
        let job = Job::new(payload, context, self.state.clone());
        let result = self.handler.handle(job).await;
        (self, outcome(result))
    }

    fn batching(&self) -> Option<&BatchOptions> {
        None
    }
}

/// Many messages at a time.
pub struct Batched<H, D, T, S> {
    pub(crate) handler: H,
    pub(crate) decode: D,
    pub(crate) state: S,
    pub(crate) options: BatchOptions,
    pub(crate) payload: PhantomData<fn() -> T>,
}

impl<H, D, T, S> Invoke for Batched<H, D, T, S>
where
    H: BatchHandler<T, S>,
    D: Decode<T>,
    T: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    async fn invoke(self: Arc<Self>, context: Context) -> (Arc<Self>, Outcome) {
        let outcome = match self.call(vec![context]).await {
            Called::One(outcome) | Called::Together(outcome) => outcome,
            Called::Each(mut outcomes) => outcomes.pop().unwrap_or(Outcome::Cancelled),
        };
        (self, outcome)
    }

    async fn invoke_batch(self: Arc<Self>, contexts: Vec<Context>) -> Called {
        self.call(contexts).await
    }

    fn batching(&self) -> Option<&BatchOptions> {
        Some(&self.options)
    }
}

impl<H, D, T, S> Batched<H, D, T, S>
where
    H: BatchHandler<T, S>,
    D: Decode<T>,
    S: Clone,
{
    async fn call(&self, contexts: Vec<Context>) -> Called {
        let (jobs, mut outcomes) = self.decode_all(contexts);
        if jobs.is_empty() {
            return Called::Each(outcomes);
        }
        let asked = jobs.len();
        match self.handler.handle_batch(jobs).await {
            BatchOutcome::Each(each) if each.len() == asked => {
                fill_in(&mut outcomes, each);
                Called::Each(outcomes)
            }
            BatchOutcome::Each(each) => Called::Together(wrong_length(each.len(), asked)),
            BatchOutcome::Failed(failure) => Called::Together(Outcome::Failed(Box::new(failure))),
        }
    }

    /// The jobs of those that decode. Their places in the outcomes say `Done`, to be filled in with
    /// what the handler says.
    fn decode_all(&self, contexts: Vec<Context>) -> (Vec<Job<T, S>>, Outcomes) {
        let mut jobs = Vec::with_capacity(contexts.len());
        let mut outcomes = Outcomes::with_capacity(contexts.len());
        for context in contexts {
            match self.decode.decode(&context.message) {
                Ok(payload) => {
                    jobs.push(Job::new(payload, context, self.state.clone()));
                    outcomes.push(Outcome::Done);
                }
                Err(error) => outcomes.push(Outcome::Undecodable(Box::new(error))),
            }
        }
        (jobs, outcomes)
    }
}

/// Polls a call. A panic is an outcome like others; the call is not to be polled again after it.
pub(crate) fn poll_caught<F: Future>(
    call: Pin<&mut F>,
    cx: &mut std::task::Context<'_>,
) -> Result<Poll<F::Output>, Outcome> {
    catch_unwind(AssertUnwindSafe(|| call.poll(cx)))
        .map_err(|panic| Outcome::Panicked(panic_text(&*panic)))
}

fn fill_in(outcomes: &mut Outcomes, each: Vec<Result<(), Failure>>) {
    let decoded = outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Done));
    for (place, result) in decoded.zip(each) {
        *place = outcome(result);
    }
}

fn outcome(result: Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(failure) => Outcome::Failed(Box::new(failure)),
    }
}

fn wrong_length(got: usize, asked: usize) -> Outcome {
    Outcome::Failed(Box::new(Failure::transient(format!(
        "the batch handler returned {got} results for {asked} jobs: it must return one for each"
    ))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("(no message)"))
}
