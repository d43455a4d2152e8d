//! The two tokio runtimes that everything is measured on.

use std::{fmt, future::Future, io};
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flavor {
    /// One thread.
    Ct,
    /// Two worker threads.
    Mt2,
    /// One thread, with tokio's clock standing still: for counting instructions. Under valgrind
    /// everything takes 50 times as long, and the runtime would take each handler for one that hogs
    /// the processor.
    Still,
}

impl Flavor {
    /// Those that a service may run on.
    pub const ALL: [Self; 2] = [Self::Ct, Self::Mt2];

    /// A new runtime of this flavor.
    ///
    /// # Errors
    /// When the system gives no threads, or no timer.
    pub fn build(self) -> io::Result<Runtime> {
        match self {
            Self::Ct => Builder::new_current_thread().enable_time().build(),
            Self::Mt2 => Builder::new_multi_thread().worker_threads(2).enable_time().build(),
            Self::Still => Builder::new_current_thread().enable_time().start_paused(true).build(),
        }
    }

    /// Runs a task on a new runtime, as a task: what `block_on` polls itself has a thread apart from
    /// the workers, and every hand-over to it costs a wake-up that no real service pays.
    ///
    /// # Errors
    /// When there is no runtime to be had, or the task panicked.
    pub fn run<T: Send + 'static>(
        self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let runtime = self.build()?;
        Ok(runtime.block_on(runtime.spawn(task))?)
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ct => "ct",
            Self::Mt2 => "mt2",
            Self::Still => "still",
        })
    }
}
