//! What a child process needs around it: an end for all that it started, and an ear for its errors.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr},
};

/// Of standard error, this much of the end becomes the error text.
const TAIL: usize = 800;

/// Kills the program and all that it started, unless it has ended by itself.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that a child leads.
    pub(super) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Signals all of it.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // Its only failure that can happen here is that the group is gone, which is the aim.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// The program has ended: what it left running on purpose runs on.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The last bytes of standard error.
pub(super) struct Tail {
    pipe: Option<ChildStderr>,
    kept: Vec<u8>,
    buffer: Box<[u8; 4096]>,
}

impl Tail {
    /// Nothing read yet.
    pub(super) fn new(pipe: Option<ChildStderr>) -> Self {
        Self { pipe, kept: Vec::new(), buffer: Box::new([0; 4096]) }
    }

    /// Whether there may be more.
    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads what is there. Cancel-safe.
    pub(super) async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut self.buffer[..]).await {
            Ok(0) | Err(_) => self.pipe = None,
            Ok(read) => {
                self.kept.extend_from_slice(&self.buffer[..read]);
                let surplus = self.kept.len().saturating_sub(TAIL);
                self.kept.drain(..surplus);
            }
        }
    }

    /// Reads all that there is. Cancel-safe.
    pub(super) async fn read_to_end(&mut self) {
        while self.is_open() {
            self.read().await;
        }
    }

    /// What was kept.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }
}
