//! A broker that is killed (SIGKILL) three times, and started again, while a worker is under load.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Broker, nothing_is_lost_when_killed};
use forebay_contract::Source;
use forebay_rabbitmq::RabbitOptions;
use std::{sync::Arc, time::Duration};
use support::{name, open, private_url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let broker = Arc::new(Broker::start("rabbitmq", &[]));
    let options = RabbitOptions {
        confirm_timeout: Duration::from_secs(2),
        heartbeat: Duration::from_secs(2),
        ..RabbitOptions::new(private_url(&broker), name())
    };
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    nothing_is_lost_when_killed(&broker, &queue, &source).await;
    source.close(Duration::from_secs(5)).await.unwrap();
}
