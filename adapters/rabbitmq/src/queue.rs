//! A queue on RabbitMQ: opened once, shared by all that produce, work and look after dead letters.

use crate::{
    Identity, QueueKind, RabbitError, RabbitOptions, RabbitSource, link::Link, memory::Memory,
    options::Checked, publisher::Publisher, topology::Queues,
};
use forebay_contract::{Backlog, Capabilities, Count, Exactness, OrderSupport, SourceError};
use futures_util::future::join_all;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The longest that an ordered retry waits: it stays unacked all the while, and RabbitMQ by default
/// takes a channel away after half an hour.
const ORDERED_MAX_DELAY: Duration = Duration::from_secs(15 * 60);

/// A queue. Cheap to clone; clones share their connections, which close with the last of them.
#[derive(Clone, Debug)]
pub struct RabbitQueue {
    pub(crate) inner: Arc<Inner>,
}

/// What its clones and its workers share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) checked: Arc<Checked>,
    /// Consumes, settles and asks.
    pub(crate) consume: Arc<Link>,
    /// Publishes, and nothing else.
    pub(crate) publish: Arc<Link>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) publisher: Publisher,
    pub(crate) memory: Mutex<Memory>,
    /// One at a time looks into the dead letters: what one has in hand, another would not see.
    pub(crate) looking: tokio::sync::Mutex<()>,
    pub(crate) name: Arc<str>,
    pub(crate) dead: Arc<str>,
}

impl RabbitQueue {
    /// Connects, and declares or checks the queues as the options say.
    ///
    /// # Errors
    /// [`RabbitError`]: options that cannot be honoured, a broker that does not answer or does not
    /// let the user in, queues that are missing or not as they must be.
    pub async fn open(options: RabbitOptions) -> Result<Self, RabbitError> {
        let checked = Arc::new(options.check()?);
        let consume = Arc::new(Link::new(Arc::clone(&checked), "consume"));
        let publish = Arc::new(Link::new(Arc::clone(&checked), "publish"));
        let queues = Arc::new(Queues::new(Arc::clone(&checked), Arc::clone(&consume)));
        queues.ready().await?;
        // Also with Topology::Leave: who cannot connect should hear of it now.
        drop(consume.channel().await?);
        let publisher = Publisher::start(&checked, &publish, &queues);
        let (name, dead) = (checked.options.queue.as_str().into(), checked.dead.as_str().into());
        let memory = Mutex::default();
        let looking = tokio::sync::Mutex::default();
        let inner =
            Inner { checked, consume, publish, queues, publisher, memory, looking, name, dead };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A worker at this queue. It consumes from its first receive on.
    ///
    /// # Errors
    /// [`RabbitError`] when the broker is away, or the queue is not there.
    pub async fn source(&self) -> Result<RabbitSource, RabbitError> {
        drop(self.inner.consume.channel().await?);
        Ok(RabbitSource::start(Arc::clone(&self.inner)))
    }

    /// How much is waiting, without being a worker: ready, delayed and dead. Nothing is exact, for
    /// the queues are counted one after the other.
    ///
    /// # Errors
    /// Faults of the broker.
    pub async fn backlog(&self) -> Result<Backlog, SourceError> {
        Ok(self.inner.backlog().await?)
    }

    /// What this queue can do, as it is set up.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    /// Closes the connections in order. Workers of this queue should be closed before.
    pub async fn close(&self) {
        self.inner.publish.close().await;
        self.inner.consume.close().await;
    }
}

impl Inner {
    /// The user that we are to the broker.
    pub(crate) fn user(&self) -> &str {
        &self.checked.uri.authority.userinfo.username
    }

    /// The largest frame, in bytes, that the broker takes.
    pub(crate) fn frame_max(&self) -> usize {
        self.publish.frame_max()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let options = &self.checked.options;
        let ordered = options.ordered;
        Capabilities {
            broker: "rabbitmq",
            // In order, what waits here is counted here. The broker's count of returns would not do
            // instead: each close adds one to all that was fetched ahead, handled or not.
            attempts: if ordered { Exactness::LowerBound } else { Exactness::Exact },
            release_keeps_attempt: true,
            max_delay: Some(match ordered {
                true => ORDERED_MAX_DELAY.min(self.checked.ladder.longest()),
                false => self.checked.ladder.longest(),
            }),
            order: if ordered { OrderSupport::KeyInLanes } else { OrderSupport::None },
            lease: None,
            stable_identity: options.identity == Identity::Required,
            counts_interruptions: options.kind == QueueKind::Quorum && !ordered,
            durable_history: !ordered,
            delayed_publish: true,
            max_payload: Some(options.max_payload),
            backlog: Exactness::UpperBound,
        }
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, RabbitError> {
        let (ready, _) = self.queues.count(&self.name).await?;
        let dead = self.queues.count_if_there(&self.dead).await?;
        let delays: Vec<_> = self.queues.delays().collect();
        let counts = join_all(delays.iter().map(|delay| self.queues.count_if_there(delay))).await;
        let mut delayed = 0;
        for count in counts {
            delayed += count?;
        }
        let about = |count: u64| Some(Count::about(count));
        Ok(Backlog {
            ready: about(ready.into()),
            delayed: about(delayed),
            dead: about(dead),
            ..Backlog::default()
        })
    }
}
