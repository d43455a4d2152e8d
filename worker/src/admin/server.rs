//! The port itself: HTTP/1 and HTTP/2 without TLS, with bounds on what clients can take.
//!
//! Why not `axum::serve`: it lets a client hold a connection for as long as it likes, and any number of
//! them. Here a client that is slow to ask is let go, and when there are too many connections the
//! oldest goes, so that a probe always gets through. Nothing here can fail the worker.

use crate::config::{AdminConfig, ConfigError, Lines};
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use std::{
    collections::VecDeque,
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long a client may take to ask, and to ask again.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long accepting pauses after it has failed, as it does when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 16;
/// How much of a request's headers is held.
const HEADERS: usize = 16 << 10;
/// How often a silent connection of HTTP/2 is asked for a sign of life, and how long it has for it.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A port that has been taken, before the worker takes its first message.
pub(crate) struct Bound {
    listener: TcpListener,
    config: AdminConfig,
}

impl Bound {
    /// Takes the port.
    ///
    /// # Errors
    /// When it cannot be had, with the key's line.
    pub(crate) async fn to(config: &AdminConfig, lines: &Lines) -> Result<Self, ConfigError> {
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            lines
                .error("admin.listen", format!("cannot listen on {}: {error}", config.listen))
                .help("give each worker of a machine a port of its own, or remove `[admin]`")
        })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "admin port open");
        }
        Ok(Self { listener, config: config.clone() })
    }

    /// What the config says about it.
    pub(crate) fn config(&self) -> &AdminConfig {
        &self.config
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(bound: Bound, router: Router) {
    let mut tasks = JoinSet::new();
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => open.retain(|task| !task.is_finished()),
            accepted = bound.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if open.len() >= CONNECTIONS && let Some(oldest) = open.pop_front() {
                        oldest.abort();
                    }
                    open.push_back(tasks.spawn(connection(stream, router.clone())));
                }
                Err(error) => {
                    tracing::debug!("the admin port cannot accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    // Small answers are to leave at once; without, they leave a little later.
    let _ = stream.set_nodelay(true);
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(ASK_WITHIN).max_buf_size(HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS as u32)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    // Hyper's own limit begins with the first line: who does not even send that would stay.
    let asked = Arc::new(AtomicBool::new(false));
    let asks = asked.clone();
    let router = router.layer(middleware::from_fn(move |request: Request, next: Next| {
        asks.store(true, Ordering::Relaxed);
        next.run(request)
    }));
    let service = TowerToHyperService::new(router);
    tokio::select! {
        ended = server.serve_connection(TokioIo::new(stream), service) => if let Err(error) = ended {
            tracing::debug!("a connection to the admin port has failed: {error}");
        },
        () = silence(&asked) => tracing::debug!("a client of the admin port asks nothing"),
    }
}

/// Comes when nothing has been asked for too long.
async fn silence(asked: &AtomicBool) {
    sleep(ASK_WITHIN).await;
    if asked.load(Ordering::Relaxed) {
        future::pending::<()>().await;
    }
}
