//! The step from a started message to its handler's outcome: decode, call, catch panics.
//!
//! The pump knows units of one or more messages and nothing of payload types; this is where the two
//! meet. A single message and a batch are two implementations of one small trait, so that the pump
//! is the same for both.

use crate::{
    BatchHandler, BatchOutcome, Decode, Handler, Job, batch::BatchOptions, job::Context,
    verdict::Outcome,
};
use forebay_contract::Failure;
use futures_util::FutureExt;
use smallvec::SmallVec;
use std::{any::Any, future::Future, marker::PhantomData, panic::AssertUnwindSafe, sync::Arc};

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

/// Calls the handler for a unit of messages. Not for users: they write a [`Handler`].
pub trait Invoke: Send + Sync + 'static {
    /// Starts the call. The future owns all that it needs.
    fn invoke(
        self: Arc<Self>,
        unit: SmallVec<[Context; 1]>,
    ) -> impl Future<Output = Called> + Send + 'static;

    /// How many messages make a unit; `None`: one.
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
    async fn invoke(self: Arc<Self>, mut unit: SmallVec<[Context; 1]>) -> Called {
        let context = unit.pop().expect("a unit has at least one message");
        let call = async {
            let payload = match self.decode.decode(&context.message) {
                Ok(payload) => payload,
                Err(error) => return Outcome::Undecodable(Box::new(error)),
            };
            let job = Job::new(payload, context, self.state.clone());
            outcome(self.handler.handle(job).await)
        };
        Called::One(match AssertUnwindSafe(call).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Outcome::Panicked(panic_text(&*panic)),
        })
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
    async fn invoke(self: Arc<Self>, unit: SmallVec<[Context; 1]>) -> Called {
        let call = async {
            let (jobs, mut outcomes) = self.decode_all(unit);
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
                BatchOutcome::Failed(failure) => {
                    Called::Together(Outcome::Failed(Box::new(failure)))
                }
            }
        };
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(called) => called,
            Err(panic) => Called::Together(Outcome::Panicked(panic_text(&*panic))),
        }
    }

    fn batching(&self) -> Option<&BatchOptions> {
        Some(&self.options)
    }
}

impl<H, D: Decode<T>, T, S: Clone> Batched<H, D, T, S> {
    /// The jobs of those that decode. Their places in the outcomes say `Done`, to be filled in with
    /// what the handler says.
    fn decode_all(&self, unit: SmallVec<[Context; 1]>) -> (Vec<Job<T, S>>, Outcomes) {
        let mut jobs = Vec::with_capacity(unit.len());
        let mut outcomes = Outcomes::with_capacity(unit.len());
        for context in unit {
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
