//! Whether the machine has something else to do: a baseline that was not quiet is none.

use std::{fs, time::Duration};

/// Above this share of all processors, taken by others, a run says little about the bystander.
pub(crate) const CROWDED: f64 = 0.1;

/// The share of all processors that is in use for some time from now, as Linux counts; `None` where
/// nobody counts it.
pub(crate) async fn busy(during: Duration) -> Option<f64> {
    let before = ticks()?;
    tokio::time::sleep(during).await;
    let after = ticks()?;
    let (all, idle) = (after.0.checked_sub(before.0)?, after.1.checked_sub(before.1)?);
    (all > 0).then(|| 1.0 - idle as f64 / all as f64)
}

/// All ticks of the processors so far, and those in which they had nothing to do.
fn ticks() -> Option<(u64, u64)> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of `/proc/stat`: `cpu`, then user, nice, system, idle, iowait, and more.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    // The last two, guest and guest_nice, are in the first two already.
    let ticks: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((ticks.iter().sum(), ticks.get(3)? + ticks.get(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_told_from_busy() {
        assert_eq!(parse("cpu  10 1 5 80 4 0 0 0 9 9\ncpu0 1"), Some((100, 84)));
        assert_eq!(parse("intr 1"), None);
    }
}
