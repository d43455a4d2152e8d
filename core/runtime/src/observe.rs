//! What a worker tells of its messages while it works: the hook that telemetry hangs on.
//!
//! The runtime knows nothing of OpenTelemetry, nor of any other way to watch; it calls an [`Observer`]
//! if it was given one ([`Builder::observer`](crate::Builder::observer)). Without one it looks at an
//! `Option`, and that is all it costs.
//!
//! Why calls, and not events on a channel: a call costs some nanoseconds and allocates nothing, it
//! cannot fill a queue, and a span can be made current only on the thread that polls the handler, while
//! it polls. Why the counts of [`Counts`](crate::Counts) are not told here as well: whoever wants them
//! reads them from [`Control::status`](crate::Control::status), at no cost to the messages.
//!
//! An observer is called on the pump's own thread, so it must be quick: it must not block, and what
//! takes time belongs to a thread of its own.

use crate::{control::WorkerPhase, invoke::Called, verdict::Outcome};
use forebay_contract::{Failure, FailureKind, Message, SettleError, Verdict};
use std::{fmt, sync::Arc, time::Duration};

/// Sees what a worker does. Every method does nothing unless it is written.
///
/// The runtime allocates nothing for a message to call these.
pub trait Observer: Send + Sync + 'static {
    /// Messages have come from the source. `waited`: since the worker last began to wait for
    /// anything at all.
    fn received(&self, messages: &mut dyn ExactSizeIterator<Item = InHand<'_>>, waited: Duration) {
        let _ = (messages, waited);
    }

    /// The gate let fewer messages start than were ready: `messages` wait for a permit.
    fn refused(&self, messages: u32) {
        let _ = messages;
    }

    /// The handler is about to be called, for one message or for a batch. What this returns goes with
    /// the call, and sees its polls and its end; `None` if there is nothing to see.
    fn starting(&self, messages: &[Starting<'_>]) -> Option<Box<dyn ObservedCall>> {
        let _ = messages;
        None
    }

    /// So many calls of the handler have ended alike, and took `took` each: short calls are
    /// measured together, and this is then their mean.
    fn called(&self, calls: u32, ending: Ending, took: Duration) {
        let _ = (calls, ending, took);
    }

    /// So many messages have come to the same. A message of a batch that is run again in halves has
    /// not come to anything yet.
    fn handled(&self, messages: u32, ending: Ending) {
        let _ = (messages, ending);
    }

    /// The source has answered a batch of verdicts, after `took`.
    fn settled(&self, batch: &mut dyn ExactSizeIterator<Item = Settling<'_>>, took: Duration) {
        let _ = (batch, took);
    }

    /// A hand-out has left the worker without a verdict: its lease or its partition is gone.
    fn forgotten(&self, hand_out: u64) {
        let _ = hand_out;
    }

    /// Leases were to be extended: so many were, and so many were not, this time.
    fn extended(&self, extended: usize, failed: usize) {
        let _ = (extended, failed);
    }

    /// The worker has entered another phase.
    fn entered(&self, phase: WorkerPhase) {
        let _ = phase;
    }
}

/// One call of the handler, as an observer follows it. Dropped without [`ObservedCall::ended`], it was
/// abandoned, with its worker.
pub trait ObservedCall: Send {
    /// Calls `poll`, once, which polls the handler; what is to be current meanwhile is made current
    /// around it. `poll` does not panic: what the handler panics with is caught inside it.
    fn within(&mut self, poll: &mut dyn FnMut());

    /// The call has ended.
    fn ended(self: Box<Self>, ending: Ending);
}

/// A message that has come from the source.
#[derive(Clone, Copy, Debug)]
pub struct InHand<'a> {
    /// Which hand-out it is: a number that no other of this worker has.
    pub hand_out: u64,
    /// The message.
    pub message: &'a Message,
}

/// A message whose handler is about to be called.
#[derive(Clone, Copy, Debug)]
pub struct Starting<'a> {
    /// Which hand-out it is.
    pub hand_out: u64,
    /// The message.
    pub message: &'a Message,
    /// Since it was received: behind others of its key, and for a permit. Up to a tenth of a
    /// millisecond too short, as looks at the clock are shared.
    pub waited: Duration,
}

/// A verdict that the source has answered.
#[derive(Clone, Copy, Debug)]
pub struct Settling<'a> {
    /// Which hand-out it is about.
    pub hand_out: u64,
    /// The message.
    pub message: &'a Message,
    /// What was to become of it.
    pub verdict: &'a Verdict,
    /// What the source said. After [`SettleError::Unavailable`] it is settled again, and told again.
    pub error: Option<&'a SettleError>,
}

/// What a call of the handler came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It did its work.
    Done,
    /// It failed, and how.
    Failed(FailureKind),
    /// The handler said that the message is not worth handling.
    Discarded,
    /// It was called off: a drain, a lost lease, a revoked partition.
    Cancelled,
}

impl Ending {
    /// Its name in text: `done`, `discarded`, `cancelled`, or that of the failure's kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(kind) => kind.as_str(),
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed(failure) => match **failure {
                Failure::Transient { .. } => Self::Failed(FailureKind::Transient),
                Failure::Throttled { .. } => Self::Failed(FailureKind::Throttled),
                Failure::Permanent(_) => Self::Failed(FailureKind::Permanent),
                Failure::Discard(_) => Self::Discarded,
            },
            Outcome::TimedOut(_) => Self::Failed(FailureKind::Timeout),
            Outcome::Panicked(_) => Self::Failed(FailureKind::Panic),
            Outcome::Undecodable(_) => Self::Failed(FailureKind::Decode),
            Outcome::Cancelled => Self::Cancelled,
        }
    }

    /// That of a whole call: of a batch, that of the first message that was not done.
    pub(crate) fn of_call(called: &Called) -> Self {
        match called {
            Called::One(outcome) | Called::Together(outcome) => Self::of(outcome),
            Called::Each(outcomes) => outcomes
                .iter()
                .map(Self::of)
                .find(|ending| *ending != Self::Done)
                .unwrap_or(Self::Done),
        }
    }
}

/// The observer of a worker, or none.
#[derive(Clone, Default)]
pub(crate) struct Observed(pub(crate) Option<Arc<dyn Observer>>);

impl Observed {
    /// Tells the observer, if there is one.
    #[inline]
    pub(crate) fn tell(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.0 {
            tell(&**observer);
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observed({})", self.is_on())
    }
}

/// What follows a call, or nothing.
pub(crate) type Follower = Option<Box<dyn ObservedCall>>;

/// Polls a handler, with whatever follows its call around it.
#[inline]
pub(crate) fn within<T>(follower: &mut Follower, poll: impl FnOnce() -> T) -> T {
    match follower {
        None => poll(),
        Some(follower) => followed(&mut **follower, poll),
    }
}

fn followed<T>(follower: &mut dyn ObservedCall, poll: impl FnOnce() -> T) -> T {
    let (mut poll, mut polled) = (Some(poll), None);
    follower.within(&mut || {
        if let Some(poll) = poll.take() {
            polled = Some(poll());
        }
    });
    match (polled, poll) {
        (Some(polled), _) => polled,
        // A follower that does not do its duty holds up no message.
        (None, Some(poll)) => poll(),
        (None, None) => unreachable!("what was polled has left its result"),
    }
}
