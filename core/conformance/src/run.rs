//! Runs cases: one under a test's name, or all of them into a report.

use crate::{CaseResult, Stop};
use futures_util::FutureExt;
use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

/// No case may take longer; what it awaits has shorter limits of its own.
const CASE_LIMIT: Duration = Duration::from_secs(30);

/// How one case ended.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// Its name: `retry::is_not_early`.
    pub name: &'static str,
    /// How it ended.
    pub result: CaseResult,
    /// How long it took.
    pub took: Duration,
}

/// How the cases ended, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry for each case that was run or skipped.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.result, Err(Stop::Failed(_))))
    }

    /// The cases that do not apply, each with its reason in the result.
    pub fn skipped(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.result, Err(Stop::Skipped(_))))
    }
}

/// One line for each case, then the sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.result {
                Ok(()) => writeln!(f, "{}: passed in {:.1?}", case.name, case.took)?,
                Err(stop) => writeln!(f, "{}: {stop}", case.name)?,
            }
        }
        let (failed, skipped) = (self.failed().count(), self.skipped().count());
        let passed = self.cases.len() - failed - skipped;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs one case to its end, its limit or its panic.
pub async fn run_case(name: &'static str, case: impl Future<Output = CaseResult>) -> CaseReport {
    let start = Instant::now();
    let case = AssertUnwindSafe(case).catch_unwind();
    let result = match tokio::time::timeout(CASE_LIMIT, case).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Err(Stop::fail(format!("it panicked: {text}")))
        }
        Err(_) => Err(Stop::fail(format!("it did not end within {CASE_LIMIT:?}"))),
    };
    CaseReport { name, result, took: start.elapsed() }
}

/// Runs one case as a test: in a runtime of its own, with real time and two threads. Prints why a
/// case is skipped.
///
/// # Panics
/// When the case fails: that is how a test fails.
#[allow(clippy::print_stderr)] // a test's way of telling people that it did not run
pub fn run_test<F: Future<Output = CaseResult>>(name: &'static str, case: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a test machine can start two threads");
    let report = runtime.block_on(async { run_case(name, case()).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match report.result {
        Ok(()) => {}
        Err(stop @ Stop::Skipped(_)) => eprintln!("{name}: {stop}"),
        Err(Stop::Failed(what)) => panic!("{name}: {what}"),
    }
}
