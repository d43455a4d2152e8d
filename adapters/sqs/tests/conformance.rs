//! The contract, case by case, on two emulators of SQS, on standard and on FIFO queues.
//!
//! A receive whose answer is lost with its connection hides its messages until their lease ends, here as
//! on AWS. So that the cases that cut connections need not wait for a minute, no lease is longer than
//! ten seconds here, and the cases are patient for longer than that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Harness, Setup, Stop, Timing, proxy::FaultProxy};
use forebay_contract::{DeadFilter, DeadLetters};
use forebay_sqs::{SqsOptions, SqsQueue, SqsSource, Topology};
use std::{env, time::Duration};
use support::{Emulator, Own, process::Process, sdk};

const LONGEST_LEASE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Sqs {
    emulator: Emulator,
    /// FIFO queues for all cases; else for those that ask for order.
    fifo: bool,
}

impl Harness for Sqs {
    type Queue = Own;
    type Source = SqsSource;
    type Sink = SqsQueue;
    type Dead = SqsQueue;

    fn timing(&self) -> Timing {
        Timing { patience: Duration::from_secs(14), ..Timing::default() }
    }

    async fn fresh(&self, setup: &Setup) -> Result<Own, Stop> {
        let lease = setup.lease.min(LONGEST_LEASE);
        Ok(Own::new(self.emulator, self.fifo || setup.ordered, |o| o.lease(lease)).await)
    }

    async fn open(&self, own: &Own, _: &Setup) -> Result<SqsSource, Stop> {
        Ok(own.queue.source().await?)
    }

    async fn sink(&self, own: &Own) -> Result<SqsQueue, Stop> {
        Ok(own.queue.clone())
    }

    async fn dead(&self, own: &Own) -> Result<SqsQueue, Stop> {
        Ok(own.queue.clone())
    }

    async fn restart(&self, mut own: Own) -> Result<Own, Stop> {
        own.reopen().await;
        Ok(own)
    }

    async fn sever(&self, own: &Own) -> Result<(), Stop> {
        own.proxy.cut();
        Ok(())
    }

    async fn redrive_killed_halfway(&self, own: &Own) -> Result<(), Stop> {
        let address = own.direct.to_string();
        let variables = [("REDRIVE_QUEUE", &*own.options.queue), ("REDRIVE_AT", &address)];
        let process = Process::start("child_that_redrives", &variables);
        process.wait_for_line("halfway");
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
        let done = process.kill().iter().any(|line| line == "done");
        if done { Err(Stop::fail("it was done before it was killed")) } else { Ok(()) }
    }
}

/// Redrives the first half of the dead letters in small steps, then the rest at once, but slowly.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Ok(queue) = env::var("REDRIVE_QUEUE") else { return };
    let address = env::var("REDRIVE_AT").unwrap().parse().unwrap();
    let options = SqsOptions::new(queue).topology(Topology::Verify);
    let proxy = FaultProxy::start(address).unwrap();
    let queue = SqsQueue::open_with(options, &sdk(proxy.address()).await).await.unwrap();
    for _ in 0..5 {
        assert_eq!(queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 10);
    }
    proxy.delay(Duration::from_millis(50));
    println!("halfway");
    queue.redrive(&DeadFilter::default(), 100).await.unwrap();
    println!("done");
}

mod fauxqs {
    use super::{Emulator, Sqs};

    mod standard {
        use super::*;
        forebay_conformance::conformance_tests!(Sqs { emulator: Emulator::Fauxqs, fifo: false });
    }

    mod fifo {
        use super::*;
        forebay_conformance::conformance_tests!(Sqs { emulator: Emulator::Fauxqs, fifo: true });
    }
}

mod elasticmq {
    use super::{Emulator, Sqs};

    mod standard {
        use super::*;
        forebay_conformance::conformance_tests!(Sqs { emulator: Emulator::ElasticMq, fifo: false });
    }

    mod fifo {
        use super::*;
        forebay_conformance::conformance_tests!(Sqs { emulator: Emulator::ElasticMq, fifo: true });
    }
}
