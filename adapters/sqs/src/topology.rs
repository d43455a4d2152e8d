//! The queues themselves: found by name or URL, created if asked, and held against the settings.

use crate::{
    Fault, SqsError, SqsOptions, Topology,
    api::{Api, Clients},
    core::seconds,
    fault::{self, Call},
};
use aws_sdk_sqs::types::QueueAttributeName;
use std::{collections::HashMap, time::Duration};

/// How long created queues keep a message: 14 days, the longest that SQS does.
const RETENTION: &str = "1209600";

/// The most receives that a redrive policy can allow.
const MOST_RECEIVES: u32 = 1000;
/// What that of a created standard queue allows at least. Whoever comes first creates it: a program that
/// sends, say, before a worker with more attempts, or a bridge, which has a hundred.
const LEAST_CREATED: u32 = 200;

type Attributes = HashMap<QueueAttributeName, String>;

/// The queues, found and checked.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) main: Api,
    pub(crate) dead: Api,
    pub(crate) fifo: bool,
    /// The largest message that all of it takes.
    pub(crate) max_message: usize,
    /// After how many receives SQS itself moves a message to the dead letters, as far as is known.
    pub(crate) max_receives: Option<u32>,
}

/// Finds both queues, and does with them what the settings say.
pub(crate) async fn open(clients: &Clients, options: &SqsOptions) -> Result<Queues, SqsError> {
    let name = name_of(&options.queue).to_owned();
    let dead_queue = options.dead_queue.clone().unwrap_or_else(|| dead_of(&options.queue));
    let dead_name = name_of(&dead_queue).to_owned();
    let fifo = name.ends_with(".fifo");
    if fifo != dead_name.ends_with(".fifo") {
        return Err(SqsError::Kinds { queue: name, dead: dead_name });
    }
    let creates = options.topology == Topology::Create;
    let hidden = seconds(options.lease).to_string();
    let plain = || {
        let mut attributes = Attributes::from([
            (QueueAttributeName::MessageRetentionPeriod, RETENTION.to_owned()),
            (QueueAttributeName::VisibilityTimeout, hidden.clone()),
        ]);
        if fifo {
            attributes.insert(QueueAttributeName::FifoQueue, "true".into());
        }
        attributes
    };
    let api = |url: &str, name: &str| Api::new(clients, url, name, options.max_calls);

    let what = "dead-letter queue";
    let dead = find(clients, &dead_queue, what, creates.then(plain)).await?;
    let dead = api(&dead, &dead_name);
    let mut max_message = options.max_message;
    let mut dead_attributes = Attributes::new();
    if options.topology != Topology::Trust {
        dead_attributes = checked(&dead, what, &clients.place).await?;
        check_dead(&dead_name, &dead_attributes)?;
        lower(&mut max_message, &dead_attributes);
    }
    let with_policy = || {
        let mut attributes = plain();
        if let Some(arn) = dead_attributes.get(&QueueAttributeName::QueueArn) {
            let receives = created_receives(options, fifo);
            let policy = serde_json::json!({
                "deadLetterTargetArn": arn,
                "maxReceiveCount": receives.to_string(),
            });
            attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
        }
        attributes
    };
    let main = find(clients, &options.queue, "queue", creates.then(with_policy)).await?;
    let main = api(&main, &name);
    let mut max_receives = None;
    if options.topology != Topology::Trust {
        let attributes = checked(&main, "queue", &clients.place).await?;
        let dead_arn = dead_attributes.get(&QueueAttributeName::QueueArn);
        max_receives = check_main(&name, &attributes, dead_arn, options)?;
        lower(&mut max_message, &attributes);
    }
    Ok(Queues { main, dead, fifo, max_message, max_receives })
}

/// The name in a URL, or the name itself.
pub(crate) fn name_of(queue: &str) -> &str {
    queue.trim_end_matches('/').rsplit('/').next().unwrap_or(queue)
}

/// The dead-letter queue's default name, or URL, beside a queue's.
fn dead_of(queue: &str) -> String {
    match queue.strip_suffix(".fifo") {
        Some(stem) => format!("{stem}-dead.fifo"),
        None => format!("{queue}-dead"),
    }
}

fn is_url(queue: &str) -> bool {
    queue.starts_with("http://") || queue.starts_with("https://")
}

/// The URL of a queue, which is created with these attributes if it is not there.
async fn find(
    clients: &Clients,
    queue: &str,
    what: &'static str,
    create: Option<Attributes>,
) -> Result<String, SqsError> {
    let name = name_of(queue);
    if is_url(queue) && create.is_none() {
        return Ok(queue.to_owned());
    }
    let found = |url: String| if is_url(queue) { queue.to_owned() } else { url };
    if let Some(url) = look_up(clients, name).await? {
        return Ok(found(url));
    }
    let missing = || {
        let (queue, place) = (name.to_owned(), clients.place.to_string());
        SqsError::Missing { what, queue, place }
    };
    let attributes = create.ok_or_else(missing)?;
    let request = clients.client.create_queue().queue_name(name);
    match request.set_attributes(Some(attributes)).send().await {
        Ok(answer) => {
            tracing::info!(queue = name, "created the {what}");
            Ok(answer.queue_url.unwrap_or_else(|| queue.to_owned()))
        }
        // Somebody else has created it meanwhile, with other settings: it is looked at as any that is there.
        Err(error) if fault::already_exists(&error) => {
            look_up(clients, name).await?.map(found).ok_or_else(missing)
        }
        Err(error) => {
            let call = Call { action: "sqs:CreateQueue", queue: name, place: &clients.place };
            Err(Fault::of(&error, call).into())
        }
    }
}

/// The URL of a queue; `None` if it is not there.
async fn look_up(clients: &Clients, name: &str) -> Result<Option<String>, Fault> {
    match clients.client.get_queue_url().queue_name(name).send().await {
        Ok(answer) => Ok(answer.queue_url),
        Err(error) => {
            let call = Call { action: "sqs:GetQueueUrl", queue: name, place: &clients.place };
            match Fault::of(&error, call) {
                Fault::Missing { .. } => Ok(None),
                fault => Err(fault),
            }
        }
    }
}

/// A queue's attributes, or that it is not there.
async fn checked(api: &Api, what: &'static str, place: &str) -> Result<Attributes, SqsError> {
    api.attributes().await.map_err(|fault| match fault {
        Fault::Missing { queue, .. } => SqsError::Missing { what, queue, place: place.into() },
        fault => fault.into(),
    })
}

/// What a created queue's redrive policy allows.
fn created_receives(options: &SqsOptions, fifo: bool) -> u32 {
    receives_for(options, fifo).max(if fifo { MOST_RECEIVES } else { LEAST_CREATED })
}

/// How many receives are plenty: much more than the attempts, as releases count, too; and not without
/// end, as it is what catches a message that kills each worker. Where a queue has no policy, the adapter
/// itself goes by this number.
pub(crate) fn receives_for(options: &SqsOptions, fifo: bool) -> u32 {
    needed(options, fifo).max(options.attempts.saturating_mul(10)).min(MOST_RECEIVES)
}

/// The least that a redrive policy must allow. In a FIFO queue each attempt at the first of a group is a
/// receive of up to nine behind it, too, and none of them can be replaced by a fresh copy.
fn needed(options: &SqsOptions, fifo: bool) -> u32 {
    let room = options.attempts.saturating_add(options.release_room);
    if fifo { room.max(options.attempts.saturating_mul(10)).min(MOST_RECEIVES) } else { room }
}

/// The target and the count of a redrive policy.
fn policy(attributes: &Attributes) -> Option<(String, u32)> {
    let text = attributes.get(&QueueAttributeName::RedrivePolicy)?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let count = value.get("maxReceiveCount")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    let target = value.get("deadLetterTargetArn").and_then(|arn| arn.as_str()).unwrap_or_default();
    Some((target.to_owned(), u32::try_from(count).unwrap_or(u32::MAX)))
}

/// Holds the queue's own redrive policy against the attempts; how many receives it allows.
fn check_main(
    name: &str,
    attributes: &Attributes,
    dead_arn: Option<&String>,
    options: &SqsOptions,
) -> Result<Option<u32>, SqsError> {
    let Some((target, max_receives)) = policy(attributes) else { return Ok(None) };
    let needed = needed(options, name.ends_with(".fifo"));
    if max_receives < needed {
        let (queue, attempts) = (name.to_owned(), options.attempts);
        return Err(SqsError::RedrivePolicy { queue, max_receives, attempts, needed });
    }
    if dead_arn.is_some_and(|arn| *arn != target) {
        tracing::warn!(
            queue = name,
            "its own redrive policy moves messages to `{target}`, which is not its dead-letter queue \
             here: they will not be listed; name that queue in `dead_queue`, or change the policy"
        );
    }
    Ok(Some(max_receives))
}

fn check_dead(name: &str, attributes: &Attributes) -> Result<(), SqsError> {
    if policy(attributes).is_some() {
        return Err(SqsError::DeadMoves { queue: name.to_owned() });
    }
    let kept = attributes.get(&QueueAttributeName::MessageRetentionPeriod);
    let kept = kept.and_then(|secs| secs.parse().ok()).map(Duration::from_secs);
    if let Some(kept) = kept.filter(|kept| kept.as_secs().to_string() != RETENTION) {
        tracing::warn!(
            queue = name,
            "the dead-letter queue keeps its messages for {kept:?}, then they are gone: raise its \
             retention period to 14 days"
        );
    }
    Ok(())
}

/// Lowers the limit to a queue's own.
fn lower(limit: &mut usize, attributes: &Attributes) {
    let own = attributes.get(&QueueAttributeName::MaximumMessageSize);
    if let Some(own) = own.and_then(|bytes| bytes.parse::<usize>().ok()) {
        *limit = own.min(*limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_policy(text: &str) -> Attributes {
        [(QueueAttributeName::RedrivePolicy, text.to_owned())].into()
    }

    #[test]
    fn names_come_from_urls_and_dead_letters_have_their_own() {
        assert_eq!(name_of("https://sqs.eu-west-1.amazonaws.com/1/orders"), "orders");
        assert_eq!(name_of("orders"), "orders");
        assert_eq!(dead_of("orders"), "orders-dead");
        assert_eq!(dead_of("http://h/1/orders.fifo"), "http://h/1/orders-dead.fifo");
    }

    #[test]
    fn a_redrive_policy_must_leave_room_for_releases() {
        let options = SqsOptions::new("orders").attempts(5);
        let check = |text| check_main("orders", &with_policy(text), None, &options);
        for text in [r#"{"maxReceiveCount":"6"}"#, r#"{"maxReceiveCount":6}"#] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains("`maxReceiveCount` 6") && error.contains("`attempts` is 5"));
            assert!(error.contains("to 15 or more"), "{error}");
        }
        let enough = with_policy(r#"{"deadLetterTargetArn":"a:b","maxReceiveCount":"15"}"#);
        assert_eq!(check_main("orders", &enough, None, &options).unwrap(), Some(15));
        let error = check_main("orders.fifo", &enough, None, &options).unwrap_err().to_string();
        assert!(
            error.contains("to 50 or more"),
            "those behind a first are received with it: {error}"
        );
        assert_eq!(check("no json").unwrap(), None);
        assert!(check_dead("d", &with_policy(r#"{"maxReceiveCount":9}"#)).is_err());
        assert_eq!(receives_for(&options, false), 50);
    }

    #[test]
    fn the_lower_limit_holds() {
        let mut limit = 1000;
        lower(&mut limit, &[(QueueAttributeName::MaximumMessageSize, "500".into())].into());
        lower(&mut limit, &[(QueueAttributeName::MaximumMessageSize, "900".into())].into());
        assert_eq!(limit, 500);
    }
}
