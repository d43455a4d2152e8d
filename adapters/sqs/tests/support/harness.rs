//! The suite's harness for SQS: queues of emulators, each behind a proxy of its own.
//!
//! A receive whose answer is lost with its connection hides its messages until their lease ends, here as
//! on AWS. So that the cases that cut connections need not wait for a minute, no lease is longer than
//! twenty seconds here, and the cases are patient for longer than that.

use super::{Emulator, Own, sdk};
use forebay_conformance::{
    Harness, Process, Setup, Stop, Timing,
    proxy::{Direction, FaultProxy},
};
use forebay_contract::{DeadFilter, DeadLetters};
use forebay_sqs::{SqsOptions, SqsQueue, SqsSource, Topology};
use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const LONGEST_LEASE: Duration = Duration::from_secs(20);

/// How connections are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    /// They are cut when a case asks for it.
    Cuts,
    /// Each byte is late; when a case asks for a cut, they are reset in mid-stream, refused, or silent
    /// for a while, each in its turn.
    All,
}

#[derive(Clone, Copy)]
pub(crate) struct Sqs {
    pub(crate) emulator: Emulator,
    /// FIFO queues for all cases; else for those that ask for order.
    pub(crate) fifo: bool,
    pub(crate) faults: Faults,
}

impl Harness for Sqs {
    type Queue = Own;
    type Source = SqsSource;
    type Sink = SqsQueue;
    type Dead = SqsQueue;

    fn timing(&self) -> Timing {
        Timing { patience: Duration::from_secs(25), ..Timing::default() }
    }

    async fn fresh(&self, setup: &Setup) -> Result<Own, Stop> {
        let lease = setup.lease.min(LONGEST_LEASE);
        let own = Own::new(self.emulator, self.fifo || setup.ordered, |o| o.lease(lease)).await;
        if self.faults == Faults::All {
            own.proxy.delay(Duration::from_millis(2));
        }
        Ok(own)
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
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let proxy = &own.proxy;
        if self.faults == Faults::Cuts {
            proxy.cut();
            return Ok(());
        }
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        let moment = Duration::from_millis(200);
        match round % 5 {
            0 => proxy.cut(),
            1 => proxy.reset_after(97 * round % 3000, Direction::FromUpstream),
            2 => proxy.reset_after(89 * round % 3000, Direction::ToUpstream),
            3 => {
                proxy.half_open(true);
                tokio::time::sleep(moment).await;
                proxy.half_open(false);
            }
            _ => {
                proxy.refuse(true);
                tokio::time::sleep(moment).await;
                proxy.refuse(false);
            }
        }
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

/// In a child: redrives the first half of 100 dead letters in small steps, then the rest at once, but
/// slowly. Says `halfway` and `done`.
pub(crate) async fn redrive_as_told(say: impl Fn(&str)) {
    let Ok(queue) = env::var("REDRIVE_QUEUE") else { return };
    let address = env::var("REDRIVE_AT").expect("set with it").parse().expect("an address");
    let options = SqsOptions::new(queue).topology(Topology::Verify);
    let proxy = FaultProxy::start(address).expect("a port for the proxy");
    let queue = SqsQueue::open_with(options, &sdk(proxy.address()).await).await;
    let queue = queue.expect("it is there");
    for _ in 0..5 {
        let moved = queue.redrive(&DeadFilter::default(), 10).await.expect("a redrive").moved;
        assert_eq!(moved.len(), 10);
    }
    proxy.delay(Duration::from_millis(50));
    say("halfway");
    queue.redrive(&DeadFilter::default(), 100).await.expect("a redrive");
    say("done");
}
