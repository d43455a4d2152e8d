//! A database in trouble: the limit falls and the breaker opens, also when nothing completes; both
//! recover by themselves; and in the end each message has had its effect once.
//!
//! Against a PostgreSQL of the test's own. What is promised is 2 s and 5 s; a machine that runs other
//! tests meanwhile may need longer for everything, so the bounds here are generous ([`FALLS`],
//! [`RECOVERS`]). The exact times on a quiet machine are the program `knee`'s, and in docs/knee.md.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use forebay_bench::knee::{
    bed::Bed,
    run::{Plan, Ran, Span},
    trouble::Trouble,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// One at a time: beside servers whose tables are read as a whole, calls are slow before any trouble, and
/// a limit that has learnt that sees none.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Within what the limit falls, and the breaker opens where it has to.
const FALLS: Duration = Duration::from_secs(10);
/// Within what both are as before.
const RECOVERS: Duration = Duration::from_secs(25);

async fn falls_and_recovers(trouble: Trouble) {
    let _alone = ALONE.lock().await;
    let bed = Arc::new(Bed::start(&["fsync = off"]).await.unwrap());
    let second = Duration::from_secs(1);
    let plan = Plan {
        trouble,
        rate: 150.0,
        calm: 4 * second,
        lasts: Span { least: 3 * second, most: FALLS },
        after: Span { least: second, most: RECOVERS },
        rest: Duration::from_secs(120),
    };
    let ran = plan.run(&bed).await.unwrap();
    let Ran { times, sent, count, .. } = &ran;
    println!("{trouble}: {times:?}, {sent} sent, {count:?}");
    assert!(times.fell.is_some(), "the limit did not fall: {times:?}");
    assert!(times.opened.is_some() || !trouble.opens_the_breaker(), "never opened: {times:?}");
    assert!(times.recovered.is_some(), "neither limit nor breaker came back: {times:?}");
    assert!(*sent > 500, "only {sent} were sent: a poor test");
    assert_eq!((ran.lost(), ran.doubled()), (0, 0), "{sent} sent: {count:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_lowers_the_limit_and_opens_the_breaker() {
    falls_and_recovers(Trouble::Lock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_its_index_lowers_the_limit() {
    falls_and_recovers(Trouble::Plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_of_the_cpu_lowers_the_limit() {
    falls_and_recovers(Trouble::Cpu).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_lowers_the_limit_and_opens_the_breaker() {
    falls_and_recovers(Trouble::Stop).await;
}
