//! The dead-letter fuse: each row of its table, poison against outage, and random schedules.

use forebay_policy::{
    Admission, Fuse, FuseAnswer, FuseEvent, FuseSettings, FuseState, FuseTransition, Moment,
};
use proptest::prelude::*;
use std::time::Duration;

const DEAD: FuseEvent = FuseEvent::DeadLetter;
const SUCCESS: FuseEvent = FuseEvent::Success;

fn at(seconds: u64) -> Moment {
    Moment::ZERO + Duration::from_secs(seconds)
}

fn new(settings: FuseSettings) -> Fuse {
    Fuse::new(settings).expect("settings are valid")
}

/// Wants dead letters, and returns how many were allowed.
fn poison(fuse: &mut Fuse, count: u32, now: Moment) -> u32 {
    (0..count)
        .map(|_| {
            let allowed = fuse.ask(now) == FuseAnswer::Allow;
            fuse.record(DEAD, now);
            u32::from(allowed)
        })
        .sum()
}

/// A fuse that blew at second 0.
fn blown() -> Fuse {
    let mut fuse = Fuse::default();
    assert_eq!(poison(&mut fuse, 100, at(0)), 50);
    assert_eq!(fuse.state(), FuseState::Blown { since: at(0) });
    fuse
}

#[test]
fn a_fresh_worker_with_a_few_poison_messages_keeps_going() {
    let mut fuse = Fuse::default();
    assert_eq!(poison(&mut fuse, 49, at(0)), 49);
    assert_eq!(fuse.state(), FuseState::Intact);
    assert_eq!(fuse.admit(7, at(0)), Admission::all(7));
    assert_eq!(fuse.closed_until(at(0)), None);
}

#[test]
fn poison_among_successes_does_not_blow_it() {
    let mut fuse = Fuse::default();
    for second in 0..1000 {
        fuse.record(SUCCESS, at(second));
        assert_eq!(poison(&mut fuse, 5, at(second)), 5, "at {second} s");
    }
}

#[test]
fn it_blows_when_nearly_nothing_succeeds() {
    let mut fuse = Fuse::default();
    let mut allowed = 0;
    for second in 0..100 {
        allowed += poison(&mut fuse, 19, at(second));
        fuse.record(SUCCESS, at(second));
    }
    // Fifty dead letters are reached in the third second; two successes are no objection.
    assert_eq!(allowed, 50);
}

#[test]
fn it_says_what_it_saw() {
    let mut fuse = Fuse::default();
    fuse.record(SUCCESS, at(0));
    poison(&mut fuse, 49, at(1));
    let blew = fuse.record(DEAD, at(1)).expect("it blows");
    assert_eq!(blew, FuseTransition::Blew { dead: 50, succeeded: 1, run: 50 });
    assert!(blew.to_string().starts_with("blown: 50 messages were to be dead letters and 1 suc"));
}

#[test]
fn a_sudden_end_of_successes_is_noticed_before_the_old_ones_have_aged() {
    let mut fuse = Fuse::default();
    (0..10_000).for_each(|_| assert!(fuse.note_success()));
    assert_eq!(poison(&mut fuse, 10_000, at(1)), 500);
}

#[test]
fn a_queue_too_slow_for_the_window_is_caught_by_the_run() {
    let mut fuse = Fuse::default();
    let allowed: u32 = (0..1000).map(|minute| poison(&mut fuse, 1, at(minute * 600))).sum();
    assert_eq!(allowed, 50);
}

#[test]
fn successes_noted_without_a_clock_count_where_the_last_start_was() {
    let mut fuse = Fuse::default();
    fuse.admit(1, at(1000));
    (0..1000).for_each(|_| assert!(fuse.note_success()));
    assert_eq!(poison(&mut fuse, 100, at(1001)), 100);
}

#[test]
fn blown_it_holds_dead_letters_and_admits_nothing() {
    let mut fuse = blown();
    assert_eq!(fuse.ask(at(9)), FuseAnswer::Hold);
    assert_eq!(fuse.admit(8, at(9)), Admission::none_until(at(10)));
    assert_eq!(fuse.closed_until(at(9)), Some(at(10)));
    assert!(!fuse.note_success());
    assert_eq!(fuse.record(SUCCESS, at(9)), None, "a call from before");
    assert_eq!(fuse.state(), FuseState::Blown { since: at(0) });
}

#[test]
fn blown_it_admits_one_probe_per_interval() {
    let mut fuse = blown();
    assert_eq!(fuse.admit(8, at(10)), Admission { granted: 1, again_at: at(20) });
    assert_eq!(fuse.state(), FuseState::Probing { since: at(0) });
    assert_eq!(fuse.admit(8, at(11)).granted, 0);
    assert_eq!(fuse.admit(8, at(20)).granted, 1, "even if the first has not reported");
    fuse.record(DEAD, at(21));
    assert_eq!(fuse.state(), FuseState::Blown { since: at(0) });
    assert_eq!(fuse.admit(8, at(22)).granted, 0);
}

#[test]
fn a_successful_probe_mends_it_and_counting_starts_afresh() {
    let mut fuse = blown();
    fuse.admit(1, at(10));
    let after = Duration::from_secs(11);
    assert_eq!(fuse.record(SUCCESS, at(11)), Some(FuseTransition::Mended { after }));
    assert_eq!(fuse.admit(8, at(11)), Admission::all(8));
    assert_eq!(poison(&mut fuse, 100, at(11)), 50);
}

#[test]
fn an_operator_mends_it_in_any_state() {
    let mut fuse = blown();
    let after = Duration::from_secs(3);
    assert_eq!(fuse.reset(at(3)), Some(FuseTransition::Reset { after }));
    assert_eq!(fuse.reset(at(3)), None);
    poison(&mut fuse, 50, at(3));
    fuse.admit(1, at(13));
    assert!(fuse.reset(at(14)).is_some());
    assert_eq!(fuse.ask(at(14)), FuseAnswer::Allow);
}

#[test]
fn a_probe_without_another_permit_is_due_again_at_once() {
    let mut fuse = blown();
    assert_eq!(fuse.admit(1, at(10)).granted, 1);
    fuse.give_back(at(10));
    assert_eq!(fuse.state(), FuseState::Blown { since: at(0) });
    assert_eq!(fuse.admit(1, at(11)).granted, 1);
}

#[test]
fn a_queue_of_nothing_but_poison_is_neither_lost_nor_tried_in_a_hot_loop() {
    let mut fuse = Fuse::default();
    let (mut started, mut lost) = (0, 0);
    // A day, asked four times a second for as many as it lets through, up to ten.
    for quarter in 0..4 * 86_400 {
        let now = Moment::from_millis(quarter * 250);
        let granted = fuse.admit(10, now).granted;
        started += granted;
        lost += poison(&mut fuse, granted, now);
    }
    assert_eq!(lost, 50);
    assert!(started <= 60 + 8640, "{started} calls");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let good = FuseSettings::default();
    let wrong = [
        ("window", FuseSettings { window: Duration::ZERO, ..good }),
        ("ratio", FuseSettings { ratio: 1.1, ..good }),
        ("min_run", FuseSettings { min_run: 0, ..good }),
        ("longest_run", FuseSettings { longest_run: 49, ..good }),
        ("probe_interval", FuseSettings { probe_interval: Duration::ZERO, ..good }),
    ];
    for (setting, settings) in wrong {
        assert_eq!(Fuse::new(settings).expect_err(setting).setting, setting);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever happens: no run of dead letters longer than `longest_run` gets through, nor one of
    /// `min_run` without a success ever; and while it is blown, starts keep to the interval.
    #[test]
    fn what_gets_through_is_bounded(
        steps in prop::collection::vec((0_u64..3000, 0_u32..4, 0..100_u32), 1..400),
        min_run in 1_u32..20,
        more in 0_u32..50,
        good in 0_u32..60,
    ) {
        let longest_run = min_run + more;
        let mut fuse = new(FuseSettings { min_run, longest_run, ..FuseSettings::default() });
        let (mut now, mut run, mut any_success) = (0, 0, false);
        let mut last_probe: Option<Moment> = None;
        for (pause, want, roll) in steps {
            now += pause;
            let moment = Moment::from_millis(now);
            let was_blown = fuse.state() != FuseState::Intact;
            let admission = fuse.admit(want, moment);
            prop_assert!(admission.granted <= want);
            if was_blown && admission.granted > 0 {
                prop_assert_eq!(admission.granted, 1);
                if let Some(last) = last_probe {
                    prop_assert!(moment.since(last) >= Duration::from_secs(10));
                }
                last_probe = Some(moment);
            }
            for _ in 0..admission.granted {
                let answer = fuse.ask(moment);
                if roll < good {
                    if !fuse.note_success() {
                        fuse.record(SUCCESS, moment);
                    }
                    (run, any_success) = (0, true);
                } else {
                    fuse.record(DEAD, moment);
                    run += u32::from(answer == FuseAnswer::Allow);
                }
                fuse.invariants();
                prop_assert!(run <= longest_run);
                prop_assert!(any_success || run <= min_run);
            }
            if fuse.state() == FuseState::Intact {
                last_probe = None;
            }
        }
    }
}
