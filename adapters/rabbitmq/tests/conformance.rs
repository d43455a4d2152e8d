//! The contract, case by case, on a real RabbitMQ; each source and sink has connections of its own,
//! as if in a process of its own. A fault proxy stands between, to be cut by the cases that want it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Harness, Process, Setup, Stop, proxy::FaultProxy};
use forebay_contract::{DeadFilter, DeadLetters};
use forebay_rabbitmq::{RabbitOptions, RabbitQueue, RabbitSource};
use std::time::Duration;
use support::{CleanUp, open, through, url};

struct Rabbit;

/// A queue of a case's own, behind a proxy of its own.
struct Case {
    options: RabbitOptions,
    proxy: FaultProxy,
    _clean_up: CleanUp,
}

impl Harness for Rabbit {
    type Queue = Case;
    type Source = RabbitSource;
    type Sink = RabbitQueue;
    type Dead = RabbitQueue;

    async fn fresh(&self, setup: &Setup) -> Result<Case, Stop> {
        let (proxy, url) = through();
        let options = RabbitOptions { url, ..support::options() }.ordered(setup.ordered);
        Ok(Case { _clean_up: CleanUp(options.clone()), options, proxy })
    }

    async fn open(&self, case: &Case, _: &Setup) -> Result<RabbitSource, Stop> {
        Ok(open(&case.options).await.source().await?)
    }

    async fn sink(&self, case: &Case) -> Result<RabbitQueue, Stop> {
        Ok(open(&case.options).await)
    }

    async fn dead(&self, case: &Case) -> Result<RabbitQueue, Stop> {
        Ok(open(&case.options).await)
    }

    async fn sever(&self, case: &Case) -> Result<(), Stop> {
        case.proxy.cut();
        Ok(())
    }

    fn header_order(&self) -> bool {
        false // an AMQP table is sorted by name
    }

    async fn redrive_killed_halfway(&self, case: &Case) -> Result<(), Stop> {
        let variables = [("REDRIVE_TEST", case.options.queue.as_str())];
        let process = Process::start("child_that_redrives", &variables);
        process.wait_for_line("halfway");
        let done = process.kill().iter().any(|line| line == "done");
        if done { Err(Stop::fail("it was done before it was killed")) } else { Ok(()) }
    }
}

/// Redrives one dead letter after the other, the second half slowly.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Ok(name) = std::env::var("REDRIVE_TEST") else { return };
    let queue = open(&RabbitOptions::new(url(), name)).await;
    for n in 0.. {
        if n == 50 {
            println!("halfway");
        }
        if queue.redrive(&DeadFilter::default(), 1).await.unwrap().moved.is_empty() {
            println!("done");
        }
        if n >= 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

forebay_conformance::conformance_tests!(Rabbit);
