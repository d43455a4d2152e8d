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
                a_lost_worker_acknowledges_nothing,
                done_above_a_gap_stays_done,
                one_stale_receipt_does_not_spoil_its_batch,
                two_calls_at_once_do_not_meet,
                a_stale_receipt_settles_nothing,
                settling_again_copies_nothing,
                a_cancelled_settlement_can_be_repeated,
                a_cut_while_copying_loses_nothing,
            }
            retry {
                is_not_early,
                raises_the_attempt_and_keeps_the_rest,
                postponing_counts_no_attempt,
                attempts_survive_a_new_process,
                a_delay_survives_a_new_process,
                releasing_records_nothing,
                a_long_delay_blocks_no_shorter_one,
            }
            lease {
                unsettled_returns_when_its_lease_ends,
                an_ended_lease_is_an_interruption,
                a_receipt_goes_stale_with_its_lease,
                extending_keeps_it_hidden,
                extending_counts_from_now,
            }
            dead {
                keeps_everything,
                survives_a_new_process,
                once_after_delayed_retries,
                are_listed_in_pages,
                purge_takes_only_what_matches,
            }
            redrive {
                starts_afresh_and_forgets_nothing,
                moves_only_what_is_meant,
                given_up_halfway_loses_nothing,
                killed_halfway_loses_nothing,
            }
            order {
                holds_within_a_key,
                holds_across_retries_and_releases,
                goes_on_after_a_dead_letter,
                a_hot_key_starves_nobody,
                a_key_is_with_one_worker_at_a_time,
            }
            receive {
                waits_on_an_empty_queue,
                is_woken_by_a_publish,
                giving_up_loses_nothing,
                no_more_than_wanted,
                two_workers_share_the_queue,
                every_byte_arrives,
                a_cut_connection_loses_nothing,
            }
            close {
                gives_back_what_it_had,
                receive_says_closed,
            }
            backlog {
                tells_the_truth,
                tells_the_oldest_age,
            }
            sink {
                results_answer_by_index,
                a_refused_message_fails_alone,
                a_delayed_message_waits,
                identity_is_kept_for_life,
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
