//! The queue in memory, held to what every adapter is held to: in each order mode, with leases and
//! without.

use forebay_conformance::{Harness, Setup, Stop};
use forebay_contract::OrderSupport;
use forebay_memory::{MemoryOptions, MemoryQueue, MemorySource};

struct Memory {
    order: OrderSupport,
    leases: bool,
}

impl Harness for Memory {
    type Queue = MemoryQueue;
    type Source = MemorySource;
    type Sink = MemoryQueue;
    type Dead = MemoryQueue;

    async fn fresh(&self, setup: &Setup) -> Result<MemoryQueue, Stop> {
        if setup.ordered && self.order == OrderSupport::None {
            return Err(Stop::skip("this queue keeps no order"));
        }
        let options = MemoryOptions::default().order(self.order).max_payload(1 << 20);
        Ok(MemoryQueue::with(if self.leases { options.lease(setup.lease) } else { options }))
    }

    async fn open(&self, queue: &MemoryQueue, _: &Setup) -> Result<MemorySource, Stop> {
        Ok(queue.source())
    }

    async fn sink(&self, queue: &MemoryQueue) -> Result<MemoryQueue, Stop> {
        Ok(queue.clone())
    }

    async fn dead(&self, queue: &MemoryQueue) -> Result<MemoryQueue, Stop> {
        Ok(queue.clone())
    }

    async fn sever(&self, queue: &MemoryQueue) -> Result<(), Stop> {
        queue.sever();
        Ok(())
    }
}

mod unordered {
    use super::*;
    forebay_conformance::conformance_tests!(Memory { order: OrderSupport::None, leases: true });
}

mod key_at_source {
    use super::*;
    forebay_conformance::conformance_tests!(Memory {
        order: OrderSupport::KeyAtSource,
        leases: true
    });
}

mod key_in_lanes {
    use super::*;
    forebay_conformance::conformance_tests!(Memory {
        order: OrderSupport::KeyInLanes,
        leases: true
    });
}

mod without_leases {
    use super::*;
    forebay_conformance::conformance_tests!(Memory {
        order: OrderSupport::KeyAtSource,
        leases: false
    });
}
