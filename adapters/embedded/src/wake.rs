//! Wakes idle receivers in other processes: one datagram per commit that made something claimable.
//!
//! Each process with a source has a socket in a directory beside the file (`<file>.wake/`). A
//! writer sends to all of them: which queue, and from when. It is a hint and nothing rests on it:
//! one that is lost, or a path too long for a socket, costs up to a poll interval.

use crate::bell::Bells;
use std::{
    fs, io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::SystemTime,
};

/// The directory of the sockets.
pub(crate) fn directory(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".wake");
    name.into()
}

/// Those who want to be told, seen from a writer.
pub(crate) struct Peers {
    directory: PathBuf,
    /// To send from; without it, others poll.
    socket: Option<UnixDatagram>,
    /// When the directory last changed, as of the listing in `peers`.
    listed: Option<SystemTime>,
    peers: Vec<PathBuf>,
    /// The name of our own socket, which needs no telling.
    own: String,
}

impl Peers {
    pub(crate) fn new(file: &Path, own: &str) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self {
            directory: directory(file),
            socket: socket.ok(),
            listed: None,
            peers: Vec::new(),
            own: own.to_owned(),
        }
    }

    /// Tells the others that `queue` has something from `due` on.
    pub(crate) fn tell(&mut self, queue: i64, due: i64) {
        self.list();
        let Some(socket) = &self.socket else { return };
        let mut hint = [0; 16];
        hint[..8].copy_from_slice(&queue.to_le_bytes());
        hint[8..].copy_from_slice(&due.to_le_bytes());
        for peer in &self.peers {
            match socket.send_to(&hint, peer) {
                // Its process is gone without having cleaned up.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = fs::remove_file(peer);
                }
                // A full buffer: it has hints enough. Anything else: it polls.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Looks who is there, if the directory has changed since.
    fn list(&mut self) {
        let changed = fs::metadata(&self.directory).and_then(|meta| meta.modified()).ok();
        if changed == self.listed {
            return;
        }
        self.listed = changed;
        self.peers.clear();
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        self.peers.extend(
            entries.flatten().filter(|entry| *entry.file_name() != *self.own).map(|e| e.path()),
        );
    }
}

/// A name for the socket of a store, unlike that of any other that is open.
pub(crate) fn name() -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}.sock", process::id(), OPENED.fetch_add(1, Ordering::Relaxed))
}

/// Our own socket, and the thread that listens on it.
pub(crate) struct Listener {
    path: PathBuf,
}

impl Listener {
    /// Listens; hints ring the bells.
    ///
    /// # Errors
    /// If the socket cannot be made. Receivers then poll.
    pub(crate) fn start(file: &Path, name: &str, bells: Arc<Bells>) -> io::Result<Self> {
        let directory = directory(file);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let path = directory.join(name);
        // Left by an earlier process with our number.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        let listener = Self { path };
        thread::Builder::new()
            .name("forebay-wake".into())
            .spawn(move || listen(&socket, &bells))?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(socket) = UnixDatagram::unbound() {
            // An empty one ends the thread; if it cannot be sent, the thread is gone already.
            let _ = socket.send_to(&[], &self.path);
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(socket: &UnixDatagram, bells: &Bells) {
    let mut hint = [0; 16];
    loop {
        match socket.recv(&mut hint) {
            Ok(16) => {
                let [queue, due] = [&hint[..8], &hint[8..]].map(|half| {
                    i64::from_le_bytes(half.try_into().expect("half of 16 bytes is 8 bytes"))
                });
                bells.due(queue, due);
            }
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
