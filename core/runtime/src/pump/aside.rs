//! Where the pump runs: as a task among others, or, while handlers hog the processor, on a thread of
//! its own.
//!
//! Handlers run as tasks while hogs are about (`hogs.rs`). A thread of the runtime that takes a hog
//! does nothing else until it is done; if that thread also ran the pump, every message would wait for
//! the hog. On a thread of its own the pump goes on, and what it starts goes to the threads that are
//! free. All the rest of the time the pump is a task: then a hand-over between it and the source's
//! tasks costs no wake-up of a thread.
//!
//! A runtime with one thread has no other place to go, and a hog holds up everything there.

use super::{Leavings, Pump};
use crate::{Invoke, beside::Beside, worker::joined};
use forebay_contract::Source;
use std::{thread, time::Duration};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::oneshot,
    task::JoinSet,
};

/// Where a pump runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it is a task, and stays one.
    Fixed,
    /// Where it is a task, and may go aside.
    Home,
    /// On a thread of its own.
    Aside,
}

impl Place {
    pub(super) fn of_this_runtime() -> Self {
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => Self::Fixed,
            _ => Self::Home,
        }
    }

    /// Whether the pump is to run elsewhere.
    pub(super) fn is_left(self, hogs_about: bool) -> bool {
        match self {
            Self::Fixed => false,
            Self::Home => hogs_about,
            Self::Aside => !hogs_about,
        }
    }

    /// Lets the reports of handlers in tasks gather, where that holds up nothing else: on a thread of
    /// its own. Each would wake that thread, else, and take a processor from the handlers for as long.
    pub(super) fn gather(self, at_work: usize) {
        if self == Self::Aside && at_work >= PLENTY {
            thread::sleep(GATHER);
        }
    }
}

/// With so many handlers at work in tasks, none of the threads that run them wants for more soon.
const PLENTY: usize = 16;
/// For how long their reports gather, then.
const GATHER: Duration = Duration::from_micros(50);

/// How a run of the pump ends.
pub(crate) enum Run<P> {
    /// The drain is over.
    Over(Leavings),
    /// It is to go on elsewhere.
    Moves(P),
}

/// Runs a pump until its drain is over, wherever it is to run, with the settler beside it. A worker
/// that is dropped stops both.
pub(crate) async fn run<S: Source, I: Invoke>(
    mut pump: Pump<S, I>,
    mut settling: Beside,
) -> (Leavings, Beside) {
    loop {
        let ended = match pump.place {
            Place::Aside => aside(pump, settling).await,
            Place::Fixed | Place::Home => {
                let mut task = JoinSet::new();
                task.spawn(settling.beside(pump.run()));
                joined(&mut task).await
            }
        };
        (pump, settling) = match ended {
            (Run::Over(leavings), settling) => return (leavings, settling),
            (Run::Moves(pump), settling) => (pump, settling),
        };
        pump.place = match pump.place {
            Place::Home => Place::Aside,
            Place::Aside => Place::Home,
            Place::Fixed => Place::Fixed,
        };
        tracing::debug!(place = ?pump.place, "the pump moves");
    }
}

/// Runs a pump on a thread of its own; at home, and for good, if the system gives no thread.
async fn aside<S: Source, I: Invoke>(
    mut pump: Pump<S, I>,
    settling: Beside,
) -> (Run<Pump<S, I>>, Beside) {
    let runtime = Handle::current();
    let (give, given) = oneshot::channel::<(Pump<S, I>, Beside)>();
    let (give_back, back) = oneshot::channel();
    // Goes when this future does, and the pump with it.
    let (_leash, leash) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name("forebay-pump".to_owned()).spawn(move || {
        let run = async {
            let Ok((pump, settling)) = given.await else { return };
            tokio::select! {
                biased;
                _ = leash => {}
                // Nobody waits for a pump whose worker has been dropped.
                run = settling.beside(pump.run()) => drop(give_back.send(run)),
            }
        };
        runtime.block_on(run);
    });
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => {
            tracing::warn!("no thread for the pump while handlers hog the processor: {error}");
            pump.place = Place::Fixed;
            return (Run::Moves(pump), settling);
        }
    };
    // The thread waits for it.
    let _ = give.send((pump, settling));
    match back.await {
        Ok(run) => run,
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the pump's thread ends with an answer, or panics"),
        },
    }
}
