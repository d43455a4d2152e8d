//! The ways from the clients to the database, and what each of them is given.

mod batches;
mod consumer;
mod direct;
mod forebay;
mod quiet;
mod single;

pub(crate) use batches::write_all;

use crate::{Fault, plan::Plan, record::Record};
use clap::ValueEnum;
use serde::Serialize;
use std::{
    ops::Range,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lane {
    /// Into nothing: the generator and the bystander alone.
    Quiet,
    /// (a) Straight from clients.
    Direct,
    /// (b) A consumer of fixed concurrency, written by hand on the client library.
    Consumer,
    /// (c) Forebay, a message at a time.
    Single,
    /// (d) Forebay, in batches.
    Batches,
}

impl Lane {
    /// As tables and plots call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Quiet => "quiet: into a null sink",
            Self::Direct => "(a) straight from clients",
            Self::Consumer => "(b) consumer by hand, 64 at once",
            Self::Single => "(c) Forebay, per message",
            Self::Batches => "(d) Forebay, in batches",
        }
    }

    /// As legends call it, where room is short.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Direct => "(a) straight",
            Self::Consumer => "(b) by hand",
            Self::Single => "(c) per message",
            Self::Batches => "(d) in batches",
        }
    }

    /// A word for files.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Direct => "direct",
            Self::Consumer => "consumer",
            Self::Single => "single",
            Self::Batches => "batches",
        }
    }

    /// Plays the plan by this way.
    pub(crate) async fn play(self, stage: Stage) -> Result<Left, Fault> {
        match self {
            Self::Quiet => quiet::play(stage).await,
            Self::Direct => direct::play(stage).await,
            Self::Consumer => consumer::play(stage).await,
            Self::Single => single::play(stage).await,
            Self::Batches => batches::play(stage).await,
        }
    }
}

/// How Forebay is set up.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Setup {
    /// Handlers at once, a message at a time.
    pub(crate) single_at_once: u32,
    /// Batches at once.
    pub(crate) batches_at_once: u32,
    /// Rows in a batch.
    pub(crate) batch: usize,
}

/// What a lane is given.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) url: String,
    pub(crate) setup: Setup,
    pub(crate) plan: Arc<Plan>,
    pub(crate) record: Arc<Record>,
    /// When it is stopped, from the start.
    pub(crate) until: Duration,
}

/// What a lane leaves behind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Left {
    /// Arrivals that still wait in its queue.
    pub(crate) waiting: u64,
    /// Dead letters.
    pub(crate) dead: u64,
    /// Messages that came again and were recognised.
    pub(crate) recognised: u64,
}

impl Stage {
    /// Lets all arrivals come, each when it is due, and waits until all have ended or the time is up.
    /// `offer` is given the ids that are due; it is called from a thread that no lane can hold up.
    pub(crate) async fn perform(
        &self,
        offer: impl FnMut(Range<u64>) + Send + 'static,
    ) -> Result<(), Fault> {
        let (plan, start) = (self.plan.clone(), self.record.start());
        let clients = thread::spawn(move || generate(&plan, start, offer));
        let all_done = || clients.is_finished() && self.record.done() >= self.plan.len();
        while !all_done() && start.elapsed() < self.until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Later than its plan only if the machine was, in which case the window ends late too.
        tokio::task::spawn_blocking(move || clients.join())
            .await?
            .map_err(|_| "the generator panicked")?;
        Ok(())
    }
}

/// Hands out the arrivals when they are due.
fn generate(plan: &Plan, start: Instant, mut offer: impl FnMut(Range<u64>)) {
    let mut next = 0;
    while next < plan.len() {
        let due = plan.due_by(start.elapsed());
        if due > next {
            offer(next..due);
            next = due;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
