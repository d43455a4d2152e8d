//! Publishing with confirms, many at a time.
//!
//! A few tasks, each with a channel of its own, take what has gathered, publish all of it, and wait
//! for all confirms before they take more. While one waits, the next publishes.
//!
//! Why all confirms before the next batch: a message that leads to no queue comes back
//! (`basic.return`) before its ack, but lapin hands it to whichever confirm is resolved next, which
//! need not be its own. With one batch on a channel at a time, what came back is among those just
//! sent, and is found there (`returned.rs`).
//!
//! Why tasks of their own: a caller that goes away must not leave a copy half-known. What was sent is
//! seen through, and its outcome told to whoever asks. What was not sent when its caller went away
//! never is: he has told somebody that it failed.

use crate::{RabbitError, link::Link, options::Checked, returned, topology::Queues};
use bytes::Bytes;
use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The most messages that go out before their confirms are awaited.
const BATCH: usize = 512;

/// The most bytes of payload that do.
const BATCH_BYTES: usize = 16 << 20;

/// How often it is looked whether the broker takes messages again.
const BLOCKED_POLL: Duration = Duration::from_millis(50);

/// A message on its way to a queue.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) queue: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) properties: BasicProperties,
}

/// What became of an item.
pub(crate) type Outcome = Result<(), RabbitError>;

#[derive(Debug)]
struct Work {
    items: Vec<Item>,
    done: oneshot::Sender<Vec<Outcome>>,
}

/// An item, and which of the callers it is of.
struct Addressed {
    item: Item,
    caller: usize,
}

/// Those whose work is in hand.
#[derive(Default)]
struct Callers(Vec<oneshot::Sender<Vec<Outcome>>>);

impl Callers {
    /// Whether anybody still wants to know what becomes of an item.
    fn awaits(&self, sent: &Addressed) -> bool {
        self.0.get(sent.caller).is_some_and(|done| !done.is_closed())
    }
}

/// Takes messages for the queues of one [`crate::RabbitQueue`].
#[derive(Debug)]
pub(crate) struct Publisher {
    work: mpsc::UnboundedSender<Work>,
}

/// One of its tasks.
struct Lane {
    checked: Arc<Checked>,
    link: Arc<Link>,
    queues: Arc<Queues>,
    work: Arc<Mutex<mpsc::UnboundedReceiver<Work>>>,
    channel: Option<Channel>,
}

impl Publisher {
    /// Starts it. Its tasks end when it is dropped.
    pub(crate) fn start(checked: &Arc<Checked>, link: &Arc<Link>, queues: &Arc<Queues>) -> Self {
        let (work, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..checked.options.publish_channels {
            let lane = Lane {
                checked: Arc::clone(checked),
                link: Arc::clone(link),
                queues: Arc::clone(queues),
                work: Arc::clone(&receiver),
                channel: None,
            };
            tokio::spawn(lane.run());
        }
        Self { work }
    }

    /// Publishes all of them, in order; outcome `i` is that of item `i`. The outcome comes when the
    /// broker has answered for each, however long that takes. Once the receiver is dropped, nothing
    /// of it is sent any more.
    pub(crate) fn publish(&self, items: Vec<Item>) -> oneshot::Receiver<Vec<Outcome>> {
        let (done, outcome) = oneshot::channel();
        // Fails only with the runtime gone, and then nobody waits.
        let _ = self.work.send(Work { items, done });
        outcome
    }
}

impl Lane {
    async fn run(mut self) {
        loop {
            let mut works = Vec::new();
            {
                let mut queue = self.work.lock().await;
                let Some(first) = queue.recv().await else { return };
                let mut count = first.items.len();
                works.push(first);
                while count < BATCH
                    && let Ok(more) = queue.try_recv()
                {
                    count += more.items.len();
                    works.push(more);
                }
            }
            works.retain(|work| !work.done.is_closed());
            self.see_to(works).await;
        }
    }

    /// Publishes all of it, batch by batch, and tells each caller of his.
    async fn see_to(&mut self, works: Vec<Work>) {
        let (mut items, mut sizes, mut callers) = (Vec::new(), Vec::new(), Callers::default());
        for work in works {
            let caller = callers.0.len();
            sizes.push(work.items.len());
            items.extend(work.items.into_iter().map(|item| Addressed { item, caller }));
            callers.0.push(work.done);
        }
        let mut outcomes = self.publish(&items, &callers).await.into_iter();
        for (size, done) in sizes.into_iter().zip(callers.0) {
            // Whoever asked may have gone away.
            let _ = done.send(outcomes.by_ref().take(size).collect());
        }
    }

    async fn publish(&mut self, items: &[Addressed], callers: &Callers) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |sent: &&Addressed| {
                bytes += sent.item.payload.len();
                bytes <= BATCH_BYTES
            };
            let count = rest.iter().take(BATCH).take_while(fits).count().max(1);
            let (batch, more) = rest.split_at(count);
            outcomes.extend(self.batch(batch, callers).await);
            rest = more;
        }
        outcomes
    }

    /// One batch: an item that cannot be sent fails alone. What found no queue is sent once more, if
    /// that can be declared again.
    async fn batch(&mut self, items: &[Addressed], callers: &Callers) -> Vec<Outcome> {
        let mut outcomes = self.queues_for(items).await;
        self.send(items, callers, &mut outcomes).await;
        let gone: BTreeSet<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Err(RabbitError::NoQueue { queue, .. }) => Some(queue.clone()),
                _ => None,
            })
            .collect();
        if gone.is_empty() || !gone.iter().all(|queue| self.queues.forget(queue)) {
            return outcomes;
        }
        for (item, outcome) in items.iter().zip(&mut outcomes) {
            if matches!(outcome, Err(RabbitError::NoQueue { .. })) {
                tracing::warn!(queue = %item.item.queue, "the queue was gone: declaring it again");
                *outcome = match self.queues.ensure(&item.item.queue).await {
                    Ok(()) => self.alone(item, callers).await,
                    Err(error) => Err(error),
                };
            }
        }
        outcomes
    }

    /// Sees to it that each item's queue is there; what is wrong with one concerns only its items.
    async fn queues_for(&self, items: &[Addressed]) -> Vec<Outcome> {
        let mut seen: BTreeMap<&str, Outcome> = BTreeMap::new();
        // What is wrong with the broker itself is not waited for once more with each queue.
        let mut away: Option<RabbitError> = None;
        let mut outcomes = Vec::with_capacity(items.len());
        for Addressed { item, .. } in items {
            let outcome = match (seen.get(&*item.queue), &away) {
                (Some(outcome), _) => outcome.clone(),
                (None, _) if self.queues.is_ready(&item.queue) => Ok(()),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => {
                    let outcome = self.queues.ensure(&item.queue).await;
                    away = outcome.as_ref().err().filter(|error| !error.is_fatal()).cloned();
                    seen.insert(&item.queue, outcome.clone());
                    outcome
                }
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Sends those that are `Ok` until now. The broker closes the channel over a message that it does
    /// not take (too large, say), and does not tell which one it was: then all that it has not
    /// answered for is sent again, one by one.
    async fn send(&mut self, items: &[Addressed], callers: &Callers, outcomes: &mut [Outcome]) {
        let going = items.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
        let (sent, outcomes): (Vec<_>, Vec<_>) = going.unzip();
        let told = self.exchange(&sent, callers).await;
        let refused = told.iter().any(|told| matches!(told, Err(RabbitError::Unacceptable { .. })));
        for ((item, outcome), told) in sent.iter().zip(outcomes).zip(told) {
            let again = match &told {
                Ok(()) | Err(RabbitError::Nacked { .. } | RabbitError::NoQueue { .. }) => false,
                Err(_) => refused && sent.len() > 1,
            };
            *outcome = if again { self.alone(item, callers).await } else { told };
        }
    }

    async fn alone(&mut self, item: &Addressed, callers: &Callers) -> Outcome {
        let told = self.exchange(&[item], callers).await.pop();
        told.unwrap_or(Err(RabbitError::Closed))
    }

    /// Publishes on one channel, and waits for the broker to answer for each.
    async fn exchange(&mut self, items: &[&Addressed], callers: &Callers) -> Vec<Outcome> {
        if items.is_empty() {
            return Vec::new();
        }
        let channel = match self.prepare().await {
            Ok(channel) => channel,
            Err(error) => return items.iter().map(|_| Err(error.clone())).collect(),
        };
        let sent = join_all(items.iter().map(|sent| async {
            // Meanwhile its caller may have gone away.
            if callers.awaits(sent) {
                send_one(&channel, &sent.item).await.map(Some)
            } else {
                Ok(None)
            }
        }));
        let Some(confirms) = self.in_time(sent).await else {
            // With the channel closed, what has not been confirmed by now never will be.
            self.channel = None;
            drop(channel);
            let after = self.hard_limit();
            return items.iter().map(|_| Err(RabbitError::Unconfirmed { after })).collect();
        };
        let mut returned = Vec::new();
        let mut outcomes: Vec<Outcome> = items
            .iter()
            .zip(confirms)
            .map(|(sent, confirm)| match confirm {
                Ok(None) => Err(RabbitError::Closed),
                Ok(Some(Confirmation::Ack(back))) => {
                    returned.extend(back);
                    Ok(())
                }
                Ok(Some(Confirmation::Nack(back))) => {
                    returned.extend(back);
                    Err(RabbitError::Nacked { queue: sent.item.queue.to_string() })
                }
                Ok(Some(Confirmation::NotRequested)) => {
                    Err(RabbitError::Broker("the channel gives no confirms".into()))
                }
                Err(error) => Err(RabbitError::publishing(&sent.item.queue, &error)),
            })
            .collect();
        if !returned.is_empty() {
            let items: Vec<_> = items.iter().map(|sent| &sent.item).collect();
            returned.iter().for_each(|back| returned::note(&items, &mut outcomes, back));
        }
        outcomes
    }

    /// A channel, with the broker willing.
    async fn prepare(&mut self) -> Result<Channel, RabbitError> {
        // What is not sent cannot arrive late: so nothing is, until the broker takes it.
        let until = tokio::time::Instant::now() + self.checked.options.confirm_timeout;
        while let Some(reason) = self.link.blocked() {
            if tokio::time::Instant::now() >= until {
                return Err(RabbitError::Blocked { reason });
            }
            tokio::time::sleep(BLOCKED_POLL).await;
        }
        if let Some(channel) = self.channel.take_if(|channel| channel.status().connected()) {
            self.channel = Some(channel.clone());
            return Ok(channel);
        }
        let channel = self.link.channel().await?;
        let selected = channel.confirm_select(ConfirmSelectOptions::default());
        self.link.answer(selected).await??;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Waits, as long as it makes sense: a broker that blocks publishing answers when it is well
    /// again, however late.
    async fn in_time<T>(&self, sent: impl Future<Output = T>) -> Option<T> {
        let mut sent = std::pin::pin!(sent);
        loop {
            match tokio::time::timeout(self.hard_limit(), sent.as_mut()).await {
                Ok(outcome) => return Some(outcome),
                Err(_) if self.link.blocked().is_some() => {}
                Err(_) => return None,
            }
        }
    }

    fn hard_limit(&self) -> Duration {
        self.checked.options.confirm_timeout * 3
    }
}

async fn send_one(channel: &Channel, item: &Item) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let queue = (&*item.queue).into();
    let properties = item.properties.clone();
    channel.basic_publish("".into(), queue, options, &item.payload, properties).await?.await
}
