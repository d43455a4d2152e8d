//! A connection that is made when it is needed, and again when it is lost.
//!
//! There are two for each queue, because RabbitMQ, when it is low on memory or disk, stops reading
//! from every connection that publishes: acks on such a connection would wait, too. So one connection
//! consumes, settles and asks, and the other only publishes.
//!
//! Whoever needs a channel asks here. While the broker is away, most of them are told so at once,
//! with the last error: only one try is made at a time, and not before its pause is over. The pauses
//! grow, and start afresh once a connection stands.

use crate::{RabbitError, options::Checked};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, ConnectionStatus, DefaultConnectionBuilder, Event,
    tcp::OwnedTLSConfig,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The largest frame of RabbitMQ, unless it is set otherwise; what is assumed before it has told.
const DEFAULT_FRAME_MAX: u32 = 131_072;

/// What a broker that wants no messages says on one connection.
#[derive(Debug)]
struct Blocked {
    reason: watch::Receiver<Option<String>>,
    /// Of that connection: no word of it holds any longer than it lives.
    status: ConnectionStatus,
}

/// One connection, or the next.
#[derive(Debug)]
pub(crate) struct Link {
    checked: Arc<Checked>,
    /// What it is for, as the broker's pages show it.
    role: &'static str,
    state: tokio::sync::Mutex<State>,
    blocked: Mutex<Option<Blocked>>,
    /// The largest frame that was agreed on, in bytes.
    frame_max: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    pauses: Pauses,
    /// Why the last try failed, and when the next may be made.
    failed: Option<(RabbitError, Instant)>,
}

/// Growing pauses, with jitter.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Option<ExponentialBackoff>);

impl Pauses {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pauses = self.0.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(LONGEST_PAUSE)
                .with_jitter()
                .without_max_times()
                .build()
        });
        pauses.next().unwrap_or(LONGEST_PAUSE)
    }

    /// It worked: the next pause is a short one again.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

impl Link {
    pub(crate) fn new(checked: Arc<Checked>, role: &'static str) -> Self {
        let frame_max = AtomicU32::new(DEFAULT_FRAME_MAX);
        let (state, blocked) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { checked, role, state, blocked, frame_max }
    }

    /// A new channel on the connection, which is made if there is none.
    pub(crate) async fn channel(&self) -> Result<Channel, RabbitError> {
        let connection = self.connection().await?;
        Ok(self.answer(connection.create_channel()).await??)
    }

    /// The broker's answer to a question. If there is none in time, the connection is given up, for
    /// whoever asks next: a broken one need not look broken.
    pub(crate) async fn answer<T>(
        &self,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>, RabbitError> {
        match tokio::time::timeout(self.limit(), asked).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.state.lock().await.connection = None;
                *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Err(self.silent())
            }
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, RabbitError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            if connection.status().connected() {
                return Ok(Arc::clone(connection));
            }
            state.connection = None;
        }
        if let Some((error, again_at)) = &state.failed
            && Instant::now() < *again_at
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.pauses.reset();
                state.failed = None;
                state.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let again_at = Instant::now() + state.pauses.next();
                state.failed = Some((error.clone(), again_at));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RabbitError> {
        let (options, address) = (&self.checked.options, self.checked.address());
        let user = &self.checked.uri.authority.userinfo.username;
        let name = options.name.clone().unwrap_or_else(|| format!("forebay {}", options.queue));
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{name} ({})", self.role).into());
        let builder = DefaultConnectionBuilder::new()?
            .with_uri(self.checked.uri.clone())
            .with_properties(properties)
            .with_tls_config(self.tls()?);
        let connected = tokio::time::timeout(self.limit(), builder.connect()).await;
        let connection = connected
            .map_err(|_| self.silent())?
            .map_err(|error| RabbitError::connecting(&address, user, &error))?;
        self.frame_max.store(connection.configuration().frame_max(), Ordering::Relaxed);
        self.watch(&connection);
        Ok(connection)
    }

    fn tls(&self) -> Result<OwnedTLSConfig, RabbitError> {
        let Some(file) = &self.checked.options.ca_file else {
            return Ok(OwnedTLSConfig::default());
        };
        let pem = std::fs::read_to_string(file).map_err(|error| RabbitError::Option {
            option: "ca_file",
            why: format!("{} cannot be read: {error}", file.display()),
        })?;
        if !pem.contains("BEGIN CERTIFICATE") {
            let why = format!("{} holds no certificate in PEM", file.display());
            return Err(RabbitError::Option { option: "ca_file", why });
        }
        Ok(OwnedTLSConfig { cert_chain: Some(pem), identity: None })
    }

    /// Notes whether the broker takes messages, for as long as the connection lives.
    fn watch(&self, connection: &Connection) {
        let (tell, reason) = watch::channel(None);
        let blocked = Blocked { reason, status: connection.status().clone() };
        *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = Some(blocked);
        let (mut events, address) = (connection.events_listener(), self.checked.address());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(%address, "RabbitMQ blocks publishing: {reason}");
                        tell.send_replace(Some(reason));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(%address, "RabbitMQ takes messages again");
                        tell.send_replace(None);
                    }
                    _ => {}
                }
            }
        });
    }

    /// Why the broker takes no messages through this connection, if it does not. A connection that is
    /// lost while it is blocked never hears that it no longer is, and the next one may not be.
    pub(crate) fn blocked(&self) -> Option<String> {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let blocked = blocked.as_ref().filter(|blocked| blocked.status.connected())?;
        blocked.reason.borrow().clone()
    }

    /// The largest frame, in bytes.
    pub(crate) fn frame_max(&self) -> usize {
        usize::try_from(self.frame_max.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Lets go of the connection, in order.
    pub(crate) async fn close(&self) {
        let connection = self.state.lock().await.connection.take();
        if let Some(connection) = connection {
            // One that is gone already need not be closed.
            let _ = connection.close(200, "done".into()).await;
        }
    }

    fn limit(&self) -> Duration {
        self.checked.options.connect_timeout
    }

    fn silent(&self) -> RabbitError {
        let why = format!("no answer within {:?}", self.limit());
        RabbitError::Unreachable { address: self.checked.address(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_afresh_after_a_success() {
        let mut pauses = Pauses::default();
        let some: Vec<_> = (0..20).map(|_| pauses.next()).collect();
        assert!(some[0] < Duration::from_millis(150), "{some:?}");
        assert!(some[10..].iter().all(|pause| *pause >= LONGEST_PAUSE), "{some:?}");
        pauses.reset();
        assert!(pauses.next() < Duration::from_millis(150));
    }
}
