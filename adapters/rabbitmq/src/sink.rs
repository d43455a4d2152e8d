//! Putting messages into the queue.

use crate::{RabbitError, RabbitQueue, properties, publisher::Item, queue::Inner};
use forebay_contract::{MessageId, Outgoing, PublishError, Sink};
use std::{sync::Arc, time::Duration};

/// How many messages are awaited together: few enough that each lot is confirmed in time, however
/// many there are.
const LOT: usize = 512;

impl Sink for RabbitQueue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        let mut results = Vec::with_capacity(batch.len());
        for lot in batch.chunks(LOT) {
            results.extend(publish(&self.inner, lot).await);
        }
        results
    }
}

async fn publish(queue: &Inner, lot: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
    let mut items = Vec::with_capacity(lot.len());
    let prepared: Vec<Result<MessageId, RabbitError>> = lot
        .iter()
        .map(|outgoing| {
            let id = outgoing.id.clone().unwrap_or_else(properties::made_up);
            items.push(item(queue, outgoing, &id)?);
            Ok(id)
        })
        .collect();
    let limit: Duration = queue.checked.options.confirm_timeout;
    let outcomes = tokio::time::timeout(limit, queue.publisher.publish(items)).await;
    let mut outcomes = outcomes.ok().and_then(Result::ok).into_iter().flatten();
    prepared
        .into_iter()
        .map(|prepared| {
            let id = prepared?;
            match outcomes.next() {
                Some(Ok(())) => Ok(id),
                Some(Err(error)) => Err(error.into()),
                None => Err(match queue.publish.blocked() {
                    Some(reason) => RabbitError::Blocked { reason },
                    None => RabbitError::Unconfirmed { after: limit },
                }
                .into()),
            }
        })
        .collect()
}

fn item(queue: &Inner, outgoing: &Outgoing, id: &MessageId) -> Result<Item, RabbitError> {
    let most = queue.checked.options.max_payload;
    if outgoing.payload.len() > most {
        return Err(RabbitError::TooLarge(format!(
            "a payload of {} bytes is larger than `max_payload`, {most}: send less, or raise it and \
             the broker's `max_message_size`",
            outgoing.payload.len()
        )));
    }
    let to = match outgoing.delay.filter(|delay| !delay.is_zero()) {
        None => Arc::clone(&queue.name),
        Some(delay) => match queue.checked.ladder.step(delay) {
            Some(step) => queue.checked.retry_queue(step).into(),
            None => {
                return Err(RabbitError::TooLarge(format!(
                    "a delay of {delay:?} is longer than the longest step, {:?}: add longer `delays`",
                    queue.checked.ladder.longest()
                )));
            }
        },
    };
    let (key, frame_max) = (outgoing.key.as_ref(), queue.frame_max());
    let properties = properties::of_new(id, key, &outgoing.headers, frame_max)?;
    Ok(Item { queue: to, payload: outgoing.payload.clone(), properties })
}
