//! Settings of librdkafka, for each kind of client that the adapter makes.
//!
//! What the promises rest on is set here and cannot be set otherwise: a commit that librdkafka makes
//! by itself would lose messages, a producer that is not idempotent would double or reorder them.

use crate::{GroupProtocol, KafkaError, KafkaOptions, Tls};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use std::path::Path;

/// What may not be set by hand, and why.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is `brokers` of the options"),
    ("metadata.broker.list", "it is `brokers` of the options"),
    ("group.id", "it is `group` of the options"),
    ("group.instance.id", "it is `instance_id` of the options"),
    ("group.protocol", "it is `protocol` of the options"),
    ("session.timeout.ms", "it is `session_timeout` of the options"),
    ("security.protocol", "it follows from `tls` and `sasl` of the options"),
    ("sasl.mechanism", "it is part of `sasl` of the options"),
    ("sasl.mechanisms", "it is part of `sasl` of the options"),
    ("sasl.username", "it is part of `sasl` of the options"),
    ("sasl.password", "it is part of `sasl` of the options"),
    ("message.max.bytes", "the topics decide, and `max_message_bytes` of the options"),
    ("queued.max.messages.kbytes", "it is `fetch_kbytes` of the options"),
    ("message.timeout.ms", "it is `publish_timeout` of the options"),
    ("delivery.timeout.ms", "it is `publish_timeout` of the options"),
    ("delivery.report.only.error", "a message is confirmed by its report, which has to come"),
    ("enable.auto.commit", "offsets are committed only when their messages are done"),
    ("auto.commit.interval.ms", "offsets are committed only when their messages are done"),
    ("auto.commit.enable", "offsets are committed only when their messages are done"),
    ("enable.auto.offset.store", "offsets are committed only when their messages are done"),
    ("offset.store.method", "offsets are kept in the broker"),
    ("auto.offset.reset", "what was never committed is read from the start, so that none is lost"),
    ("topic.auto.offset.reset", "what was never committed is read from the start"),
    ("partition.assignment.strategy", "partitions that stay must not stall: cooperative-sticky"),
    ("enable.partition.eof", "the adapter decides it"),
    ("allow.auto.create.topics", "topics are created by `create` of the options only"),
    ("acks", "a message is confirmed when all replicas in sync have it"),
    ("request.required.acks", "a message is confirmed when all replicas in sync have it"),
    ("enable.idempotence", "without it, a lost answer doubles or reorders messages"),
    ("transactional.id", "the adapter does not produce in transactions"),
    ("isolation.level", "what a transaction has aborted was never sent"),
    ("log.queue", "the adapter reads the log"),
];

/// What all clients have in common.
fn common(options: &KafkaOptions) -> Result<ClientConfig, KafkaError> {
    let mut config = ClientConfig::new();
    // Else librdkafka says nothing, unless the `log` crate is set up.
    let debug = options.raw.contains_key("debug");
    config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
    config.set("bootstrap.servers", &options.brokers);
    config.set("client.id", "forebay");
    // Away brokers are tried again soon. librdkafka doubles the pause at each loss, and begins anew only
    // when the last attempt is longer ago than the longest pause: with its 10 s, connections that are
    // cut every few seconds, though each worked, would come back later and later, and commits wait.
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config.set("socket.keepalive.enable", "true");
    // A connection that no longer answers is given up; the default is a minute.
    config.set("socket.timeout.ms", "15000");
    let security = &options.security;
    let protocol = match (&security.tls, &security.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(Tls { ca, certificate, key }) = &security.tls {
        if let Some(place) = usual_authorities(|name| std::env::var_os(name).is_some()) {
            config.set("ssl.ca.location", place);
        }
        file(&mut config, "tls.ca", "ssl.ca.location", ca.as_deref())?;
        file(&mut config, "tls.certificate", "ssl.certificate.location", certificate.as_deref())?;
        file(&mut config, "tls.key", "ssl.key.location", key.as_deref())?;
    }
    if let Some(sasl) = &security.sasl {
        config.set("sasl.mechanisms", sasl.mechanism.as_str());
        config.set("sasl.username", &sasl.username).set("sasl.password", &sasl.password);
    }
    Ok(config)
}

/// Where the authorities are that are trusted unless others are named; `None`: where OpenSSL looks by
/// itself, as the environment says. The OpenSSL that is linked in does not know where this system keeps
/// its own: librdkafka looks for those if it is told to, and then at nothing else.
fn usual_authorities(is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    let told = is_set("SSL_CERT_FILE") || is_set("SSL_CERT_DIR");
    (!told).then_some("probe")
}

fn file(
    config: &mut ClientConfig,
    option: &str,
    setting: &str,
    path: Option<&Path>,
) -> Result<(), KafkaError> {
    let Some(path) = path else { return Ok(()) };
    let fail = |why: &str| KafkaError::Setting {
        setting: option.to_owned(),
        value: format!("`{}`", path.display()),
        why: why.into(),
    };
    if !path.is_file() {
        return Err(fail("there is no such file that can be read"));
    }
    let text = path.to_str().ok_or_else(|| fail("the path has to be UTF-8"))?;
    config.set(setting, text);
    Ok(())
}

/// The raw settings go in last, so that they win over our defaults, and lose to what is owned.
fn with_raw(
    mut config: ClientConfig,
    options: &KafkaOptions,
    fits: fn(&str) -> bool,
) -> Result<ClientConfig, KafkaError> {
    for (setting, value) in &options.raw {
        if let Some((_, why)) = OWNED.iter().find(|(owned, _)| owned == setting) {
            return Err(KafkaError::Owned { setting: setting.clone(), why });
        }
        if fits(setting) {
            config.set(setting, value);
        }
    }
    Ok(config)
}

/// Settings that only matter to a member of the group, and that must fit each other there.
fn is_for_members(setting: &str) -> bool {
    ["heartbeat.interval.ms", "max.poll.interval.ms"].contains(&setting)
}

/// Settings that only producers have; a consumer would warn of them.
fn is_for_producers(setting: &str) -> bool {
    const NAMES: &[&str] = &[
        "linger.ms",
        "batch.size",
        "batch.num.messages",
        "partitioner",
        "retries",
        "message.send.max.retries",
        "retry.backoff.ms",
        "retry.backoff.max.ms",
        "request.timeout.ms",
        "sticky.partitioning.linger.ms",
        "enable.gapless.guarantee",
        "transaction.timeout.ms",
    ];
    NAMES.contains(&setting)
        || setting.starts_with("queue.buffering.")
        || setting.starts_with("compression.")
}

/// Settings that only consumers have; a producer would warn of them.
fn is_for_consumers(setting: &str) -> bool {
    const NAMES: &[&str] = &[
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "coordinator.query.interval.ms",
        "queued.min.messages",
        "check.crcs",
        "client.rack",
    ];
    NAMES.contains(&setting) || setting.starts_with("fetch.") || setting.starts_with("group.")
}

/// A consumer that is in no group yet: for what is asked of the brokers, and as the base of all others.
pub(crate) fn reader(options: &KafkaOptions, group: &str) -> Result<ClientConfig, KafkaError> {
    let mut config = common(options)?;
    config.set("group.id", group);
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest").set("allow.auto.create.topics", "false");
    config.set("isolation.level", "read_committed");
    config.set("queued.max.messages.kbytes", options.fetch_kbytes.to_string());
    // The default of one second makes a small queue run dry.
    config.set("fetch.queue.backoff.ms", "10");
    config.set("fetch.error.backoff.ms", "100");
    // One fetch is on its way to a broker at a time. One for partitions with nothing new, as retry topics
    // mostly are, waits there for so long, and all that could be fetched waits behind it.
    config.set("fetch.wait.max.ms", "50");
    with_raw(config, options, |setting| !is_for_producers(setting) && !is_for_members(setting))
}

/// The consumer of a worker.
pub(crate) fn worker(options: &KafkaOptions) -> Result<ClientConfig, KafkaError> {
    let mut config = reader(options, &options.group)?;
    match options.protocol {
        GroupProtocol::Classic => {
            config.set("partition.assignment.strategy", "cooperative-sticky");
            config.set("session.timeout.ms", options.session_timeout.as_millis().to_string());
            // Members hear of a rebalance by their heartbeats.
            let beat = (options.session_timeout.as_millis() / 4).clamp(100, 1000);
            config.set("heartbeat.interval.ms", beat.to_string());
        }
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
        }
    }
    if let Some(id) = &options.instance_id {
        config.set("group.instance.id", id);
    }
    with_raw(config, options, is_for_members)
}

/// A producer. `timeout` is how long a message may take to be confirmed, in milliseconds; 0: for
/// ever.
pub(crate) fn producer(options: &KafkaOptions, timeout: u128) -> Result<ClientConfig, KafkaError> {
    let mut config = common(options)?;
    config.set("enable.idempotence", "true").set("acks", "all");
    config.set("message.timeout.ms", timeout.to_string());
    // What others have published must be copied whatever its size: its topic decides. Nor may a
    // batch be larger than a record may be, or its topic would refuse it.
    config.set("message.max.bytes", "1000000000");
    config.set("batch.size", options.max_message_bytes.min(1_000_000).to_string());
    // As Java's clients place keys, so that producers of both kinds can share a topic.
    config.set("partitioner", "murmur2_random");
    config.set("linger.ms", "2");
    with_raw(config, options, |setting| !is_for_consumers(setting))
}

/// A client for creating topics.
pub(crate) fn admin(options: &KafkaOptions) -> Result<ClientConfig, KafkaError> {
    with_raw(common(options)?, options, |setting| {
        !is_for_consumers(setting) && !is_for_producers(setting)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::{BaseConsumer, DefaultConsumerContext};

    #[test]
    fn what_the_promises_rest_on_cannot_be_set() {
        let mut options = KafkaOptions::new("localhost:1", "t");
        for (setting, _) in OWNED {
            options.raw = [((*setting).to_owned(), "x".to_owned())].into();
            for config in [worker(&options), producer(&options, 0), admin(&options)] {
                let said = config.unwrap_err().to_string();
                assert!(said.contains(setting), "{said}");
            }
        }
    }

    #[test]
    fn the_environment_says_whom_to_trust_or_the_system_does() {
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            assert_eq!(usual_authorities(|asked| asked == name), None);
        }
        assert_eq!(usual_authorities(|_| false), Some("probe"));
        let mut options = KafkaOptions::new("localhost:1", "t");
        options.security.tls = Some(Tls { ca: Some("Cargo.toml".into()), ..Tls::default() });
        let of = |options: &KafkaOptions| {
            worker(options).unwrap().get("ssl.ca.location").map(str::to_owned)
        };
        assert_eq!(of(&options).as_deref(), Some("Cargo.toml"), "what is named wins");
        options.security.tls = Some(Tls::default());
        options.raw = [("ssl.ca.location".to_owned(), "Cargo.lock".to_owned())].into();
        assert_eq!(of(&options).as_deref(), Some("Cargo.lock"), "what is set by hand wins");
    }

    #[test]
    fn a_raw_setting_wins_over_a_default_and_a_wrong_one_is_named() {
        let mut options = KafkaOptions::new("localhost:1", "t");
        options.raw = [("heartbeat.interval.ms".to_owned(), "77".to_owned())].into();
        assert_eq!(worker(&options).unwrap().get("heartbeat.interval.ms"), Some("77"));
        assert_eq!(producer(&options, 0).unwrap().get("heartbeat.interval.ms"), None);
        options.raw = [("no.such.setting".to_owned(), "hunter2".to_owned())].into();
        let made: Result<BaseConsumer<DefaultConsumerContext>, _> =
            worker(&options).unwrap().create();
        let said = KafkaError::new("x", &made.err().unwrap()).to_string();
        assert!(said.contains("no.such.setting") && !said.contains("hunter2"), "{said}");
    }
}
