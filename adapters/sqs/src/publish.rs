//! Publishing: each message is written into SQS's terms, checked against its limits, and sent with as
//! many others as a batch holds.

use crate::{
    Fault, SqsQueue,
    api::Send,
    options::secs_up,
    queue::Shared,
    text::{dedup, group_of, key_of, unique},
    wire::{self, Encoded, FOREBAY_SQS},
};
use bytes::Bytes;
use forebay_contract::{FOREBAY_ID, FOREBAY_KEY, MessageId, Outgoing, PublishError, Sink};
use std::time::Duration;

/// What a dead letter's stamps need beside the message: kept free, so that it fits, too.
const RESERVE: usize = 2048;

/// The longest delay of a published message: 15 minutes.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// The largest payload that is always taken: bytes that are no text are sent as base64, four for three.
pub(crate) const fn max_payload(max_message: usize) -> usize {
    max_message.saturating_sub(RESERVE + 512) / 4 * 3
}

impl Shared {
    /// A message in SQS's terms, or why it can never be taken.
    fn outgoing(&self, message: &Outgoing) -> Result<Send, String> {
        if message.headers.get(FOREBAY_SQS).is_some() {
            return Err(format!("the header `{FOREBAY_SQS}` is reserved: call it something else"));
        }
        let delay = self.delay(message)?;
        let mut headers = message.headers.clone();
        let mut ours = Vec::new();
        if let Some(id) = &message.id {
            headers.remove(FOREBAY_ID);
            ours.push((FOREBAY_ID, Bytes::from(id.to_string())));
        }
        let key = message.key.as_ref().or_else(|| message.headers.get(FOREBAY_KEY)).cloned();
        headers.remove(FOREBAY_KEY);
        let group = self.fifo.then(|| group_of(key.as_deref()));
        let in_header = group.as_deref().is_none_or(|group| key_of(group).is_none());
        if let Some(key) = key.filter(|_| in_header) {
            ours.push((FOREBAY_KEY, key));
        }
        let encoded = wire::encode(&message.payload, &headers, None, &ours);
        self.check_size(message, &encoded)?;
        let fifo = group.map(|group| {
            let id = message.id.as_ref().map(ToString::to_string);
            (group, id.map_or_else(unique, |id| dedup(&id)))
        });
        let Encoded { body, attributes, size } = encoded;
        Ok(Send { body, attributes, size, delay, fifo })
    }

    fn delay(&self, message: &Outgoing) -> Result<Option<i32>, String> {
        let Some(delay) = message.delay.filter(|delay| !delay.is_zero()) else { return Ok(None) };
        if self.fifo {
            return Err(
                "a FIFO queue cannot delay single messages: set the queue's own delay, or use a \
                        standard queue"
                    .into(),
            );
        }
        if delay > LONGEST_DELAY {
            return Err(format!(
                "a delay of {delay:?}: SQS delays what is published by 15 minutes at most"
            ));
        }
        Ok(i32::try_from(secs_up(delay)).ok())
    }

    fn check_size(&self, message: &Outgoing, encoded: &Encoded) -> Result<(), String> {
        let (size, most) = (message.payload.len(), max_payload(self.max_message));
        let is_text = encoded.body.as_bytes() == message.payload.as_ref();
        if size > most && !is_text {
            return Err(format!(
                "its payload has {size} bytes that are not text, and {most} is the most that fits as \
                 base64 (`max_message` is {}): put the data elsewhere and publish a reference to it",
                self.max_message
            ));
        }
        let most = self.max_message.saturating_sub(RESERVE);
        if encoded.size > most {
            return Err(format!(
                "with its headers it has {} bytes, and {most} is the most (`max_message` less \
                 {RESERVE} for the stamps of a dead letter): put the data elsewhere and publish a \
                 reference to it",
                encoded.size
            ));
        }
        Ok(())
    }
}

impl Sink for SqsQueue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        let shared = &self.0;
        let mut refusals = Vec::with_capacity(batch.len());
        let mut messages = Vec::with_capacity(batch.len());
        for message in batch {
            match shared.outgoing(message) {
                Ok(message) => {
                    messages.push(message);
                    refusals.push(None);
                }
                Err(why) => refusals.push(Some(PublishError::Refused(why.into()))),
            }
        }
        let sent = shared.main.send_all(&messages, shared.max_message, shared.fifo).await;
        let mut sent = sent.into_iter();
        let mut answer = |message: &Outgoing| match sent.next() {
            Some(Ok(native)) => {
                let given = message.headers.get_str(FOREBAY_ID).map(MessageId::from);
                Ok(message.id.clone().or(given).unwrap_or_else(|| native.into()))
            }
            Some(Err(fault)) => Err(fault.publishing()),
            None => Err(PublishError::Closed),
        };
        batch
            .iter()
            .zip(refusals)
            .map(|(message, refusal)| refusal.map_or_else(|| answer(message), Err))
            .collect()
    }
}

impl From<Fault> for PublishError {
    fn from(fault: Fault) -> Self {
        fault.publishing()
    }
}
