//! Settings of a store and of a source, with their defaults.

use crate::{OpenError, Store};
use std::{path::Path, time::Duration};

/// How a store is opened. From [`Store::options`].
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub(crate) create: bool,
    pub(crate) busy_timeout: Duration,
    pub(crate) poll: Duration,
    pub(crate) max_size: Option<u64>,
    pub(crate) max_payload: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            create: true,
            busy_timeout: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            max_size: None,
            max_payload: Self::MAX_PAYLOAD,
        }
    }
}

impl StoreOptions {
    /// The largest payload that SQLite stores, with room for the rest of its row: 999,000,000 bytes.
    pub const MAX_PAYLOAD: usize = 999_000_000;

    /// Whether to create a file that is not there. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long to wait for another process that is writing, before the broker counts as
    /// unavailable. Default: 5 seconds.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How often idle receivers look whether another process has written, should its wake-up not
    /// reach them. Default: 200 milliseconds.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval;
        self
    }

    /// The size in bytes up to which publishing may grow the file; claims and settlements get a
    /// little more, so that a full queue can be drained. Default: no limit but the disk.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// The largest payload in bytes that may be published. Default, and most:
    /// [`MAX_PAYLOAD`](Self::MAX_PAYLOAD).
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes.min(Self::MAX_PAYLOAD);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`OpenError`], with what to do about it.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store, OpenError> {
        Store::open_with(path.as_ref(), self)
    }
}

/// As good as for ever, and far from the end of all clocks.
const LONGEST_LEASE: Duration = Duration::from_secs(365 * 86_400);

/// How a source takes messages.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    pub(crate) lease: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30) }
    }
}

impl SourceOptions {
    /// For how long a message is ours after each hand-out, in whole milliseconds (rounded up). The
    /// worker extends it while it works. Shorter: the messages of a killed worker come back sooner.
    /// Default: 30 seconds; a year at most.
    #[must_use]
    pub fn lease(mut self, length: Duration) -> Self {
        self.lease = length.min(LONGEST_LEASE);
        self
    }
}
