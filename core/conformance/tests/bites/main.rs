//! The suite bites: a source that breaks the contract in one way fails the case that is there for it.
//!
//! Each test wraps the queue in memory, which keeps the whole contract, and breaks one promise; the
//! wrapper without a fault passes them all, so it is the fault that is noticed.

mod harness;
mod others;
mod source;

use forebay_conformance::{CASES, run_all};
use harness::{Broken, Fault};

macro_rules! bites {
    ($($name:ident: $fault:ident => $case:literal,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            assert!(CASES.contains(&$case), "there is no case {}", $case);
            let report = run_all(&Broken::new(Fault::$fault), $case).await;
            assert_eq!(report.failed().count(), 1, "{:?} went unnoticed: {report}", Fault::$fault);
        })*

        const NOTICED_BY: &[&str] = &[$($case),*];
    };
}

bites! {
    acks_on_drop: AcksOnDrop => "settle::forgetting_a_delivery_is_no_ack",
    acks_on_hand_over: AcksOnHandOver => "settle::a_lost_worker_acknowledges_nothing",
    forgets_what_is_above_a_gap: ForgetsAboveGap => "settle::done_above_a_gap_stays_done",
    spoils_the_batch: SpoilsBatch => "settle::one_stale_receipt_does_not_spoil_its_batch",
    minds_one_call_at_a_time: MindsOneCall => "settle::two_calls_at_once_do_not_meet",
    obeys_stale_receipts: ObeysStale => "settle::a_stale_receipt_settles_nothing",
    obeys_lost_leases: ObeysStale => "lease::a_receipt_goes_stale_with_its_lease",
    copies_twice: CopiesTwice => "settle::settling_again_copies_nothing",
    copies_twice_when_cancelled: CopiesTwice => "settle::a_cancelled_settlement_can_be_repeated",
    settles_before_it_copies: SettlesFirst => "settle::a_cut_while_copying_loses_nothing",
    retries_early: RetriesEarly => "retry::is_not_early",
    forgets_history: ForgetsHistory => "retry::raises_the_attempt_and_keeps_the_rest",
    forgets_history_of_the_dead: ForgetsHistory => "dead::keeps_everything",
    counts_postponed: CountsPostponed => "retry::postponing_counts_no_attempt",
    counts_released: CountsReleased => "retry::releasing_records_nothing",
    counts_in_memory: CountsInMemory => "retry::attempts_survive_a_new_process",
    waits_in_memory: WaitsInMemory => "retry::a_delay_survives_a_new_process",
    waits_in_line: WaitsInLine => "retry::a_long_delay_blocks_no_shorter_one",
    tells_a_late_lease: TellsLateLease => "lease::unsettled_returns_when_its_lease_ends",
    hides_interruptions: HidesInterruptions => "lease::an_ended_lease_is_an_interruption",
    extends_nothing: ExtendsNothing => "lease::extending_keeps_it_hidden",
    extends_by_adding: ExtendsByAdding => "lease::extending_counts_from_now",
    dies_thrice: DiesThrice => "dead::once_after_delayed_retries",
    buries_in_memory: SurvivesNothing => "dead::survives_a_new_process",
    lists_everything_on_a_page: IgnoresFilter => "dead::are_listed_in_pages",
    purges_everything: IgnoresFilter => "dead::purge_takes_only_what_matches",
    redrives_everything: IgnoresFilter => "redrive::moves_only_what_is_meant",
    redrives_under_a_new_name: RedrivesRenamed => "redrive::starts_afresh_and_forgets_nothing",
    renames_the_redriven: RedrivesRenamed => "sink::identity_is_kept_for_life",
    deletes_before_it_moves: DeletesFirst => "redrive::given_up_halfway_loses_nothing",
    ignores_keys: IgnoresKeys => "order::holds_within_a_key",
    shares_out_keys: IgnoresKeys => "order::a_key_is_with_one_worker_at_a_time",
    retries_to_the_end: RetriesToTheEnd => "order::holds_across_retries_and_releases",
    stops_at_a_dead_letter: StopsAtDead => "order::goes_on_after_a_dead_letter",
    starves_others: StarvesOthers => "order::a_hot_key_starves_nobody",
    returns_nothing: ReturnsNothing => "receive::waits_on_an_empty_queue",
    sleeps_too_long: SleepsTooLong => "receive::is_woken_by_a_publish",
    loses_on_cancel: LosesOnCancel => "receive::giving_up_loses_nothing",
    gives_more_than_wanted: IgnoresWant => "receive::no_more_than_wanted",
    gives_to_everybody: GivesToEverybody => "receive::two_workers_share_the_queue",
    cuts_large_payloads: CutsPayload => "receive::every_byte_arrives",
    loses_when_cut: LosesWhenCut => "receive::a_cut_connection_loses_nothing",
    keeps_on_close: KeepsOnClose => "close::gives_back_what_it_had",
    does_not_say_closed: KeepsOnClose => "close::receive_says_closed",
    counts_wrongly: CountsWrongly => "backlog::tells_the_truth",
    knows_no_age: CountsWrongly => "backlog::tells_the_oldest_age",
    answers_in_reverse: AnswersInReverse => "sink::results_answer_by_index",
    refuses_all: RefusesAll => "sink::a_refused_message_fails_alone",
    publishes_at_once: PublishesAtOnce => "sink::a_delayed_message_waits",
    acks_nothing: AcksNothing => "settle::acked_never_returns",
    drops_nothing: AcksNothing => "settle::dropped_never_returns",
}

/// Without a fault the wrapper passes: so it is the faults that are noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrapper_without_a_fault_passes() {
    let report = run_all(&Broken::new(Fault::None), "").await;
    assert_eq!(report.failed().count(), 0, "{report}");
    assert!(report.skipped().count() <= 2, "{report}");
}

#[test]
fn every_case_has_been_seen_to_fail() {
    // Needs a process to kill; it counts as `redrive::given_up_halfway_loses_nothing` does.
    let killed = "redrive::killed_halfway_loses_nothing";
    let unseen: Vec<_> =
        CASES.iter().filter(|case| !NOTICED_BY.contains(case) && **case != killed).collect();
    assert!(unseen.is_empty(), "no fault shows that these can fail: {unseen:?}");
}
