//! What the tests share: the emulators, queues of a test's own, and this binary once more as a child.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod harness;
pub(crate) mod responder;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::config::{Credentials, Region};
use forebay_conformance::proxy::FaultProxy;
use forebay_contract::{
    DeadReason, Delivery, FailureKind, FailureNote, MessageId, Outgoing, Settlement, Sink, Source,
    Verdict, Want,
};
use forebay_sqs::{Receipt, SqsOptions, SqsQueue, SqsSource, Topology};
use std::{
    env,
    net::{SocketAddr, ToSocketAddrs},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

pub(crate) type Out = Delivery<Receipt>;

/// An emulator of SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emulator {
    Fauxqs,
    ElasticMq,
}

impl Emulator {
    /// Where it is: as the environment says, else as `scripts/brokers` starts it.
    pub(crate) fn address(self) -> SocketAddr {
        let (variable, url, name) = match self {
            Self::Fauxqs => ("FOREBAY_TEST_SQS", "http://127.0.0.1:29324", "sqs"),
            Self::ElasticMq => ("FOREBAY_TEST_ELASTICMQ", "http://127.0.0.1:29325", "elasticmq"),
        };
        let url = env::var(variable).unwrap_or_else(|_| url.to_owned());
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let address = host.to_socket_addrs().ok().and_then(|mut all| all.next());
        let address = address.unwrap_or_else(|| panic!("{variable} is `{url}`: no address"));
        assert!(
            std::net::TcpStream::connect(address).is_ok(),
            "no SQS emulator at {url}: run `scripts/brokers up {name}`, or set {variable}"
        );
        address
    }
}

pub(crate) const BOTH: [Emulator; 2] = [Emulator::Fauxqs, Emulator::ElasticMq];

/// Credentials that every emulator takes, and where it is.
pub(crate) async fn sdk(address: SocketAddr) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .load()
        .await
}

/// A name that no other queue has.
pub(crate) fn fresh_name(fifo: bool) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let (pid, n) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let random = fastrand::u32(..);
    format!("forebay-test-{pid}-{n}-{random:08x}{}", if fifo { ".fifo" } else { "" })
}

/// A queue of a test's own, behind a proxy; deleted at the end.
pub(crate) struct Own {
    pub(crate) queue: SqsQueue,
    pub(crate) options: SqsOptions,
    pub(crate) proxy: FaultProxy,
    /// The emulator itself.
    pub(crate) direct: SocketAddr,
}

impl Own {
    /// Creates it, with settings of its own.
    pub(crate) async fn new(
        emulator: Emulator,
        fifo: bool,
        change: impl FnOnce(SqsOptions) -> SqsOptions,
    ) -> Self {
        let direct = emulator.address();
        let proxy = FaultProxy::start(direct).expect("a port for the proxy");
        let options = SqsOptions::new(fresh_name(fifo)).topology(Topology::Create);
        let options = change(options.wait(Duration::from_secs(1)));
        let sdk = sdk(proxy.address()).await;
        let queue = SqsQueue::open_with(options.clone(), &sdk).await;
        let queue = queue.expect("the emulator creates a queue");
        Self { queue, options, proxy, direct }
    }

    /// Opens it once more, as another process would.
    pub(crate) async fn reopen(&mut self) {
        let sdk = sdk(self.proxy.address()).await;
        let queue = SqsQueue::open_with(self.options.clone(), &sdk).await;
        self.queue = queue.expect("it was there before");
    }

    /// A client of the emulator, past the proxy.
    pub(crate) async fn client(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&sdk(self.direct).await)
    }

    pub(crate) async fn source(&self) -> SqsSource {
        self.queue.source().await.expect("a source")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let (direct, name) = (self.direct, self.options.queue.clone());
        let dead = match name.strip_suffix(".fifo") {
            Some(stem) => format!("{stem}-dead.fifo"),
            None => format!("{name}-dead"),
        };
        // A thread with a runtime of its own: this one's may be about to end.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = aws_sdk_sqs::Client::new(&sdk(direct).await);
                for queue in [name, dead] {
                    if let Ok(found) = client.get_queue_url().queue_name(queue).send().await {
                        let url = found.queue_url.unwrap_or_default();
                        let _ = client.delete_queue().queue_url(url).send().await;
                    }
                }
            });
        });
        let _ = deleting.join();
    }
}

/// Publishes messages, all of which must be accepted.
pub(crate) async fn publish(queue: &SqsQueue, messages: &[Outgoing]) -> Vec<MessageId> {
    queue.publish(messages).await.into_iter().map(|it| it.expect("accepted")).collect()
}

/// Waits for messages: at least one, at most `most`.
pub(crate) async fn receive(source: &SqsSource, most: usize) -> Vec<Out> {
    let mut out = Vec::new();
    let want = Want { messages: most, bytes: 1 << 30 };
    let received = tokio::time::timeout(Duration::from_secs(20), source.receive(want, &mut out));
    received.await.expect("a message in time").expect("a message");
    out
}

/// Waits for exactly so many.
pub(crate) async fn receive_n(source: &SqsSource, n: usize) -> Vec<Out> {
    let mut out = Vec::new();
    while out.len() < n {
        out.extend(receive(source, n - out.len()).await);
    }
    out
}

/// Whether nothing comes for a while.
pub(crate) async fn nothing_comes(source: &SqsSource, time: Duration) -> bool {
    let mut out = Vec::new();
    let received = source.receive(Want { messages: 1, bytes: 1 << 30 }, &mut out);
    tokio::time::timeout(time, received).await.is_err()
}

pub(crate) fn settlement(out: &Out, verdict: Verdict) -> Settlement<Receipt> {
    Settlement { receipt: out.receipt.clone(), message: out.message.clone(), verdict }
}

/// Settles one delivery, which must work.
pub(crate) async fn settle(source: &SqsSource, out: &Out, verdict: Verdict) {
    let result = source.settle(&[settlement(out, verdict)]).await.remove(0);
    result.expect("a settlement");
}

pub(crate) fn note(error: &str) -> FailureNote {
    FailureNote::new(FailureKind::Transient, error, SystemTime::now())
}

pub(crate) fn text(out: &Out) -> String {
    String::from_utf8_lossy(&out.message.payload).into_owned()
}

pub(crate) fn dead_letter() -> Verdict {
    Verdict::DeadLetter { reason: DeadReason::Permanent, note: note("never") }
}

pub(crate) fn retry(after: Duration) -> Verdict {
    Verdict::Retry { after, note: note("again") }
}

pub(crate) fn texts(out: &[Out]) -> Vec<String> {
    let mut texts: Vec<_> = out.iter().map(text).collect();
    texts.sort();
    texts
}

pub(crate) async fn url_of(client: &aws_sdk_sqs::Client, name: &str) -> String {
    client.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap()
}
