//! What the parts of one source share, and the one thing that all of them do: give messages back.

use crate::{
    Receipt,
    api::Api,
    handout::Handout,
    inbox::{Held, Inbox},
    memo::{Memo, Note},
    text::key_of,
    wear::Wear,
    wire,
};
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use bytes::Bytes;
use forebay_contract::{Carried, Delivery, Headers, MessageId, Scope};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;

/// One source, behind its handle.
#[derive(Debug)]
pub(crate) struct Core {
    /// The queue.
    pub(crate) api: Api,
    /// Its dead letters.
    pub(crate) dead: Api,
    pub(crate) memo: Arc<Memo>,
    pub(crate) inbox: Inbox,
    /// Held while verdicts are carried out: a settlement that is given up and made again finds out
    /// what became of it.
    pub(crate) settling: Mutex<()>,
    /// The same for verdicts that only remove: they are not to wait for a place in another queue.
    pub(crate) removing: Mutex<()>,
    pub(crate) lease: Duration,
    /// How long a receive waits, in seconds.
    pub(crate) wait: i32,
    pub(crate) max_pollers: usize,
    pub(crate) max_message: usize,
    pub(crate) fifo: bool,
    pub(crate) wear: Wear,
}

/// What of SQS's own attributes is read; the last of FIFO queues only. Not all of them, as each is
/// parsed for each message.
const SYSTEM: [MessageSystemAttributeName; 3] = [
    MessageSystemAttributeName::ApproximateReceiveCount,
    MessageSystemAttributeName::SentTimestamp,
    MessageSystemAttributeName::MessageGroupId,
];

/// What is to become of a message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is handed out.
    Ready,
    /// It is a copy that is not due for so long.
    Early(Duration),
    /// It was received so often, and no verdict explains so many of these: it kills its workers.
    Killer { receives: u32, unexplained: u32 },
}

impl Core {
    /// Takes up to `most` messages from SQS, waiting for the first.
    pub(crate) async fn poll(&self, most: usize) -> Result<Vec<Held>, crate::Fault> {
        let asked = Instant::now();
        let hide = seconds(self.lease);
        let system = if self.fifo { &SYSTEM[..] } else { &SYSTEM[..2] };
        let messages = self.api.receive(most, self.wait, hide, system).await?;
        let (mut came, mut odd) = (Vec::with_capacity(messages.len()), Vec::new());
        for (held, fate) in messages.into_iter().filter_map(|message| self.read(message, asked)) {
            match fate {
                Fate::Ready => came.push(held),
                fate => odd.push((held, fate)),
            }
        }
        if !odd.is_empty() {
            self.set_aside(odd, &mut came).await;
        }
        Ok(came)
    }

    /// A message as it came from SQS, and what is to become of it.
    fn read(&self, message: SqsMessage, asked: Instant) -> Option<(Held, Fate)> {
        let message_id: Arc<str> = message.message_id?.into();
        let handle = message.receipt_handle?;
        let system = message.attributes.unwrap_or_default();
        let system = |name| system.get(&name).map(String::as_str);
        let receives = system(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| count.parse().ok())
            .unwrap_or(1);
        let group = self.fifo.then(|| system(MessageSystemAttributeName::MessageGroupId));
        let group: Option<Arc<str>> = group.flatten().map(Into::into);

        let decoded = wire::decode(message.body.unwrap_or_default(), message.message_attributes);
        let (carried, headers, faults) = take_ours(&decoded.headers);
        for fault in decoded.fault.into_iter().chain(faults) {
            tracing::warn!(queue = %self.api.name(), message = %message_id, "{fault}");
        }
        let note = self.memo.recall(&message_id);
        let fate = self.fate(receives, &note, carried.due);
        let key =
            group.as_deref().and_then(key_of).map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let enqueued_at = system(MessageSystemAttributeName::SentTimestamp).and_then(time);
        let id = || MessageId::from(Arc::clone(&message_id));
        let mut read = carried.into_message(id, key, decoded.payload, headers, enqueued_at);
        read.attempt = read.attempt.saturating_add(note.attempts(receives));
        read.deliveries = Some(receives);
        let wants_copy = self.wear.wants_copy(receives, &note);
        if self.wear.is_last(receives) {
            tracing::warn!(
                queue = %self.api.name(), message = %message_id,
                "received {receives} times: if it comes back once more, the queue's own redrive \
                 policy moves it to the dead letters; raise its `maxReceiveCount`"
            );
        }
        if let Some(history) = note.history {
            read.history = history;
        }
        let mut handout = Handout::new(handle, message_id, group, asked, self.lease);
        handout.types = decoded.types;
        (handout.uncharged, handout.failures) = (note.uncharged, note.failures);
        let message = Arc::new(read);
        handout.worn = wants_copy.then(|| Arc::clone(&message));
        let receipt = Receipt(Arc::new(handout));
        Some((Delivery { message, receipt, scope: Scope(0), lease: None }, fate))
    }

    /// What is to become of a message that has been received so often, and is due then.
    fn fate(&self, receives: u32, note: &Note, due: Option<SystemTime>) -> Fate {
        if let Some(unexplained) = self.wear.killed_workers(receives, note) {
            return Fate::Killer { receives, unexplained };
        }
        let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
        left.filter(|left| !left.is_zero()).map_or(Fate::Ready, Fate::Early)
    }

    /// Gives messages back that no handler has seen; if that fails, their leases end by themselves.
    pub(crate) async fn give_back(&self, handouts: Vec<Arc<Handout>>) {
        if handouts.is_empty() {
            return;
        }
        for handout in &handouts {
            handout.lose();
            self.memo.note(&handout.message_id, self.uncharged(handout));
        }
        let handouts = self.refresh_worn(handouts).await;
        let changes: Vec<_> = handouts.iter().map(|it| (&*it.handle, 0)).collect();
        // In a FIFO queue one batch after the other, so that the first of a group is back first.
        let parts = if self.fifo { changes.chunks(10) } else { changes.chunks(usize::MAX) };
        for part in parts {
            let answers = self.api.hide(part).await;
            if let Some(fault) = answers.into_iter().find_map(Result::err) {
                tracing::debug!(
                    queue = %self.api.name(),
                    "messages could not be given back, and come when their leases end: {fault}"
                );
            }
        }
    }

    /// What is known of a message whose hand-out was no attempt.
    pub(crate) fn uncharged(&self, handout: &Handout) -> Note {
        let before = self.memo.recall(&handout.message_id);
        let (uncharged, failures) = (handout.uncharged.saturating_add(1), handout.failures);
        Note { history: before.history, uncharged, failures, due: None }
    }
}

/// Takes our headers out of all of them.
pub(crate) fn take_ours(headers: &[(String, Bytes)]) -> (Carried, Headers, Vec<String>) {
    if headers.is_empty() {
        return (Carried::default(), Headers::new(), Vec::new());
    }
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let (carried, headers, faults) = Carried::take(pairs);
    (carried, headers, faults.iter().map(ToString::to_string).collect())
}

/// A time of SQS's: milliseconds since 1970.
pub(crate) fn time(millis: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}

/// Whole seconds, rounded up, as SQS takes them.
pub(crate) fn seconds(time: Duration) -> i32 {
    i32::try_from(crate::options::secs_up(time)).unwrap_or(i32::MAX)
}
