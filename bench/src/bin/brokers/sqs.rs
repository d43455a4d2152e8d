//! SQS, on an emulator. By hand: pollers that each receive ten, handle them and delete ten, with the
//! deletes running while the next ten are on their way.

use crate::{
    Fault,
    lane::{Broker, Load},
};
use aws_sdk_sqs::{
    Client,
    config::{Credentials, Region},
    types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry},
};
use forebay_bench::{
    cost::{Cost, Stopwatch},
    seen::Work,
};
use forebay_sqs::{SqsOptions, SqsQueue, SqsSource};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};
use tokio::task::JoinSet;

const POLLERS: usize = 4;

pub(crate) struct Sqs {
    endpoint: String,
    client: Client,
}

impl Sqs {
    pub(crate) async fn connect() -> Self {
        let endpoint =
            std::env::var("FOREBAY_TEST_SQS").unwrap_or_else(|_| "http://127.0.0.1:29324".into());
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version_latest()
            .endpoint_url(&endpoint)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "bench"));
        Self { endpoint, client: Client::from_conf(config.build()) }
    }
}

impl Broker for Sqs {
    type Source = SqsSource;

    fn address(&self) -> (&'static str, &str) {
        ("sqs", &self.endpoint)
    }

    async fn filled(&self, load: Load) -> Result<String, Fault> {
        let name = format!("bench-{}", fastrand::u64(..));
        let made = self.client.create_queue().queue_name(&name).send().await?;
        let url = made.queue_url().ok_or("the queue has no URL")?.to_owned();
        self.client.create_queue().queue_name(format!("{name}-dead")).send().await?;
        let body = "x".repeat(load.bytes);
        let mut sending = JoinSet::new();
        for first in (0..load.messages).step_by(10) {
            let mut send = self.client.send_message_batch().queue_url(&url);
            for n in first..load.messages.min(first + 10) {
                let entry =
                    SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(&body);
                send = send.entries(entry.build()?);
            }
            sending.spawn(send.send());
            if sending.len() >= 16 {
                sent(&mut sending).await?;
            }
        }
        while !sending.is_empty() {
            sent(&mut sending).await?;
        }
        Ok(url)
    }

    async fn bare(&self, url: &str, load: Load, work: Work) -> Result<Cost, Fault> {
        let (begun, done) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
        let mut pollers = JoinSet::new();
        for _ in 0..POLLERS {
            let poller = Poller {
                client: self.client.clone(),
                url: url.to_owned(),
                begun: begun.clone(),
                done: done.clone(),
            };
            pollers.spawn(poller.run(load.messages, work));
        }
        while let Some(ended) = pollers.join_next().await {
            ended??;
        }
        let begun: Option<&Stopwatch> = begun.get();
        begun.map(|begun| begun.each(load.messages)).ok_or_else(|| "no message came".into())
    }

    async fn source(&self, url: &str) -> Result<SqsSource, Fault> {
        let options = SqsOptions::new(url).endpoint(&self.endpoint).region("us-east-1");
        Ok(SqsQueue::open(options).await?.source().await?)
    }

    async fn remove(&self, url: &str) -> Result<(), Fault> {
        for url in [url.to_owned(), format!("{url}-dead")] {
            self.client.delete_queue().queue_url(url).send().await?;
        }
        Ok(())
    }
}

async fn sent<T: 'static, E: std::error::Error + Send + Sync + 'static>(
    sending: &mut JoinSet<Result<T, E>>,
) -> Result<(), Fault> {
    if let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

struct Poller {
    client: Client,
    url: String,
    begun: Arc<OnceLock<Stopwatch>>,
    done: Arc<AtomicU64>,
}

impl Poller {
    async fn run(self, messages: u64, work: Work) -> Result<(), Fault> {
        let mut deleting = JoinSet::new();
        while self.done.load(Ordering::Relaxed) < messages {
            let receive = self.client.receive_message().queue_url(&self.url);
            let got = receive.max_number_of_messages(10).wait_time_seconds(0).send().await?;
            let got = got.messages.unwrap_or_default();
            if got.is_empty() {
                sent(&mut deleting).await?;
                continue;
            }
            self.begun.get_or_init(Stopwatch::start);
            let mut delete = self.client.delete_message_batch().queue_url(&self.url);
            for (n, message) in got.iter().enumerate() {
                work.on(message.body().unwrap_or_default().as_bytes());
                let entry = DeleteMessageBatchRequestEntry::builder().id(n.to_string());
                let handle = message.receipt_handle().ok_or("a message without a handle")?;
                delete = delete.entries(entry.receipt_handle(handle).build()?);
            }
            let (done, count) = (self.done.clone(), got.len() as u64);
            deleting.spawn(async move {
                let deleted = delete.send().await;
                done.fetch_add(count, Ordering::Relaxed);
                deleted
            });
            if deleting.len() > 2 {
                sent(&mut deleting).await?;
            }
        }
        Ok(())
    }
}
