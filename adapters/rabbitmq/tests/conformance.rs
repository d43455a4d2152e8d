//! The contract, case by case, on a real RabbitMQ. A fault proxy stands between, to be cut by the cases
//! that want it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{queue_to_redrive, redrive_slowly};
use forebay_rabbitmq::RabbitOptions;
use std::time::Duration;
use support::{harness::Rabbit, open, url};

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Some(name) = queue_to_redrive() else { return };
    redrive_slowly(&open(&RabbitOptions::new(url(), name)).await).await;
}

forebay_conformance::conformance_tests!(Rabbit { late: Duration::ZERO });
