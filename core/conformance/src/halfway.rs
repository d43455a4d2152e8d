//! A redrive that is killed half-way: what a harness whose queue outlives its process does for
//! [`Harness::redrive_killed_halfway`](crate::Harness::redrive_killed_halfway).

use crate::{Process, Stop};
use forebay_contract::{DeadFilter, DeadLetters};
use std::{env, ffi::OsStr, time::Duration};

/// What tells the child which queue.
const QUEUE: &str = "REDRIVE_TEST";
/// Letters that are moved before the child says that it is half-way; after that, it is slow.
const HALF: u32 = 50;
const SLOW: Duration = Duration::from_millis(20);

/// Starts the test `child` of this binary, which calls [`redrive_slowly`], and kills it half-way.
///
/// # Errors
/// When it was done before that.
///
/// # Panics
/// When the child does not come half-way.
pub fn kill_redrive_halfway(child: &str, queue: impl AsRef<OsStr>) -> Result<(), Stop> {
    let process = Process::start(child, &[(QUEUE, queue)]);
    process.wait_for_line("halfway");
    match process.kill().iter().any(|line| line == "done") {
        true => Err(Stop::fail("it was done before it was killed")),
        false => Ok(()),
    }
}

/// The queue that the child is to redrive; `None` in a process that is not such a child.
#[must_use]
pub fn queue_to_redrive() -> Option<String> {
    env::var(QUEUE).ok()
}

/// Redrives one dead letter after the other, the second half slowly, until it is killed.
///
/// # Panics
/// When a redrive fails.
#[expect(clippy::print_stdout, reason = "how a process tells the one that kills it")]
pub async fn redrive_slowly(dead: &impl DeadLetters) {
    for n in 0.. {
        if n == HALF {
            println!("halfway");
        }
        let redriven = dead.redrive(&DeadFilter::default(), 1).await;
        if redriven.expect("the broker is there").moved.is_empty() {
            println!("done");
        }
        if n >= HALF {
            tokio::time::sleep(SLOW).await;
        }
    }
}
