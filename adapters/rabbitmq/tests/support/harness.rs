//! The suite's harness for RabbitMQ: each source and sink has connections of its own, as if in a process
//! of its own, through a proxy of its case's own.

use super::{CleanUp, open, options, through};
use forebay_conformance::{Harness, Setup, Stop, kill_redrive_halfway, proxy::FaultProxy};
use forebay_rabbitmq::{RabbitOptions, RabbitQueue, RabbitSource};
use std::time::Duration;

pub(crate) struct Rabbit {
    /// How late each byte comes, on each way.
    pub(crate) late: Duration,
}

/// A queue of a case's own, behind a proxy of its own.
pub(crate) struct Case {
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
        proxy.delay(self.late);
        let options = RabbitOptions { url, ..options() }.ordered(setup.ordered);
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
        if !self.late.is_zero() {
            return Err(Stop::skip("killed without faults on the way: `tests/conformance.rs`"));
        }
        kill_redrive_halfway("child_that_redrives", &case.options.queue)
    }
}
