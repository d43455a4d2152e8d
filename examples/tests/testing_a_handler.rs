//! Run with: cargo test -p forebay-examples --test testing_a_handler
//!
//! Testing a handler without a broker and without waiting: script some messages, run the handler on
//! them, and ask what became of each. Under `start_paused`, hours of retries take no time.

use forebay::{DeadReason, Failure, FailureExt, Job, testing};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[derive(serde::Deserialize)]
struct Payment {
    amount: String,
}

/// The handler under test.
async fn pay(job: Job<Payment>) -> Result<(), Failure> {
    let amount: u32 = job.payload.amount.parse().permanent()?;
    if amount == 0 {
        return Err(Failure::discard("nothing to pay"));
    }
    if job.attempt() < 3 {
        return Err(Failure::transient("the bank does not answer"));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn each_message_ends_as_it_should() {
    let messages = [
        json!({ "amount": "100" }),
        json!({ "amount": "0" }),
        json!({ "amount": "a lot" }),
        json!({ "sum": 100 }),
    ];
    let run = testing::run(pay, messages).await;

    run.assert_acked(0);
    assert_eq!(run.retries(0), 2, "it worked at the third attempt");
    run.assert_dropped(1);
    assert_eq!(run.assert_dead(2, "invalid digit"), DeadReason::Permanent);
    assert_eq!(run.assert_dead(3, "missing field `amount`"), DeadReason::Undecodable);
}

/// With settings, state, or a batch handler of your own, build the worker yourself.
#[tokio::test(start_paused = true)]
async fn shared_state_is_given_by_the_builder() {
    type Paid = Arc<Mutex<Vec<String>>>;
    async fn note(job: Job<Payment, Paid>) -> Result<(), Failure> {
        job.state().lock().unwrap().push(job.payload.amount.clone());
        Ok(())
    }

    let paid = Paid::default();
    let build = |builder: forebay::Builder<_>| builder.state(paid.clone()).handler(note);
    let run = testing::run_with(build, [json!({ "amount": "7" })]).await;

    run.assert_acked(0);
    assert_eq!(*paid.lock().unwrap(), ["7"]);
}
