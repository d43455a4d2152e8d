//! The live line, on a real terminal.

use crate::bench::{Bench, wait_until};
use rustix::{
    fd::OwnedFd,
    process::Signal,
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::Read,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

/// The side of a terminal at which a person sits.
struct Terminal {
    seen: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

impl Terminal {
    /// A terminal so many columns wide, and its other side, for a process.
    fn open(columns: u16) -> (Self, OwnedFd) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut ours, into) = (File::from(ours), seen.clone());
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Linux says EIO when the other side has been closed by all.
            while let Ok(n @ 1..) = ours.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        (Self { seen, reader }, theirs)
    }

    /// What stands on the screen: its lines, the last one being where the cursor is.
    fn screen(&self) -> Vec<String> {
        let text = without_colours(&String::from_utf8_lossy(&self.seen.lock().unwrap()));
        let mut lines = vec![String::new()];
        for part in text.split_inclusive(['\r', '\n']) {
            let (text, end) = part.split_at(part.len() - usize::from(part.ends_with(['\r', '\n'])));
            let line = lines.last_mut().unwrap();
            match text.strip_prefix("\x1b[K") {
                Some(text) => text.clone_into(line),
                None => line.push_str(text),
            }
            if end == "\n" {
                lines.push(String::new());
            }
        }
        lines
    }

    fn shows(&self, what: &str) -> bool {
        self.screen().last().unwrap().contains(what)
    }
}

/// Text without `ESC [ … m`.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match code.strip_prefix('m') {
            Some(text) => out.push_str(text),
            None => out.extend(["\x1b[", part]),
        }
    }
    out
}

#[test]
fn a_terminal_has_a_live_line_that_is_gone_at_the_end() {
    let bench = Bench::with_handler("[handler.command]\nprogram = 'cat'");
    bench.send(&["1", "2", "3"]);
    let (terminal, theirs) = Terminal::open(200);
    let worker = bench.run_on(Stdio::from(theirs));
    wait_until("the live line tells what was done", || terminal.shows("done 3"));
    let screen = terminal.screen();
    let live = screen.last().unwrap();
    assert!(live.starts_with("orders  0/"), "{screen:#?}");
    assert!(live.contains(" in flight") && live.contains("dead 0  waiting 0"), "{screen:#?}");
    // Log lines stand above it, each on a line of its own.
    assert!(screen[0].contains("taking messages"), "{screen:#?}");
    assert!(screen[..screen.len() - 1].iter().all(|line| !line.contains("in flight")));

    worker.signal(Signal::TERM);
    let done = worker.ended();
    assert_eq!(done.code, Some(0), "{done:#?}");
    wait_until("the terminal is closed", || terminal.reader.is_finished());
    let screen = terminal.screen();
    assert!(screen.iter().all(|line| !line.contains("in flight")), "{screen:#?}");
    assert!(screen.iter().any(|line| line.contains("drained finished=0")), "{screen:#?}");
    assert_eq!(screen.last().unwrap(), "", "{screen:#?}");
}

#[test]
fn the_live_line_fits_a_narrow_terminal() {
    let bench = Bench::with_handler("[handler.command]\nprogram = 'cat'");
    let (terminal, theirs) = Terminal::open(30);
    let worker = bench.run_on(Stdio::from(theirs));
    wait_until("there is a live line", || terminal.shows("in flight"));
    let screen = terminal.screen();
    // A full line would wrap, and could not be wiped.
    assert!(screen.last().unwrap().chars().count() < 30, "{screen:#?}");
    assert_eq!(worker.stop().code, Some(0));
}
