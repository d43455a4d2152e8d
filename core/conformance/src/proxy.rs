//! A TCP proxy that fails on command, to be put between an adapter and its real broker.
//!
//! | fault | what a client sees | what the broker sees |
//! |---|---|---|
//! | [`cut`](FaultProxy::cut) | live connections are reset (RST); new ones work | the same |
//! | [`half_open`](FaultProxy::half_open) | connects, and hears nothing: no byte, no FIN, no RST | the same, and no new connection |
//! | [`delay`](FaultProxy::delay) | each byte comes later by that time; throughput stays | the same |
//! | [`refuse`](FaultProxy::refuse) | live connections are reset; new ones too, once accepted | live ones are reset, no new ones |
//! | [`reset_after`](FaultProxy::reset_after) | a reset in mid-stream, after so many bytes | the same |
//!
//! Half open is what a broken switch or a frozen machine looks like: only a heartbeat, or a timeout,
//! of the client's own can tell. Bytes held by it, or under way through a delay, are not lost: they
//! pass once the fault is over, unless their connection was reset.
//!
//! Why a thread and a runtime of its own: a proxy can then be started anywhere, be shared by tests
//! that each have their runtime, and goes on while a test blocks, or stops, its own clock.
//!
//! Why each write happens under the lock of the state: when a call that brings on a fault has
//! returned, no further byte passes. Tests need no waiting, and see the same each time. Only
//! connections that the proxy has accepted count as live; one that has carried a byte has been.

mod link;
mod state;

pub use state::{Direction, Passed};

use state::State;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// How long accepting pauses after it has failed, as it does when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A proxy in front of one address. Dropping it resets what is live and closes its port.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the handle, the accepting task and the links have in common.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: watch::Sender<State>,
}

impl Shared {
    /// Waits until the state is so.
    async fn until(&self, so: impl FnMut(&State) -> bool) {
        // Cannot fail: the sender is in `self`.
        drop(self.state.subscribe().wait_for(so).await);
    }
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1, for connections to `upstream`.
    ///
    /// # Errors
    /// No port can be had, or no thread be started. That upstream is away is no error: connections
    /// are then reset, until it is there.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), upstream)
    }

    /// Listens where told: for a broker that tells its clients the address to come back to.
    ///
    /// # Errors
    /// As [`FaultProxy::start`].
    pub fn start_on(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { upstream, state: watch::Sender::default() });

        let (ready, started) = mpsc::channel();
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("fault-proxy".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => {
                        drop(ready.send(Ok(())));
                        serve(listener, serving).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all live connections, on both sides. What was under way is lost.
    pub fn cut(&self) {
        self.shared.state.send_modify(State::cut);
    }

    /// Whether connections are accepted but carry nothing, neither bytes nor their end.
    pub fn half_open(&self, on: bool) {
        self.shared.state.send_modify(|state| state.half_open = on);
    }

    /// How much later each byte arrives, in each direction; zero: off. What is already under way
    /// keeps its time.
    pub fn delay(&self, by: Duration) {
        self.shared.state.send_modify(|state| state.delay = by);
    }

    /// Whether new connections are reset as soon as they are accepted; `true` also cuts live ones.
    pub fn refuse(&self, on: bool) {
        self.shared.state.send_modify(|state| {
            state.refuse = on;
            if on {
                state.cut();
            }
        });
    }

    /// Cuts all live connections once, after this many further bytes in this direction, counted
    /// over all connections, those to come included. Exactly so many are passed on before. With 0,
    /// the next byte that would pass brings the cut instead. A second call replaces the first.
    pub fn reset_after(&self, bytes: u64, direction: Direction) {
        self.shared.state.send_modify(|state| state.reset_after = Some((direction, bytes)));
    }

    /// Connections that are live now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state.borrow().live
    }

    /// Connections accepted since the start, without those refused: two for a client that has
    /// reconnected once.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.state.borrow().accepted
    }

    /// Bytes passed on since the start.
    #[must_use]
    pub fn passed(&self) -> Passed {
        self.shared.state.borrow().passed
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.state.send_modify(|state| {
            state.cut();
            state.closed = true;
        });
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy's has been printed; one more, from here, would abort.
            drop(thread.join());
        }
    }
}

/// Accepts until the proxy is closed, then waits for the links to end.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.until(|state| state.closed) => break,
            Some(_) = links.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => admit(client, &shared, &mut links),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    while links.join_next().await.is_some() {}
}

/// Links a client up, unless it is to be refused.
fn admit(client: TcpStream, shared: &Arc<Shared>, links: &mut JoinSet<()>) {
    let mut epoch = None;
    shared.state.send_if_modified(|state| {
        epoch = state.admit();
        false // Nobody waits for a count.
    });
    match epoch {
        Some(epoch) => drop(links.spawn(link::run(client, Arc::clone(shared), epoch))),
        None => link::reset(&client),
    }
}
