//! The list of cases, once: tests, [`run_all`] and [`CASES`] are all made of it.

use crate::{Harness, Report, run_case};

/// Hands the list of cases to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_case {
    ([$($callback:tt)+] $($argument:tt)*) => {
        $($callback)+! {
            [$($argument)*]
            settle {
                acked_never_returns,
                dropped_never_returns,
                forgetting_a_delivery_is_no_ack,
            }
            retry {
                is_not_early,
                raises_the_attempt_and_keeps_the_history,
            }
        }
    };
}

/// Makes one test of every case, named after it, in modules named after the themes.
///
/// The argument is an expression for the [`Harness`](crate::Harness), evaluated for each test
/// inside a multi-threaded tokio runtime. Call it once in a module (or file) of its own.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::for_each_case!([$crate::__tests] $harness);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$harness:expr] $($theme:ident { $($case:ident,)* })*) => {
        $(mod $theme {
            #[allow(unused_imports)] // not every harness expression names something
            use super::*;
            $(#[test]
            fn $case() {
                let name = concat!(stringify!($theme), "::", stringify!($case));
                $crate::run_test(name, async || {
                    let harness = $harness;
                    $crate::cases::$theme::$case(&harness).await
                });
            })*
        })*
    };
}

macro_rules! names {
    ([] $($theme:ident { $($case:ident,)* })*) => {
        &[$($(concat!(stringify!($theme), "::", stringify!($case)),)*)*]
    };
}

/// The names of all cases.
pub const CASES: &[&str] = for_each_case!([names]);

macro_rules! run_each {
    ([($harness:expr, $wanted:expr, $report:expr)]
     $($theme:ident { $($case:ident,)* })*) => {
        $($({
            let name = concat!(stringify!($theme), "::", stringify!($case));
            if $wanted(name) {
                let case = crate::cases::$theme::$case($harness);
                $report.cases.push(run_case(name, case).await);
            }
        })*)*
    };
}

/// Runs every case whose name contains `filter` (empty: all), one after the other.
pub async fn run_all<H: Harness>(harness: &H, filter: &str) -> Report {
    let mut report = Report::default();
    let wanted = |name: &str| name.contains(filter);
    for_each_case!([run_each](harness, wanted, report));
    report
}
