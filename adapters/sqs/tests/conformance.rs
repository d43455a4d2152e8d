//! The contract, case by case, on two emulators of SQS, on standard and on FIFO queues.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{
    Emulator::{ElasticMq, Fauxqs},
    harness::{Faults::Cuts, Sqs, redrive_as_told},
};

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    redrive_as_told(|line| println!("{line}")).await;
}

mod fauxqs {
    use super::{Cuts, Fauxqs, Sqs};

    mod standard {
        use super::{Cuts, Fauxqs, Sqs};
        forebay_conformance::conformance_tests!(Sqs {
            emulator: Fauxqs,
            fifo: false,
            faults: Cuts
        });
    }

    mod fifo {
        use super::{Cuts, Fauxqs, Sqs};
        forebay_conformance::conformance_tests!(Sqs { emulator: Fauxqs, fifo: true, faults: Cuts });
    }
}

mod elasticmq {
    use super::{Cuts, ElasticMq, Sqs};

    mod standard {
        use super::{Cuts, ElasticMq, Sqs};
        forebay_conformance::conformance_tests!(Sqs {
            emulator: ElasticMq,
            fifo: false,
            faults: Cuts
        });
    }

    mod fifo {
        use super::{Cuts, ElasticMq, Sqs};
        forebay_conformance::conformance_tests!(Sqs {
            emulator: ElasticMq,
            fifo: true,
            faults: Cuts
        });
    }
}
