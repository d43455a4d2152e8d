//! Wall-clock times as the file holds them: whole milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, by the machine's clock, which all processes at one file share.
pub(crate) fn now() -> i64 {
    of(SystemTime::now())
}

/// When something happened: rounded down, so that it lies before every moment that comes after it.
pub(crate) fn happened(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn of(at: SystemTime) -> i64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds, rounded up, so that nothing comes back too early.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

pub(crate) fn later(now: i64, by: Duration) -> i64 {
    now.saturating_add(millis(by))
}

pub(crate) fn system(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.max(0).unsigned_abs())
}
