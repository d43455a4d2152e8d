//! A worker, built and ready: its tasks are put together here, run, and taken down in order.

use crate::{
    Control, DrainReport, Gate, Invoke, RunError,
    beside::Beside,
    control::{Request, Shared, WorkerPhase},
    keeper::{Keeper, keep},
    observe::Observed,
    pump::{Leavings, Parts, Pump, Settings, aside},
    settler::Settler,
    signals::Signals,
    window::Window,
};
use forebay_contract::Source;
use forebay_policy::Fuse;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

/// How long a source may take to close when the drain has used up its time.
const CLOSE_AT_LEAST: Duration = Duration::from_secs(2);

/// A worker that is ready to run.
pub struct Worker<S: Source, I> {
    pub(crate) source: S,
    pub(crate) invoke: I,
    pub(crate) settings: Settings,
    pub(crate) gate: Gate,
    pub(crate) fuse: Fuse,
    pub(crate) in_lanes: bool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) observed: Observed,
    pub(crate) window: Arc<Window>,
    pub(crate) requests: (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>),
}

impl<S: Source, I: Invoke> Worker<S, I> {
    /// Controls this worker from elsewhere.
    #[must_use]
    pub fn control(&self) -> Control {
        Control {
            shared: self.shared.clone(),
            gate: self.gate.clone(),
            window: self.window.clone(),
            requests: self.requests.0.clone(),
        }
    }

    /// Runs until SIGTERM or SIGINT, or [`Control::drain`], and drains. A second signal hurries the
    /// drain, a third ends it at once.
    ///
    /// # Errors
    /// [`RunError`] when the source fails for good, or signals cannot be listened for.
    pub async fn run(self) -> Result<DrainReport, RunError> {
        let mut signals = Signals::listen().map_err(RunError::Signals)?;
        let control = self.control();
        let running = self.run_until_drained();
        tokio::pin!(running);
        loop {
            tokio::select! {
                ended = &mut running => return ended,
                name = signals.next() => {
                    tracing::info!("{name}: draining");
                    control.drain();
                }
            }
        }
    }

    /// Runs until [`Control::drain`], and drains. Listens for no signals.
    ///
    /// # Errors
    /// [`RunError::Source`] when the source fails for good.
    pub async fn run_until_drained(self) -> Result<DrainReport, RunError> {
        let source = Arc::new(self.source);
        let stats = self.shared.stats.clone();
        let observed = self.observed;
        let (lost_tx, lost) = mpsc::unbounded_channel();
        let (settler_tx, inbox) = mpsc::unbounded_channel();
        let (empties_tx, empties) = mpsc::unbounded_channel();
        let (gone_tx, gone) = mpsc::unbounded_channel();
        let (give_up_tx, give_up_at) = watch::channel(None);
        let keeper = Arc::new(Keeper::new(source.capabilities().lease, lost_tx, observed.clone()));
        let window = self.window;
        let settler = Settler {
            source: source.clone(),
            empties: empties_tx,
            gone: gone_tx,
            window: window.clone(),
            keeper: keeper.clone(),
            stats: stats.clone(),
            observed: observed.clone(),
            give_up_at,
        };
        let pump = Pump::new(Parts {
            source: source.clone(),
            invoke: Arc::new(self.invoke),
            settings: self.settings,
            shared: self.shared.clone(),
            requests: self.requests.1,
            window,
            keeper: keeper.clone(),
            lost,
            gone,
            gate: self.gate,
            fuse: self.fuse,
            in_lanes: self.in_lanes,
            observed: observed.clone(),
            settler: settler_tx,
            empties,
            give_up_at: give_up_tx,
        });

        // Tasks that end with this future: a worker that is dropped stops working.
        let mut keepers = JoinSet::new();
        keepers.spawn(keep(keeper, source.clone(), stats));
        // The pump has no handler in it that could panic; a panic here is a defect, passed on.
        let (leavings, settling) = aside::run(pump, Beside::new(settler, inbox)).await;
        let Leavings { error, counts, deadline, running } = leavings;
        // The pump's end of the channel is gone with it, so the settler ends when all is settled.
        let unsettled = settling.rest().await;
        keepers.abort_all();
        let left =
            deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let left = left.max(CLOSE_AT_LEAST);
        let report = DrainReport::between(counts, self.shared.stats.read(), running + unsettled);
        let closed = tokio::time::timeout(left, source.close(left)).await;
        self.shared.enter(WorkerPhase::Stopped);
        observed.tell(|observer| observer.entered(WorkerPhase::Stopped));
        if let Ok(Err(error)) = closed {
            tracing::warn!("the source did not close cleanly: {error}");
        }
        match error {
            Some(error) => Err(RunError::Source { error, report }),
            None => Ok(report),
        }
    }
}

/// The end of a task.
pub(crate) async fn joined<T: 'static>(tasks: &mut JoinSet<T>) -> T {
    match tasks.join_next().await.expect("a task was spawned into it") {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
