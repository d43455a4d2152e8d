//! The calls to SQS: batches of ten, several under way at a time, one answer for each entry.

use crate::{Fault, fault::Call, wire::Attributes};
use aws_sdk_sqs::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry,
    },
};
use futures_util::{StreamExt, stream};
use std::{
    collections::HashMap, error::Error, future::Future, pin::Pin, sync::Arc, time::Duration,
};

/// How many entries SQS takes in a batch.
const BATCH: usize = 10;

/// How long an answer may take, the SDK's own retries included, beside the time that a receive waits.
const ANSWER: Duration = Duration::from_secs(10);

/// A queue, and the way to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    /// The same with more patience, for receives that wait.
    receiver: Client,
    /// The queue's URL.
    url: Arc<str>,
    /// The queue's name, for messages to people.
    name: Arc<str>,
    /// Where the service is, for messages to people.
    place: Arc<str>,
    /// How many batches may be under way.
    calls: usize,
}

/// The clients of one account and region.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) client: Client,
    pub(crate) receiver: Client,
    pub(crate) place: Arc<str>,
}

/// A message on its way into a queue.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) body: String,
    pub(crate) attributes: Attributes,
    /// Bytes that count against SQS's limit.
    pub(crate) size: usize,
    /// In whole seconds.
    pub(crate) delay: Option<i32>,
    /// FIFO queues: the message group, and what tells a message from its copy.
    pub(crate) fifo: Option<(String, String)>,
}

impl Api {
    pub(crate) fn new(clients: &Clients, url: &str, name: &str, calls: usize) -> Self {
        let Clients { client, receiver, place } = clients.clone();
        Self { client, receiver, url: url.into(), name: name.into(), place, calls }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn call(&self, action: &'static str) -> Call<'_> {
        Call { action, queue: &self.name, place: &self.place }
    }

    fn fault<E>(&self, action: &'static str, error: &SdkError<E>) -> Fault
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Fault::of(error, self.call(action))
    }

    /// A limit for one call with all its retries.
    async fn in_time<T>(
        &self,
        action: &'static str,
        within: Duration,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::time::timeout(within, call).await.unwrap_or_else(|_| {
            let detail = format!("waited {within:?}");
            Err(Fault::TimedOut { place: self.place.to_string(), action, detail })
        })
    }

    /// Takes up to ten messages, waiting for one if told to; hides them for as long as told. `system`:
    /// which of SQS's own attributes to tell.
    pub(crate) async fn receive(
        &self,
        most: usize,
        wait: i32,
        hide: i32,
        system: &[MessageSystemAttributeName],
    ) -> Result<Vec<Message>, Fault> {
        const ACTION: &str = "sqs:ReceiveMessage";
        let most = i32::try_from(most.clamp(1, BATCH)).unwrap_or(1);
        let call = async {
            let call = self
                .receiver
                .receive_message()
                .queue_url(&*self.url)
                .max_number_of_messages(most)
                .wait_time_seconds(wait)
                .visibility_timeout(hide)
                .message_attribute_names("All")
                .set_message_system_attribute_names(Some(system.to_vec()));
            let answer = boxed(call.send()).await.map_err(|error| self.fault(ACTION, &error))?;
            Ok(answer.messages.unwrap_or_default())
        };
        let within = ANSWER + Duration::from_secs(wait.unsigned_abs().into());
        self.in_time(ACTION, within, call).await
    }

    /// Deletes messages by their handles. Result `i` answers `handles[i]`.
    pub(crate) async fn delete<H>(&self, handles: &[H]) -> Vec<Result<(), Fault>>
    where
        H: AsRef<str>,
    {
        const ACTION: &str = "sqs:DeleteMessage";
        self.in_batches(ACTION, handles, |handles| async move {
            let entries = self.entries(ACTION, handles, |id, handle| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id)
                    .receipt_handle(handle.as_ref())
                    .build()
            })?;
            let call = self.client.delete_message_batch().queue_url(&*self.url);
            let answer = boxed(call.set_entries(Some(entries)).send()).await;
            let answer = answer.map_err(|error| self.fault(ACTION, &error))?;
            Ok((answer.successful.into_iter().map(|entry| entry.id).collect(), answer.failed))
        })
        .await
    }

    /// Hides messages for so many seconds from now on. Result `i` answers `changes[i]`.
    pub(crate) async fn hide<H>(&self, changes: &[(H, i32)]) -> Vec<Result<(), Fault>>
    where
        H: AsRef<str>,
    {
        const ACTION: &str = "sqs:ChangeMessageVisibility";
        self.in_batches(ACTION, changes, |changes| async move {
            let entries = self.entries(ACTION, changes, |id, (handle, secs)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id);
                entry.receipt_handle(handle.as_ref()).visibility_timeout(*secs).build()
            })?;
            let call = self.client.change_message_visibility_batch().queue_url(&*self.url);
            let answer = boxed(call.set_entries(Some(entries)).send()).await;
            let answer = answer.map_err(|error| self.fault(ACTION, &error))?;
            Ok((answer.successful.into_iter().map(|entry| entry.id).collect(), answer.failed))
        })
        .await
    }

    /// Sends messages that fit into one batch, in order. Result `i` answers `messages[i]`, by the
    /// identity that SQS gave it.
    pub(crate) async fn send(&self, messages: &[Send]) -> Vec<Result<String, Fault>> {
        const ACTION: &str = "sqs:SendMessage";
        let call = async {
            let entries = self.entries(ACTION, messages, |id, message| {
                let attributes = message.attributes.clone();
                let (group, dedup) = message.fifo.clone().unzip();
                SendMessageBatchRequestEntry::builder()
                    .id(id)
                    .message_body(&message.body)
                    .set_message_attributes((!attributes.is_empty()).then_some(attributes))
                    .set_delay_seconds(message.delay)
                    .set_message_group_id(group)
                    .set_message_deduplication_id(dedup)
                    .build()
            })?;
            let call = self.client.send_message_batch().queue_url(&*self.url);
            let answer = boxed(call.set_entries(Some(entries)).send()).await;
            answer.map_err(|error| self.fault(ACTION, &error))
        };
        match self.in_time(ACTION, ANSWER, call).await {
            Ok(answer) => {
                let done = answer.successful.into_iter().map(|entry| (entry.id, entry.message_id));
                self.answers(ACTION, messages.len(), done, &answer.failed)
            }
            Err(fault) => vec![Err(fault); messages.len()],
        }
    }

    /// The entries of one batch, each under its place.
    fn entries<T, E>(
        &self,
        action: &'static str,
        items: &[T],
        entry: impl Fn(String, &T) -> Result<E, BuildError>,
    ) -> Result<Vec<E>, Fault> {
        let entries = items.iter().enumerate().map(|(i, item)| entry(i.to_string(), item));
        entries.collect::<Result<_, _>>().map_err(|error| {
            let detail = format!("the SDK cannot build it: {error}");
            Fault::Other { action, queue: self.name.to_string(), detail }
        })
    }

    /// Sends messages, in batches as large as SQS takes. `ordered`: one batch after the other, and none
    /// after one that could not be sent. Result `i` answers `messages[i]`.
    pub(crate) async fn send_all(
        &self,
        messages: &[Send],
        most_bytes: usize,
        ordered: bool,
    ) -> Vec<Result<String, Fault>> {
        let batches = batches(messages, most_bytes);
        if !ordered {
            // Collected, as the compiler cannot see through the closure.
            let sends: Vec<_> = batches.into_iter().map(|batch| self.send(batch)).collect();
            let answers: Vec<_> = stream::iter(sends).buffered(self.calls).collect().await;
            return answers.into_iter().flatten().collect();
        }
        let mut answers: Vec<Result<String, Fault>> = Vec::with_capacity(messages.len());
        for batch in batches {
            let passing = |answer: &&Result<_, Fault>| matches!(answer, Err(fault) if !matches!(fault, Fault::Invalid { .. }));
            match answers.iter().find(passing).cloned() {
                Some(failed) => answers.extend(std::iter::repeat_n(failed, batch.len())),
                None => answers.extend(self.send(batch).await),
            }
        }
        answers
    }

    /// The queue's attributes, by their names.
    pub(crate) async fn attributes(&self) -> Result<HashMap<QueueAttributeName, String>, Fault> {
        const ACTION: &str = "sqs:GetQueueAttributes";
        let call = async {
            self.client
                .get_queue_attributes()
                .queue_url(&*self.url)
                .attribute_names(QueueAttributeName::All)
                .send()
                .await
                .map_err(|error| self.fault(ACTION, &error))
        };
        Ok(self.in_time(ACTION, ANSWER, call).await?.attributes.unwrap_or_default())
    }

    /// Makes a call for each ten items, several at a time, and strings the answers together. A call
    /// tells the ids of what is done, and what failed.
    async fn in_batches<'a, T, F>(
        &'a self,
        action: &'static str,
        items: &'a [T],
        call: impl Fn(&'a [T]) -> F,
    ) -> Vec<Result<(), Fault>>
    where
        F: Future<Output = Result<(Vec<String>, Vec<BatchResultErrorEntry>), Fault>>,
    {
        let batch = |items: &'a [T]| {
            let call = self.in_time(action, ANSWER, call(items));
            async move {
                match call.await {
                    Ok((done, failed)) => {
                        let done = done.into_iter().map(|id| (id, ()));
                        self.answers(action, items.len(), done, &failed)
                    }
                    Err(fault) => vec![Err(fault); items.len()],
                }
            }
        };
        if items.len() <= BATCH {
            return if items.is_empty() { Vec::new() } else { batch(items).await };
        }
        let calls: Vec<_> = items.chunks(BATCH).map(batch).collect();
        let answers: Vec<_> = stream::iter(calls).buffered(self.calls).collect().await;
        answers.into_iter().flatten().collect()
    }

    /// The answers to the entries of one batch, in order. An entry that SQS does not mention has failed.
    fn answers<T>(
        &self,
        action: &'static str,
        entries: usize,
        done: impl Iterator<Item = (String, T)>,
        failed: &[BatchResultErrorEntry],
    ) -> Vec<Result<T, Fault>> {
        let mut answers: Vec<Option<Result<T, Fault>>> = (0..entries).map(|_| None).collect();
        let mut set = |id: &str, answer| {
            if let Some(slot) = id.parse().ok().and_then(|i: usize| answers.get_mut(i)) {
                *slot = Some(answer);
            }
        };
        for (id, value) in done {
            set(&id, Ok(value));
        }
        for entry in failed {
            let text = entry.message.as_deref().unwrap_or_default();
            let call = self.call(action);
            set(&entry.id, Err(Fault::coded(&entry.code, text, entry.sender_fault, call)));
        }
        let silent = || {
            let detail = "SQS did not say what became of it".to_owned();
            Fault::Other { action, queue: self.name.to_string(), detail }
        };
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(silent()))).collect()
    }
}

/// On the heap: the SDK's calls take tens of kilobytes, and would be moved with each future around them.
fn boxed<F: Future>(call: F) -> Pin<Box<F>> {
    Box::pin(call)
}

/// Cuts messages into batches of ten at most that SQS takes as a whole.
fn batches(messages: &[Send], most_bytes: usize) -> Vec<&[Send]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (i, message) in messages.iter().enumerate() {
        if i > from && (i - from == BATCH || bytes + message.size > most_bytes) {
            batches.push(&messages[from..i]);
            (from, bytes) = (i, 0);
        }
        bytes += message.size;
    }
    if from < messages.len() {
        batches.push(&messages[from..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(size: usize) -> Send {
        Send { body: "x".into(), attributes: Attributes::new(), size, delay: None, fifo: None }
    }

    #[test]
    fn batches_hold_ten_messages_and_the_bytes_that_fit() {
        let sizes = |messages: &[usize], most| -> Vec<usize> {
            let messages: Vec<_> = messages.iter().map(|size| sized(*size)).collect();
            batches(&messages, most).into_iter().map(<[Send]>::len).collect()
        };
        assert_eq!(sizes(&[1; 25], 100), [10, 10, 5]);
        assert_eq!(sizes(&[60, 60, 40, 100, 1], 100), [1, 2, 1, 1]);
        assert_eq!(sizes(&[], 100), [0_usize; 0]);
    }
}
