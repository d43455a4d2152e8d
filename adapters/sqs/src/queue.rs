//! A queue and its dead letters, opened: where sources, sinks and the tools of the operator come from.

use crate::{
    SqsError, SqsOptions, SqsSource, api::Api, backlog, connect, memo::Memo, publish, topology,
    wear::Wear,
};
use aws_config::SdkConfig;
use forebay_contract::{Backlog, Capabilities, Exactness, LeaseTerms, OrderSupport, SourceError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A queue. Cheap to clone; clones, and the sources opened from them, share what this process remembers
/// of messages that it has given back.
#[derive(Clone, Debug)]
pub struct SqsQueue(pub(crate) Arc<Shared>);

/// What clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) main: Api,
    pub(crate) dead: Api,
    pub(crate) options: SqsOptions,
    pub(crate) fifo: bool,
    /// The largest message that the queues take.
    pub(crate) max_message: usize,
    pub(crate) wear: Wear,
    pub(crate) memo: Arc<Memo>,
    /// Held while dead letters are looked through: two that do so see each other's as hidden.
    pub(crate) looking: Mutex<()>,
    pub(crate) capabilities: Capabilities,
}

impl SqsQueue {
    /// Opens a queue: checks the settings, finds credentials and region by the SDK's chain, finds or
    /// creates the queues, and holds them against the settings.
    ///
    /// # Errors
    /// [`SqsError`] names the setting, the limit and the way out.
    pub async fn open(options: SqsOptions) -> Result<Self, SqsError> {
        let options = options.checked()?;
        let sdk = connect::sdk(&options).await;
        Self::open_with(options, &sdk).await
    }

    /// As [`open`](Self::open), with credentials and all else that an SDK's configuration holds given
    /// by the caller: a role to assume, an HTTP client of its own. The settings' endpoint and region go
    /// first, its profile is not looked at.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(options: SqsOptions, sdk: &SdkConfig) -> Result<Self, SqsError> {
        let options = options.checked()?;
        let clients = connect::clients(&options, sdk)?;
        let topology::Queues { main, dead, fifo, max_message, max_receives } =
            topology::open(&clients, &options).await?;
        let capabilities = Capabilities {
            broker: "sqs",
            attempts: Exactness::UpperBound,
            release_keeps_attempt: false,
            max_delay: Some(options.max_delay()),
            order: if fifo { OrderSupport::KeyAtSource } else { OrderSupport::None },
            lease: Some(LeaseTerms { length: options.lease, max_hold: Some(options.max_hold) }),
            stable_identity: true,
            counts_interruptions: false,
            durable_history: false,
            delayed_publish: !fifo,
            max_payload: Some(publish::max_payload(max_message)),
            backlog: Exactness::UpperBound,
        };
        let wear = Wear::new(&options, max_receives, fifo);
        Ok(Self(Arc::new(Shared {
            main,
            dead,
            options,
            fifo,
            max_message,
            wear,
            memo: Arc::default(),
            looking: Mutex::default(),
            capabilities,
        })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.main.name()
    }

    /// What it can do, as it is set up.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Opens it for taking messages: one worker. Needs a running tokio runtime.
    ///
    /// # Errors
    /// None today: what can fail was done by [`open`](Self::open).
    #[expect(clippy::unused_async, reason = "the shape that all adapters share")]
    pub async fn source(&self) -> Result<SqsSource, SqsError> {
        Ok(SqsSource::start(&self.0))
    }

    /// How much is waiting, about.
    ///
    /// # Errors
    /// Faults of SQS.
    pub async fn backlog(&self) -> Result<Backlog, SourceError> {
        backlog::of(&self.0.main, &self.0.dead, &self.0.memo).await
    }
}
