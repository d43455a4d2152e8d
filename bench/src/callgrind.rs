//! Counts instructions by running a program under valgrind's callgrind.
//!
//! A count of one run includes what it takes to start and to stop. So each program is run twice, with
//! few and with many messages, and only the difference counts: what is the same in both cancels.

use std::{env, fmt, io, path::Path, process::Command};

/// Why there is no count.
#[derive(Debug)]
pub enum CallgrindError {
    /// There is no valgrind.
    Missing,
    /// It could not be run, or its report could not be read.
    Io(io::Error),
    /// It failed, and said this.
    Failed(String),
}

impl fmt::Display for CallgrindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "valgrind is not installed: `apt-get install valgrind`, or your system's way"
            ),
            Self::Io(error) => write!(f, "cannot run valgrind: {error}"),
            Self::Failed(text) => write!(f, "valgrind failed: {text}"),
        }
    }
}

impl std::error::Error for CallgrindError {}

/// The instructions that this same program executes with these arguments, all threads together.
///
/// `keep`: where to leave the profile, for `callgrind_annotate`.
///
/// # Errors
/// [`CallgrindError`]
pub fn instructions_of_self(args: &[String], keep: &Path) -> Result<u64, CallgrindError> {
    let program = env::current_exe().map_err(CallgrindError::Io)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--trace-children=no"])
        .arg(format!("--callgrind-out-file={}", keep.display()))
        .arg(program)
        .args(args)
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CallgrindError::Missing,
            _ => CallgrindError::Io(error),
        })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(CallgrindError::Failed(text));
    }
    let profile = std::fs::read_to_string(keep).map_err(CallgrindError::Io)?;
    total(&profile)
        .ok_or_else(|| CallgrindError::Failed("its profile has no line `totals:`".into()))
}

/// The sum that a profile ends with.
fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_last_line_of_a_profile() {
        let profile = "events: Ir\nfn=(1) main\n0 42\n\ntotals: 12345\n";
        assert_eq!(total(profile), Some(12345));
        assert_eq!(total("events: Ir\n"), None);
    }
}
