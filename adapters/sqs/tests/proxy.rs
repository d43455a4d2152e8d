//! The contract once more, on a network that is slow, and that resets, refuses and goes silent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{
    Emulator::Fauxqs,
    harness::{Faults::All, Sqs, redrive_as_told},
};

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    redrive_as_told(|line| println!("{line}")).await;
}

mod standard {
    use super::{All, Fauxqs, Sqs};
    forebay_conformance::conformance_tests!(Sqs { emulator: Fauxqs, fifo: false, faults: All });
}

mod fifo {
    use super::{All, Fauxqs, Sqs};
    forebay_conformance::conformance_tests!(Sqs { emulator: Fauxqs, fifo: true, faults: All });
}
