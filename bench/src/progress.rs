//! One line on stderr that says how far a long measurement is.

use std::io::{self, IsTerminal, Write};

/// Shows `text` in place of what was shown before. Says nothing where nobody watches.
pub fn show(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        // A measurement does not fail for want of a terminal.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

/// Takes the line away.
pub fn clear() {
    show("");
}
