//! When a batch is full: by count, by bytes, or by the age of its oldest message.

use std::time::Duration;

/// When a batch closes: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Messages in a batch, at most.
    pub size: usize,
    /// Bytes of payload, key and headers in a batch, at most; a larger single message goes alone.
    pub bytes: usize,
    /// How long the first message of a batch waits for more, at most.
    pub age: Duration,
}

impl BatchOptions {
    /// Up to `size` messages or 1 MiB, waiting at most 20 ms.
    #[must_use]
    pub const fn of(size: usize) -> Self {
        Self { size, bytes: 1 << 20, age: Duration::from_millis(20) }
    }

    /// With another limit of bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// With another time to wait for more.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }
}
