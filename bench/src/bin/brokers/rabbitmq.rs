//! RabbitMQ: a quorum queue, or a classic one. By hand: one channel, prefetch 500, an acknowledgement of all up to
//! here every hundred messages, which is the fastest way that the protocol knows.

use crate::{
    Fault,
    lane::{Broker, Load},
};
use forebay_bench::{
    cost::{Cost, Stopwatch},
    seen::Work,
};
use forebay_rabbitmq::{QueueKind, RabbitOptions, RabbitQueue, RabbitSource, Topology};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};

const PREFETCH: u16 = 500;
const ACK_EVERY: u64 = 100;

pub(crate) struct RabbitMq {
    url: String,
    connection: Connection,
    classic: bool,
}

impl RabbitMq {
    pub(crate) async fn connect(classic: bool) -> Result<Self, Fault> {
        let url = std::env::var("FOREBAY_TEST_AMQP")
            .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:25672/%2f".into());
        let connection = Connection::connect(&url, ConnectionProperties::default())
            .await
            .map_err(|error| format!("{error}: `scripts/brokers up rabbitmq` starts the broker"))?;
        Ok(Self { url, connection, classic })
    }

    fn options(&self, queue: &str) -> RabbitOptions {
        let options = RabbitOptions::new(&self.url, queue);
        match self.classic {
            true => options.kind(QueueKind::Classic).topology(Topology::Leave),
            false => options,
        }
    }

    async fn channel(&self) -> Result<Channel, Fault> {
        Ok(self.connection.create_channel().await?)
    }
}

impl Broker for RabbitMq {
    type Source = RabbitSource;

    fn address(&self) -> (&'static str, &str) {
        ("rabbitmq", &self.url)
    }

    async fn filled(&self, load: Load) -> Result<String, Fault> {
        let queue = format!("bench-{}", fastrand::u64(..));
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        if self.classic {
            // Without any arguments: mq-bridge declares it again like this.
            for name in [queue.clone(), dead(&queue)] {
                let options = QueueDeclareOptions { durable: true, ..Default::default() };
                channel.queue_declare(name.into(), options, FieldTable::default()).await?;
            }
        }
        // By the adapter, so that all lanes consume the same queue.
        RabbitQueue::open(self.options(&queue)).await?;
        let payload = vec![b'x'; load.bytes];
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let mut confirms = Vec::new();
        for sent in 1..=load.messages {
            let options = BasicPublishOptions::default();
            let name = queue.as_str().into();
            let confirm =
                channel.basic_publish("".into(), name, options, &payload, persistent.clone());
            confirms.push(confirm.await?);
            if sent % 1_000 == 0 || sent == load.messages {
                for confirm in confirms.drain(..) {
                    if !matches!(confirm.await?, Confirmation::Ack(None)) {
                        return Err("the broker did not take a message".into());
                    }
                }
            }
        }
        Ok(queue)
    }

    async fn bare(&self, queue: &str, load: Load, work: Work) -> Result<Cost, Fault> {
        let channel = self.channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue.into(), "bare".into(), options, FieldTable::default());
        let mut consumer = consumer.await?;
        let mut begun = None;
        for seen in 1..=load.messages {
            let delivery = consumer.next().await.ok_or("the consumer ended")??;
            begun.get_or_insert_with(Stopwatch::start);
            work.on(&delivery.data);
            if seen % ACK_EVERY == 0 || seen == load.messages {
                delivery.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        let cost = begun.map(|begun| begun.each(load.messages));
        channel.close(200, "done".into()).await?;
        cost.ok_or_else(|| "no message came".into())
    }

    async fn source(&self, queue: &str) -> Result<RabbitSource, Fault> {
        Ok(RabbitQueue::open(self.options(queue)).await?.source().await?)
    }

    async fn remove(&self, queue: &str) -> Result<(), Fault> {
        for name in [queue.to_owned(), dead(queue)] {
            // RabbitMQ 3.10's log of quorum queues now and then restarts when one is deleted, which ends
            // the connection that asked for it: so each has one of its own, and a second try.
            if self.removed(&name).await.is_err() {
                self.removed(&name).await?;
            }
        }
        Ok(())
    }
}

impl RabbitMq {
    async fn removed(&self, queue: &str) -> Result<(), Fault> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        Ok(connection.close(200, "done".into()).await?)
    }
}

fn dead(queue: &str) -> String {
    format!("{queue}.dead")
}
