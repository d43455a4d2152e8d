//! What the topics' own settings say: how long retry topics keep what waits in them, from which the
//! longest delay follows, since Kafka deletes what is older, waiting or not; and how large a record
//! may be.

use crate::{KafkaError, KafkaOptions, Order, config, topics::Topics};
use rdkafka::{
    admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier},
    client::DefaultClientContext,
};
use std::time::Duration;

/// What retry topics that we create keep: a delay of 7 days, and a week's outage after it.
pub(crate) const CREATED: Duration = Duration::from_secs(14 * 86_400);

/// What Kafka keeps unless told otherwise.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Half of it is for the delay, half for an outage in which nothing is read.
const SHARE: u32 = 2;

/// The longest delay that the retry topics allow; `None`: any. Refuses steps that they do not.
///
/// Where the topics' settings may not be read, what Kafka keeps by default is taken: 7 days.
pub(crate) async fn max_delay(
    options: &KafkaOptions,
    topics: &Topics,
) -> Result<Option<Duration>, KafkaError> {
    if options.order != Order::None {
        return Ok(None); // A retry waits where it is.
    }
    let mut longest: Option<Duration> = None;
    for (topic, kept) in ask(options, topics).await {
        let Some(kept) = kept else { continue };
        let most = kept / SHARE;
        if let Some(step) = options
            .retry_steps
            .iter()
            .find(|step| topics.retry(**step).is_some_and(|name| **name == *topic))
            && *step > most
        {
            return Err(KafkaError::Setting {
                setting: "retry_steps".into(),
                value: format!("{step:?} for the topic `{topic}`"),
                why: format!(
                    "the topic keeps its messages for {kept:?}, and half of that is the longest \
                     delay: raise its `retention.ms`"
                ),
            });
        }
        longest = Some(longest.map_or(most, |longest| longest.min(most)));
    }
    Ok(longest)
}

/// How long each retry topic keeps its messages; `None`: for ever.
async fn ask(options: &KafkaOptions, topics: &Topics) -> Vec<(String, Option<Duration>)> {
    let retries = &topics.read[1..];
    let names = retries.iter().map(|topic| ResourceSpecifier::Topic(topic));
    let specifiers: Vec<_> = names.collect();
    let default = || retries.iter().map(|topic| (topic.to_string(), Some(WEEK))).collect();
    let admin: Result<AdminClient<DefaultClientContext>, _> = match config::admin(options) {
        Ok(config) => config.create(),
        Err(_) => return default(),
    };
    let Ok(admin) = admin else { return default() };
    let asked = AdminOptions::new().request_timeout(Some(options.request_timeout));
    let Ok(answers) = admin.describe_configs(&specifiers, &asked).await else {
        tracing::debug!("the settings of the retry topics cannot be read: 7 days are taken");
        return default();
    };
    let answers: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    let kept = |topic: &str| {
        let resource = answers.iter().find(|resource| {
            matches!(&resource.specifier, OwnedResourceSpecifier::Topic(name) if name == topic)
        });
        let millis = resource?.get("retention.ms")?.value.as_ref()?.parse::<i64>().ok()?;
        Some(u64::try_from(millis).ok().map(Duration::from_millis))
    };
    let all = retries.iter().map(|topic| (topic.to_string(), kept(topic).unwrap_or(Some(WEEK))));
    all.collect()
}

/// The largest record that a topic takes; `None` where there is no such topic, or it may not be asked.
pub(crate) async fn max_message_bytes(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    options: &KafkaOptions,
) -> Option<usize> {
    let asked = AdminOptions::new().request_timeout(Some(options.request_timeout));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &asked).await.ok()?;
    let answer = answers.into_iter().find_map(Result::ok)?;
    answer.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}
