//! Standard error as a terminal: one live line at the bottom, and everything else above it.
//!
//! Log lines and the live line share the stream, so they share this lock: a line is wiped before
//! anything else is written, and drawn again after it.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

/// What stands at the bottom now, if anything.
static LIVE: Mutex<Option<String>> = Mutex::new(None);

const WIPE: &[u8] = b"\r\x1b[K";

/// Whether a live line can be seen.
pub(crate) fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How wide a terminal is, in characters; `None` where the stream is none.
pub(crate) fn width(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Shows a live line in place of the last one; `None` takes it away.
pub(crate) fn show(line: Option<String>) {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stderr = io::stderr().lock();
    if live.is_some() {
        let _ = stderr.write_all(WIPE);
    }
    // One column stays free: a full line would wrap, and could not be wiped.
    *live = line.map(|text| {
        crate::output::cut(&text, width(io::stderr()).map(|width| width.saturating_sub(1)))
    });
    if let Some(text) = &*live {
        let _ = stderr.write_all(text.as_bytes());
    }
    let _ = stderr.flush();
}

/// Writes to standard error, above the live line. Nobody can be told when that fails.
pub(crate) fn write_above(bytes: &[u8]) {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stderr = io::stderr().lock();
    if live.is_some() {
        let _ = stderr.write_all(WIPE);
    }
    let _ = stderr.write_all(bytes);
    if let Some(text) = &*live {
        let _ = stderr.write_all(text.as_bytes());
    }
    let _ = stderr.flush();
}

/// Writes a line to standard error.
pub(crate) fn error_line(text: &str) {
    write_above(format!("{text}\n").as_bytes());
}
