//! The dead letters: looked through, moved back, deleted.
//!
//! A queue has no cursor: to look at a message is to take it. So letters are taken (`basic.get`) on a
//! channel of its own, and all that is not to go is given back, in order, when the look is over: by a
//! `basic.nack` for each, then the channel's close, whose answer comes after the letters are back. If
//! the caller goes away, or the process dies, the channel closes and the broker gives them back.
//!
//! Why a look that leaves anything goes through all of them: a quorum queue puts what is given back
//! behind what was given back before. Only if all is taken, or nothing given back, does the order of
//! death survive. (One by one, because the broker counts each `basic.get` as a consumer of its own
//! and, told of several at once, gives them back in no order.)
//!
//! While somebody looks, others see only what he has not got to. Within a process, one look waits
//! for the other; of several people, one should look at a time.

use crate::{
    RabbitError, RabbitQueue,
    properties::{self, Death, Incoming},
    publisher::Item,
    queue::Inner,
};
use forebay_contract::{
    Bytes, Carried, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, DeadOrigin,
    DeadReason, FailureKind, FailureNote, Redriven,
};
use futures_util::future::try_join_all;
use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How many letters are asked for at the same time, and moved together.
const GETS: usize = 64;

/// A letter in hand.
struct Taken {
    tag: u64,
    letter: DeadLetter,
    properties: BasicProperties,
}

/// Somebody looking through the letters.
struct Look<'a> {
    queue: &'a Inner,
    channel: Channel,
    /// What was taken, in order, until it is acked.
    taken: BTreeSet<u64>,
    /// Only one at a time.
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Look<'a> {
    async fn begin(queue: &'a Inner) -> Result<Self, RabbitError> {
        let alone = queue.looking.lock().await;
        let channel = queue.consume.channel().await?;
        Ok(Self { queue, channel, taken: BTreeSet::new(), _alone: alone })
    }

    /// The next letters, up to so many; fewer only when there are no more.
    async fn next(&mut self, most: usize) -> Result<Vec<Taken>, RabbitError> {
        let name = &self.queue.dead;
        let options = &self.queue.checked.options;
        let gets = (0..most.min(GETS))
            .map(|_| self.channel.basic_get((&**name).into(), BasicGetOptions::default()));
        let got = self.queue.consume.answer(try_join_all(gets)).await?;
        let got = got.map_err(|error| RabbitError::about(name, &error))?;
        let mut letters = Vec::new();
        for got in got.into_iter().flatten() {
            let got = got.delivery;
            self.taken.insert(got.delivery_tag);
            let read = properties::read(&got.properties, got.data.into(), options.identity);
            let letter = letter(read, &got.properties, name);
            letters.push(Taken { tag: got.delivery_tag, letter, properties: got.properties });
        }
        Ok(letters)
    }

    /// This one is gone from here.
    async fn ack(&mut self, tag: u64) -> Result<(), RabbitError> {
        self.taken.remove(&tag);
        let acked = self.channel.basic_ack(tag, BasicAckOptions::default());
        Ok(self.queue.consume.answer(acked).await??)
    }

    /// Gives back all that was taken and not acked, and waits until it is back.
    async fn end(self) -> Result<(), RabbitError> {
        let one = BasicNackOptions { multiple: false, requeue: true };
        let nacks = self.taken.iter().map(|tag| self.channel.basic_nack(*tag, one));
        let ended = async {
            try_join_all(nacks).await?;
            self.channel.close(200, "done".into()).await
        };
        Ok(self.queue.consume.answer(ended).await??)
    }
}

/// What a message in the dead-letter queue tells of its death.
fn letter(read: Incoming, properties: &BasicProperties, dead_queue: &str) -> DeadLetter {
    let Incoming { mut message, identified, death, .. } = read;
    let (reason, origin, died_at) = match death {
        Some(Death::Ours(death)) => (death.reason, death.origin, death.at),
        Some(Death::Brokers { reason, why, queue, at }) => {
            let text = format!("RabbitMQ itself moved it to the dead letters: {why}");
            message.history =
                message.history.with(FailureNote::new(FailureKind::Interrupted, text, at));
            (reason, DeadOrigin { queue, position: message.id.to_string() }, at)
        }
        None => {
            let sent = properties.timestamp().map(Duration::from_secs);
            let at = sent.and_then(|sent| UNIX_EPOCH.checked_add(sent)).unwrap_or(UNIX_EPOCH);
            let origin = DeadOrigin { queue: dead_queue.into(), position: message.id.to_string() };
            (DeadReason::Permanent, origin, at)
        }
    };
    let name = match identified {
        true => message.id.to_string(),
        false => format!("{:016x}", fingerprint(&message.payload)),
    };
    let millis = died_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    DeadLetter { id: DeadId(format!("{millis}-{name}").into()), message, reason, origin, died_at }
}

/// What a letter without an identity is known by: FNV-1a (Fowler, Noll, Vo) of its payload, the same
/// in every process.
fn fingerprint(payload: &Bytes) -> u64 {
    payload.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// When the letter of this name died.
fn died_at(id: &DeadId) -> Option<SystemTime> {
    let millis = id.0.split_once('-')?.0.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

impl DeadLetters for RabbitQueue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let after = after.and_then(|after| Some((died_at(after)?, &after.0)));
        let mut look = Look::begin(&self.inner).await?;
        let mut page: Vec<DeadLetter> = Vec::new();
        let cut = |page: &mut Vec<DeadLetter>| {
            page.sort_by(|a, b| (a.died_at, &a.id.0).cmp(&(b.died_at, &b.id.0)));
            page.truncate(limit);
        };
        loop {
            let taken = look.next(GETS).await?;
            if taken.is_empty() {
                break;
            }
            let letters = taken.into_iter().map(|taken| taken.letter);
            page.extend(letters.filter(|letter| {
                after.is_none_or(|after| (letter.died_at, &letter.id.0) > after)
                    && filter.matches(letter)
            }));
            if page.len() / 2 > limit {
                cut(&mut page);
            }
        }
        look.end().await?;
        cut(&mut page);
        Ok(page)
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        let mut look = Look::begin(&self.inner).await?;
        let (mut moved, mut failed, mut leaves) = (Vec::new(), None, false);
        loop {
            let left = limit.saturating_sub(moved.len());
            // What is taken beyond the limit would have to be given back.
            let most = if leaves { GETS } else { left };
            if most == 0 {
                break;
            }
            let taken = look.next(most).await?;
            if taken.is_empty() {
                break;
            }
            let mut lot = Vec::new();
            for taken in taken {
                let wanted = failed.is_none() && lot.len() < left && filter.matches(&taken.letter);
                if wanted {
                    lot.push(taken);
                } else {
                    leaves = true;
                }
            }
            if !lot.is_empty() {
                failed = redrive(&mut look, lot, &mut moved).await;
                leaves |= failed.is_some();
            }
        }
        look.end().await?;
        match failed {
            Some(error) => {
                tracing::warn!(
                    queue = %self.inner.name,
                    "the redrive stopped: {} letters are back in their queue, the rest is where it was",
                    moved.len()
                );
                if moved.is_empty() {
                    return Err(error.into());
                }
                Ok(Redriven { moved, stopped: Some(error.into()) })
            }
            None => Ok(Redriven::all(moved)),
        }
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        let mut look = Look::begin(&self.inner).await?;
        let mut purged = 0;
        loop {
            let taken = look.next(GETS).await?;
            if taken.is_empty() {
                break;
            }
            for taken in taken.iter().filter(|taken| filter.matches(&taken.letter)) {
                look.ack(taken.tag).await?;
                purged += 1;
            }
        }
        look.end().await?;
        Ok(purged)
    }
}

/// Publishes a lot of letters into their queue, and acks each that has arrived. The first error is
/// returned; what it concerns stays a dead letter.
async fn redrive(
    look: &mut Look<'_>,
    lot: Vec<Taken>,
    moved: &mut Vec<DeadLetter>,
) -> Option<RabbitError> {
    let queue = look.queue;
    let mut failed = None;
    let (mut items, mut sent) = (Vec::new(), Vec::new());
    for taken in lot {
        let carried = Carried::of(&taken.letter.message).redriven();
        match properties::of_copy(&taken.properties, &carried, queue.user(), queue.frame_max()) {
            Ok(properties) => {
                let (to, payload) = (queue.name.clone(), taken.letter.message.payload.clone());
                items.push(Item { queue: to, payload, properties });
                sent.push(taken);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    // However long it takes: a letter whose fate is not known must not be given back, for then it
    // could be in both queues.
    let outcomes = queue.publisher.publish(items).await.unwrap_or_default();
    for (taken, outcome) in sent.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => match look.ack(taken.tag).await {
                Ok(()) => moved.push(taken.letter),
                Err(error) => failed = failed.or(Some(error)),
            },
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed
}
