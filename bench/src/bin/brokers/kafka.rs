//! Kafka: a topic of eight partitions. By hand: rdkafka's `StreamConsumer` and `store_offset`, the
//! stored offsets committed in the background.

use crate::{
    Fault,
    lane::{Broker, Load},
};
use forebay_bench::{
    cost::{Cost, Stopwatch},
    seen::Work,
};
use forebay_kafka::{Create, KafkaOptions, KafkaQueue, KafkaSource};
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer, StreamConsumer},
    metadata::MetadataTopic,
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use std::time::Duration;

const PARTITIONS: i32 = 8;

pub(crate) struct Kafka {
    brokers: String,
}

impl Kafka {
    pub(crate) fn new() -> Self {
        let brokers = std::env::var("FOREBAY_TEST_KAFKA");
        Self { brokers: brokers.unwrap_or_else(|_| "127.0.0.1:29092".into()) }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Fault> {
        Ok(self.config().create()?)
    }
}

impl Broker for Kafka {
    type Source = KafkaSource;

    fn address(&self) -> (&'static str, &str) {
        ("kafka", &self.brokers)
    }

    async fn filled(&self, load: Load) -> Result<String, Fault> {
        let topic = format!("bench-{}", fastrand::u64(..));
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        for made in self.admin()?.create_topics([&new], &AdminOptions::new()).await? {
            made.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        let producer: ThreadedProducer<_> =
            self.config().set("queue.buffering.max.messages", "2000000").create()?;
        let payload = vec![b'x'; load.bytes];
        for n in 0..load.messages {
            let partition = i32::try_from(n % PARTITIONS.unsigned_abs() as u64)?;
            let record = BaseRecord::<(), _>::to(&topic).partition(partition).payload(&payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(60))?;
        Ok(topic)
    }

    async fn bare(&self, topic: &str, load: Load, work: Work) -> Result<Cost, Fault> {
        let consumer: StreamConsumer = self
            .config()
            .set("group.id", topic)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        consumer.subscribe(&[topic])?;
        let mut begun = None;
        for _ in 0..load.messages {
            let message = consumer.recv().await?;
            begun.get_or_insert_with(Stopwatch::start);
            work.on(message.payload().unwrap_or_default());
            consumer.store_offset_from_message(&message)?;
        }
        consumer.commit_consumer_state(CommitMode::Sync)?;
        begun.map(|begun| begun.each(load.messages)).ok_or_else(|| "no message came".into())
    }

    async fn source(&self, topic: &str) -> Result<KafkaSource, Fault> {
        let mut options = KafkaOptions::new(&self.brokers, topic);
        options.create = Some(Create { partitions: PARTITIONS, replication: 1 });
        Ok(KafkaQueue::open(options).await?.source().await?)
    }

    async fn remove(&self, topic: &str) -> Result<(), Fault> {
        let admin = self.admin()?;
        let known = admin.inner().fetch_metadata(None, Duration::from_secs(10))?;
        let ours = |name: &&str| *name == topic || name.starts_with(&format!("{topic}."));
        let ours: Vec<&str> = known.topics().iter().map(MetadataTopic::name).filter(ours).collect();
        for gone in admin.delete_topics(&ours, &AdminOptions::new()).await? {
            gone.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(())
    }
}
