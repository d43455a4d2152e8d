//! Whether the topics are there, and creating them where that is asked for.

use crate::{
    Create, KafkaError, KafkaOptions, committed, config,
    context::{Context, Note},
    options::STATE_ROOM,
    retention,
    topics::Topics,
};
use backon::{BackoffBuilder, ExponentialBuilder};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as Fault,
    types::RDKafkaErrorCode as Code,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Asks the brokers, without being a member of the group. Its calls block.
pub(crate) struct Inspector {
    pub(crate) consumer: BaseConsumer<Context>,
    context: Context,
    options: Arc<KafkaOptions>,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

impl Inspector {
    /// `group` is whose offsets it can ask for.
    pub(crate) fn new(options: &Arc<KafkaOptions>, group: &str) -> Result<Self, KafkaError> {
        let context = Context::default();
        let consumer = config::reader(options, group)?
            .create_with_context(context.clone())
            .map_err(|fault| KafkaError::new("making a consumer", &fault))?;
        Ok(Self { consumer, context, options: options.clone() })
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// How many partitions a topic has; `None` where there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Option<i32>, KafkaError> {
        let what = format!("looking for the topic `{topic}`");
        let metadata = match self.consumer.fetch_metadata(Some(topic), self.options.request_timeout)
        {
            Ok(metadata) => metadata,
            Err(fault) => return Err(self.why(what, &fault)),
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            None => {
                let led = found.partitions().iter().all(|partition| partition.leader() >= 0);
                let count = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
                match led && count > 0 {
                    true => Ok(Some(count)),
                    false => Err(KafkaError::from_code(what, Code::LeaderNotAvailable)),
                }
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(code) => Err(KafkaError::from_code(what, code)),
        }
    }

    /// The lowest and the highest offset of each of these partitions.
    pub(crate) fn ends(&self, partitions: &[(String, i32)]) -> Result<Vec<(i64, i64)>, KafkaError> {
        committed::ends(&self.consumer, partitions, self.options.request_timeout)
    }

    /// An error in the light of what the connections have met: a refused password, say, is only ever
    /// seen there.
    pub(crate) fn why(&self, what: String, fault: &Fault) -> KafkaError {
        let passing = matches!(
            fault.rdkafka_error_code(),
            Some(
                Code::BrokerTransportFailure
                    | Code::AllBrokersDown
                    | Code::OperationTimedOut
                    | Code::Resolve
                    | Code::Authentication
                    | Code::SSL
            )
        );
        if !passing {
            return KafkaError::new(what, fault);
        }
        // Notes wait among lines for the log, of which there are dozens by now.
        let (mut heard, mut quiet) = (self.context.heard(), 0);
        while quiet < 20 {
            drop(self.consumer.poll(Duration::ZERO));
            let now = self.context.heard();
            quiet = if now == heard { quiet + 1 } else { 0 };
            heard = now;
        }
        let brokers = self.options.brokers.clone();
        let mut detail = fault.to_string();
        while let Some(note) = self.context.next() {
            match note {
                Note::Trouble(Code::Authentication, why) => {
                    return KafkaError::Credentials { brokers, detail: why };
                }
                Note::Trouble(Code::SSL, why) => {
                    return KafkaError::Tls { brokers, detail: why };
                }
                Note::Trouble(code, why) if code != Code::AllBrokersDown => detail = why,
                _ => {}
            }
        }
        KafkaError::Unreachable { brokers, detail }
    }
}

/// Makes sure of all topics.
pub(crate) async fn ensure(
    inspector: &Arc<Inspector>,
    options: &Arc<KafkaOptions>,
    topics: &Arc<Topics>,
) -> Result<(), KafkaError> {
    let mut end = Instant::now() + options.request_timeout;
    let mut made = false;
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_millis(500))
        .without_max_times()
        .build();
    loop {
        match look(inspector, topics).await {
            Ok(missing) if missing.is_empty() => break,
            Ok(missing) => {
                let first = &missing[0];
                let Some(create) = options.create else {
                    let (topic, brokers) = (first.to_string(), options.brokers.clone());
                    return Err(KafkaError::MissingTopic { topic, brokers });
                };
                // To create what is being created does no harm.
                match make(options, topics, &missing, create).await {
                    Err(error) if error.is_fatal() || Instant::now() > end => return Err(error),
                    Ok(()) if made && Instant::now() > end => {
                        let what = format!("waiting for the topic `{first}` after creating it");
                        let detail = "it has no leader yet".to_owned();
                        return Err(KafkaError::Broker { what, detail, passing: true });
                    }
                    // What was created needs a moment to get leaders, however long creating it took.
                    Ok(()) if !made => {
                        (made, end) = (true, Instant::now() + options.request_timeout);
                    }
                    _ => {}
                }
            }
            Err(error) if !made || error.is_fatal() || Instant::now() > end => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
    check_attempts(inspector, options, topics).await
}

/// Names what is not there.
async fn look(
    inspector: &Arc<Inspector>,
    topics: &Arc<Topics>,
) -> Result<Vec<Arc<str>>, KafkaError> {
    let (inspector, topics) = (inspector.clone(), topics.clone());
    asking(inspector.timeout(), move || {
        let mut missing = Vec::new();
        for topic in topics.all() {
            if inspector.partitions(topic)?.is_none() {
                missing.push(topic.clone());
            }
        }
        Ok(missing)
    })
    .await
}

async fn make(
    options: &Arc<KafkaOptions>,
    topics: &Topics,
    missing: &[Arc<str>],
    create: Create,
) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = config::admin(options)?
        .create()
        .map_err(|fault| KafkaError::new("making a client to create topics", &fault))?;
    let size = options.max_message_bytes;
    // Others may have made the topic, and publish larger messages into it.
    let largest = retention::max_message_bytes(&admin, topics.main(), options).await;
    let own_size = (size.max(largest.unwrap_or(size)) + STATE_ROOM).to_string();
    let size = size.to_string();
    let kept = retention::CREATED.as_millis().to_string();
    let new = missing.iter().map(|topic| {
        let is = |name: Option<&Arc<str>>| name == Some(topic);
        let partitions = match () {
            () if is(Some(topics.main())) || is(topics.attempts.as_ref()) => create.partitions,
            () if is(Some(&topics.dead)) => 1,
            () => options.retry_partitions,
        };
        let size = if is(Some(topics.main())) { &size } else { &own_size };
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(create.replication))
            .set("max.message.bytes", size);
        match () {
            // They are kept until somebody decides.
            () if is(Some(&topics.dead)) => new.set("retention.ms", "-1"),
            () if is(topics.attempts.as_ref()) => new
                .set("cleanup.policy", "compact,delete")
                .set("retention.ms", &kept)
                .set("segment.ms", "600000")
                .set("min.cleanable.dirty.ratio", "0.1"),
            () if is(Some(topics.main())) => new,
            () => new.set("retention.ms", &kept),
        }
    });
    let new: Vec<_> = new.collect();
    let timeout = Some(options.request_timeout);
    let asked = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
    let answers = admin
        .create_topics(&new, &asked)
        .await
        .map_err(|fault| KafkaError::new("creating topics", &fault))?;
    for answer in answers {
        match answer {
            Ok(topic) => tracing::info!(topic, "created"),
            // Another worker was faster.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(KafkaError::from_code(format!("creating the topic `{topic}`"), code));
            }
        }
    }
    Ok(())
}

/// Attempts are noted in the partition with the number of the message's own.
async fn check_attempts(
    inspector: &Arc<Inspector>,
    options: &Arc<KafkaOptions>,
    topics: &Arc<Topics>,
) -> Result<(), KafkaError> {
    let (inspector, options, topics) = (inspector.clone(), options.clone(), topics.clone());
    asking(inspector.timeout(), move || {
        let Some(attempts) = &topics.attempts else { return Ok(()) };
        let needed = inspector.partitions(topics.main())?.unwrap_or(1);
        let there = inspector.partitions(attempts)?.unwrap_or(1);
        match there >= needed {
            true => Ok(()),
            false => grow_attempts(&options, attempts, there, topics.main(), needed),
        }
    })
    .await
}

/// Gives the attempts as many partitions as the topic has, where `create` allows that. Blocks.
pub(crate) fn grow_attempts(
    options: &KafkaOptions,
    attempts: &str,
    there: i32,
    main: &str,
    needed: i32,
) -> Result<(), KafkaError> {
    if options.create.is_none() {
        return Err(KafkaError::Setting {
            setting: "order".into(),
            value: format!(
                "kept, and the topic `{attempts}` has {there} partitions where `{main}` has {needed}"
            ),
            why: format!(
                "give `{attempts}` as many partitions, or let Forebay do so with `create`"
            ),
        });
    }
    let what = format!("adding partitions to the topic `{attempts}`");
    let fail = |fault: &Fault| KafkaError::new(&*what, fault);
    let admin: AdminClient<DefaultClientContext> =
        config::admin(options)?.create().map_err(|fault| fail(&fault))?;
    let count = usize::try_from(needed).unwrap_or_default();
    let asked = AdminOptions::new().request_timeout(Some(options.request_timeout));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
        KafkaError::Broker { what: what.clone(), detail: error.to_string(), passing: false }
    })?;
    let answers = runtime
        .block_on(admin.create_partitions(&[NewPartitions::new(attempts, count)], &asked))
        .map_err(|fault| fail(&fault))?;
    match answers.into_iter().find_map(Result::err) {
        // Another worker was faster.
        None | Some((_, Code::InvalidPartitions)) => {
            tracing::info!(topic = attempts, partitions = needed, "grown, as `{main}` was");
            Ok(())
        }
        Some((_, code)) => Err(KafkaError::from_code(what, code)),
    }
}

/// Runs what blocks on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let detail = error.to_string();
        Err(KafkaError::Broker { what: "asking Kafka".into(), detail, passing: false })
    })
}

/// As [`blocking`], for what only asks: faults that pass are waited out, up to `limit`. A connection
/// that was cut fails what is asked through it, and the next one is there in a moment.
pub(crate) async fn asking<T: Send + 'static>(
    limit: Duration,
    mut work: impl FnMut() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let end = Instant::now() + limit;
    blocking(move || {
        loop {
            match work() {
                Err(error) if !error.is_fatal() && Instant::now() < end => {
                    tracing::debug!("{error}: asking again");
                    std::thread::sleep(Duration::from_millis(50));
                }
                answer => return answer,
            }
        }
    })
    .await
}
