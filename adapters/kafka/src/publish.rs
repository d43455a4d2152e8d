//! Publishing: pipelined, confirmed per message, refused in plain words.

use crate::{
    KafkaError, Order,
    copy::{Copy, Outcome},
    producer::Record,
    queue::Inner,
    records,
};
use forebay_contract::{Carried, MessageId, Outgoing, PublishError};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::{sync::Arc, time::SystemTime};

/// A message on its way, or why it is not.
enum Sent {
    Off { copy: Arc<Copy>, topic: Arc<str>, id: Option<MessageId> },
    Refused(PublishError),
}

pub(crate) async fn publish(
    queue: &Inner,
    batch: &[Outgoing],
) -> Vec<Result<MessageId, PublishError>> {
    let sent: Vec<_> = batch.iter().map(|message| send(queue, message)).collect();
    let mut results = Vec::with_capacity(sent.len());
    for sent in sent {
        results.push(match sent {
            Sent::Refused(error) => Err(error),
            Sent::Off { copy, topic, id } => answer(copy.outcome().await, &topic, id),
        });
    }
    results
}

fn answer(outcome: Outcome, topic: &str, id: Option<MessageId>) -> Result<MessageId, PublishError> {
    match outcome {
        Outcome::Confirmed { partition, offset } => {
            Ok(id.unwrap_or_else(|| MessageId::from(format!("{topic}:{partition}:{offset}"))))
        }
        Outcome::TooLate => Err(PublishError::Closed),
        Outcome::Failed(Code::MessageSizeTooLarge) => {
            let text = format!(
                "the broker finds it too large for the topic `{topic}`: raise the topic's \
                 `max.message.bytes`, or publish a reference to the data"
            );
            Err(PublishError::Refused(text.into()))
        }
        Outcome::Failed(code) => {
            Err(KafkaError::from_code(format!("publishing to the topic `{topic}`"), code).into())
        }
    }
}

fn send(queue: &Inner, message: &Outgoing) -> Sent {
    let refused = |why: String| Sent::Refused(PublishError::Refused(why.into()));
    if let Some(why) = refusal(queue, message) {
        return refused(why);
    }
    let delay = message.delay.filter(|delay| !delay.is_zero());
    let (topic, state) = match delay.and_then(|delay| Some((delay, queue.topics.retry(delay)?))) {
        None => (queue.topics.main(), None),
        Some((delay, topic)) => {
            let Some(due) = SystemTime::now().checked_add(delay) else {
                return refused(format!("a delay of {delay:?} ends when no clock can tell"));
            };
            (topic, Carried::default().due(due).state(usize::MAX))
        }
    };
    let copy = Arc::new(Copy::default());
    let report = copy.clone();
    let record = Record {
        topic,
        partition: None,
        key: message.key.as_ref(),
        payload: Some(&message.payload),
        headers: records::headers(message.id.as_ref(), state.as_deref(), &message.headers),
    };
    queue.producer.send(record, Box::new(move |outcome| report.finish(outcome)));
    Sent::Off { copy, topic: topic.clone(), id: message.id.clone() }
}

/// Why Kafka, or we, will never take it.
fn refusal(queue: &Inner, message: &Outgoing) -> Option<String> {
    let options = &queue.options;
    let (size, most) = (message.payload.len(), options.max_payload());
    if size > most {
        return Some(format!(
            "its payload has {size} bytes, and {most} are the most (`max_message_bytes` less what \
             retries carry): raise it here and `max.message.bytes` of the topics, or publish a \
             reference to the data"
        ));
    }
    let all = records::size(message.key.as_ref(), &message.payload, &message.headers);
    if all > options.max_message_bytes - crate::options::STATE_ROOM / 2 {
        return Some(format!(
            "with key and headers it has {all} bytes, too many for `max_message_bytes` of {}: put \
             less into the headers",
            options.max_message_bytes
        ));
    }
    if let Some((name, _)) = message.headers.iter().find(|(name, _)| name.contains('\0')) {
        return Some(format!("the name of the header {name:?} contains a zero byte"));
    }
    let delay = message.delay.filter(|delay| !delay.is_zero())?;
    if options.order != Order::None {
        return Some(
            "it has a delay, and a topic that is read in order cannot delay: publish it when it is \
             due, or open the topic without order"
                .into(),
        );
    }
    // Kafka deletes what is older than its topic keeps, due or not.
    let most = queue.capabilities.max_delay.filter(|most| delay > *most)?;
    Some(format!(
        "a delay of {delay:?} is longer than {most:?}, half of what the retry topics of `{}` keep \
         (7 days, where their settings may not be read): raise their `retention.ms`, or grant \
         DescribeConfigs",
        queue.topics.main()
    ))
}
