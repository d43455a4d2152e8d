//! Faults by script: what is to fail next, and how.

use forebay_contract::{SettleError, SourceError};
use std::{collections::VecDeque, fmt, time::Duration};

type Make<E> = Box<dyn FnMut() -> E + Send>;

/// Errors to be given out: so many of one kind, then of the next.
pub(crate) struct Script<E>(VecDeque<(usize, Make<E>)>);

impl<E> Default for Script<E> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<E> Script<E> {
    pub(crate) fn add(&mut self, times: usize, make: Make<E>) {
        if times > 0 {
            self.0.push_back((times, make));
        }
    }

    /// The next error, if there is one left.
    pub(crate) fn next(&mut self) -> Option<E> {
        let (left, make) = self.0.front_mut()?;
        let error = make();
        *left -= 1;
        if *left == 0 {
            self.0.pop_front();
        }
        Some(error)
    }
}

impl<E> fmt::Debug for Script<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(left, _)| left)).finish()
    }
}

/// All that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// What the next calls of `receive` answer.
    pub(crate) receives: Script<SourceError>,
    /// What the next settlements answer, without having been carried out.
    pub(crate) settles: Script<SettleError>,
    /// How many settlements are carried out, but answered as if they had not been.
    pub(crate) lost_answers: usize,
    /// How long each call of `settle` takes before it does anything.
    pub(crate) settle_latency: Option<Duration>,
    /// Why the broker is away, if it is.
    pub(crate) down: Option<String>,
}
