//! `[source.*]`: one queue, described without its secrets.

use super::*;

/// A config whose source is this, from line 2 on.
fn source(broker: &str, keys: &str) -> Result<Config, String> {
    parse(&format!("[source.{broker}]\n{keys}\n{STDOUT}"))
}

#[test]
fn one_queue_is_named_and_no_more() {
    let error = parse_with("[source.sqs]\nqueue = 'x'\n").unwrap_err();
    let expected = "source: it names more than one queue\n  help: keep one of the tables";
    assert!(error.contains(expected) || error.contains("without the sqs adapter"), "{error}");
    let error = source("rabitmq", "queue = 'x'").unwrap_err();
    assert!(error.contains("did you mean `rabbitmq`?"), "{error}");
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_broker_that_is_not_built_in_is_refused_by_its_feature() {
    let error = source("kafka", "brokers = 'x'\ntopic = 'y'").unwrap_err();
    assert!(
        error.starts_with("conf/w.toml:1: source.kafka: this forebay was built without the kafka"),
        "{error}"
    );
    assert!(error.contains("--features kafka"), "{error}");
}

#[cfg(feature = "kafka")]
#[test]
fn a_topic_is_described_without_its_secrets() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let keys = format!(
        "brokers = 'b:1'\ntopic = 't'\ntls = {{}}\nlibrdkafka = {{ 'ssl.key.password' = 'hunter2' }}\n\
         sasl = {{ mechanism = 'SCRAM-SHA-512', username = 'u', password = {{ file = '{}' }} }}",
        secret.path().display()
    );
    let config = source("kafka", &keys).unwrap();
    assert_eq!(
        config.settings.source.describe(),
        "kafka: b:1, topic `t`, group `forebay-t`, over TLS, as u"
    );
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    let ordered = "brokers = 'b:1'\ntopic = 't'\n[worker]\nordered = true";
    let described = source("kafka", ordered).unwrap().settings.source.describe();
    assert!(described.contains("in order by key"), "{described}");
    for (keys, expected) in [
        ("brokers = 'b:1'", "conf/w.toml:1: source.kafka: `topic` is missing"),
        ("brokers = ''\ntopic = 't'", "conf/w.toml:2: source.kafka.brokers: it is empty"),
        ("brokers = 'b'\ntopic = 't'\ngruop = 'g'", "did you mean `group`?"),
        ("brokers = 'b'\ntopic = 't'\norder = 'keys'", "did you mean `key`?"),
        (
            "brokers = 'b'\ntopic = 't'\nsasl = { mechanism = 'SCRAM', username = 'u', password = 'p' }",
            "conf/w.toml:4: source.kafka.sasl.mechanism: `SCRAM` is none of its values",
        ),
    ] {
        let error = source("kafka", keys).unwrap_err();
        assert!(error.contains(expected), "{keys}\n{error}");
    }
}

#[cfg(feature = "rabbitmq")]
#[test]
fn a_url_of_rabbitmq_is_a_secret() {
    let queue = "queue = 'q'\n";
    let config = source("rabbitmq", &format!("{queue}url = 'amqp://u:hunter2@h/%2f'")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert_eq!(config.settings.source.describe(), "rabbitmq: amqp://u:***@h/%2f, quorum queue `q`");
    let config = source("rabbitmq", &format!("{queue}url = 'amqp://${{PATH}}@h/%2f'")).unwrap();
    let described = config.settings.source.describe();
    assert!(described.contains("amqp://${PATH}@h/%2f"), "{described}");
    let error = source("rabbitmq", &format!("{queue}url = {{ file = '/no/such' }}")).unwrap_err();
    assert!(error.contains("conf/w.toml:3: source.rabbitmq.url: /no/such cannot be"), "{error}");
    let error = source("rabbitmq", &format!("{queue}url = 'x'\nkind = 'quorm'")).unwrap_err();
    assert!(error.contains("did you mean `quorum`?"), "{error}");
}

#[cfg(feature = "sqs")]
#[test]
fn a_queue_of_sqs_goes_by_the_last_part_of_its_url() {
    let url = "https://sqs.eu-west-1.amazonaws.com/123/orders.fifo";
    let config = source("sqs", &format!("queue = '{url}'\nregion = 'eu-west-1'")).unwrap();
    assert_eq!(config.settings.name(), "orders.fifo");
    let described = config.settings.source.describe();
    assert_eq!(described, format!("sqs: AWS, eu-west-1, queue `{url}`"));
    let error = source("sqs", "queue = 'q'\nlease = '30'").unwrap_err();
    assert!(error.contains("conf/w.toml:3: source.sqs.lease: `30` is no duration"), "{error}");
}
