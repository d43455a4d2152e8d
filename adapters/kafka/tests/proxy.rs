//! The contract once more, through a proxy that fails: connections are cut in the middle of the
//! cases, by the cases that ask for it and by a clock besides.
//!
//! Kafka tells its clients where to come back to, so the broker has a listener behind the proxy that
//! tells them the proxy's address: `FOREBAY_TEST_KAFKA_BEHIND` and `FOREBAY_TEST_KAFKA_PROXY`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{
    Harness, Setup, Stop, Timing,
    proxy::{Direction, FaultProxy},
};
use forebay_kafka::{Create, KafkaQueue, KafkaSource, Order};
use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};
use support::{Topic, options, variable};

/// How often all connections are cut.
const CUT_EVERY: Duration = Duration::from_millis(1700);

/// One proxy for all cases: its port is the one that the broker tells.
fn proxy() -> &'static FaultProxy {
    static PROXY: OnceLock<FaultProxy> = OnceLock::new();
    PROXY.get_or_init(|| {
        let address =
            |name, default: &str| variable(name).unwrap_or_else(|| default.into()).parse().unwrap();
        let listen = address("FOREBAY_TEST_KAFKA_PROXY", "127.0.0.1:29096");
        let behind = address("FOREBAY_TEST_KAFKA_BEHIND", "127.0.0.1:29095");
        FaultProxy::start_on(listen, behind).expect("the proxy's port is free")
    })
}

/// Cuts connections by the clock, from now on. Which clock: each round at another place in the stream.
fn cut_by_the_clock() {
    static CLOCK: OnceLock<()> = OnceLock::new();
    CLOCK.get_or_init(|| {
        proxy().delay(Duration::from_millis(1));
        thread::spawn(|| {
            for round in 0.. {
                thread::sleep(CUT_EVERY);
                match round % 3 {
                    0 => proxy().cut(),
                    1 => proxy().reset_after(97 * round % 4000, Direction::FromUpstream),
                    _ => proxy().reset_after(89 * round % 4000, Direction::ToUpstream),
                }
            }
        });
    });
}

struct Faulty;

async fn open(what: &str, order: Order, partitions: i32) -> Topic {
    let mut options = options(what);
    options.brokers = proxy().address().to_string();
    options.order = order;
    options.create = Some(Create { partitions, replication: 1 });
    Topic::open(options).await.unwrap()
}

impl Harness for Faulty {
    type Queue = Topic;
    type Source = KafkaSource;
    type Sink = KafkaQueue;
    type Dead = KafkaQueue;

    /// What is cut is repeated.
    fn timing(&self) -> Timing {
        Timing { patience: Duration::from_secs(15), ..Timing::default() }
    }

    async fn fresh(&self, setup: &Setup) -> Result<Topic, Stop> {
        cut_by_the_clock();
        Ok(match setup.ordered {
            true => open("faulty", Order::Key, 2).await,
            false => open("faulty", Order::None, 1).await,
        })
    }

    async fn open(&self, topic: &Topic, setup: &Setup) -> Result<KafkaSource, Stop> {
        let source = topic.queue.source().await?;
        let end = Instant::now() + Duration::from_secs(8);
        while setup.ordered && source.assigned().is_empty() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(source)
    }

    async fn sink(&self, topic: &Topic) -> Result<KafkaQueue, Stop> {
        Ok(topic.queue.clone())
    }

    async fn dead(&self, topic: &Topic) -> Result<KafkaQueue, Stop> {
        Ok(topic.queue.clone())
    }

    async fn restart(&self, topic: Topic) -> Result<Topic, Stop> {
        Ok(topic.reopen().await?)
    }

    async fn sever(&self, _: &Topic) -> Result<(), Stop> {
        proxy().cut();
        Ok(())
    }
}

forebay_conformance::conformance_tests!(Faulty);
