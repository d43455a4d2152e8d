//! The breaker: each row of its table, what it must rule out, and random schedules against a model.

use forebay_policy::{
    Admission, Breaker, BreakerCause, BreakerSettings, BreakerState, Moment, Signal,
};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const OK: Signal = Signal::Success(MS);
const FAILED: Signal = Signal::Failure(MS);

fn settings() -> BreakerSettings {
    BreakerSettings {
        min_throughput: 4,
        consecutive_failures: None,
        probe_timeout: Duration::from_secs(30),
        ..BreakerSettings::default()
    }
}

fn breaker(settings: BreakerSettings) -> Breaker {
    Breaker::new(settings).expect("settings are valid")
}

fn at(seconds: f64) -> Moment {
    Moment::ZERO + Duration::from_secs_f64(seconds)
}

/// One call, started and ended at once.
fn call(breaker: &mut Breaker, signal: Signal, now: Moment) {
    assert_eq!(breaker.admit(1, now).granted, 1, "{breaker:?}");
    breaker.record(signal, breaker.generation(), now);
}

/// A breaker that opened at zero, and the generation of calls started before.
fn opened() -> (Breaker, u64) {
    let mut breaker = breaker(settings());
    let before = breaker.generation();
    (0..4).for_each(|_| call(&mut breaker, FAILED, at(0.0)));
    assert_eq!(breaker.state(), BreakerState::Open { until: at(5.0) });
    (breaker, before)
}

/// A breaker whose probes are all out since second 5.
fn probing() -> Breaker {
    let (mut breaker, _) = opened();
    assert_eq!(breaker.admit(10, at(5.0)).granted, 3);
    breaker
}

#[test]
fn closed_lets_everything_through_below_the_minimum_throughput() {
    let mut breaker = breaker(settings());
    (0..3).for_each(|_| call(&mut breaker, FAILED, at(0.0)));
    assert_eq!(breaker.admit(100, at(0.0)), Admission::all(100));
    assert_eq!(breaker.closed_until(at(0.0)), None);
}

#[test]
fn closed_opens_at_the_failure_ratio() {
    let mut breaker = breaker(settings());
    (0..4).for_each(|_| call(&mut breaker, OK, at(0.0)));
    (0..3).for_each(|_| call(&mut breaker, FAILED, at(0.0)));
    let transition = breaker.record(FAILED, breaker.generation(), at(1.0)).expect("it opens");
    assert_eq!(transition.cause, BreakerCause::Failures { failed: 4, of: 8 });
    assert_eq!((transition.from, transition.to), (BreakerState::Closed, breaker.state()));
    assert_eq!(transition.to_string(), "closed -> open: 4 of 8 calls failed");
}

#[test]
fn closed_opens_after_failures_in_a_row_if_configured() {
    let mut breaker = breaker(BreakerSettings {
        consecutive_failures: Some(2),
        min_throughput: 99,
        ..settings()
    });
    for signal in [FAILED, OK, FAILED, Signal::Neutral] {
        call(&mut breaker, signal, at(0.0));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
    let transition = breaker.record(Signal::Backpressure, 0, at(0.0)).expect("it opens");
    assert_eq!(transition.cause, BreakerCause::Consecutive(2));
}

#[test]
fn failures_spread_over_a_month_do_not_open_it() {
    let mut breaker = breaker(settings());
    (0..1000).for_each(|hour| call(&mut breaker, FAILED, at(f64::from(hour) * 3600.0)));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn neutral_outcomes_say_nothing() {
    let mut breaker = breaker(settings());
    (0..1000).for_each(|_| call(&mut breaker, Signal::Neutral, at(0.0)));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn open_lets_nothing_through_until_its_end() {
    let (mut breaker, _) = opened();
    assert_eq!(breaker.admit(9, at(4.9)), Admission::none_until(at(5.0)));
    assert_eq!(breaker.closed_until(at(4.9)), Some(at(5.0)));
    assert_eq!(breaker.closed_until(at(5.0)), None, "a probe would be let through");
    let transition = breaker.poll(at(5.0)).expect("it is due");
    assert_eq!((transition.to, transition.cause), (BreakerState::HalfOpen, BreakerCause::Due));
}

#[test]
fn half_open_lets_a_bounded_number_of_probes_through() {
    let mut breaker = probing();
    let more = breaker.admit(10, at(6.0));
    assert_eq!(more, Admission { granted: 0, again_at: at(35.0) });
    breaker.record(OK, breaker.generation(), at(6.0));
    assert_eq!(breaker.admit(10, at(6.0)).granted, 0, "two more successes are enough");
}

#[test]
fn half_open_closes_when_all_probes_succeed() {
    let mut breaker = probing();
    let generation = breaker.generation();
    assert_eq!(breaker.record(OK, generation, at(6.0)), None);
    assert_eq!(breaker.record(OK, generation, at(6.0)), None);
    let transition = breaker.record(OK, generation, at(6.0)).expect("it closes");
    assert_eq!((transition.to, transition.cause), (BreakerState::Closed, BreakerCause::Recovered));
}

#[test]
fn half_open_opens_for_longer_when_a_probe_fails() {
    let mut breaker = probing();
    let transition = breaker.record(FAILED, breaker.generation(), at(6.0)).expect("it opens");
    assert_eq!(transition.cause, BreakerCause::ProbeFailed);
    assert_eq!(breaker.state(), BreakerState::Open { until: at(16.0) });
}

#[test]
fn late_answers_from_before_it_opened_are_not_taken_for_probes() {
    let (mut breaker, before) = opened();
    breaker.admit(3, at(5.0));
    let state = breaker.state();
    for signal in [FAILED, OK, OK, OK, OK, Signal::Backpressure, Signal::Neutral] {
        assert_eq!(breaker.record(signal, before, at(6.0)), None);
        assert_eq!(breaker.state(), state);
    }
    assert_eq!(breaker.admit(3, at(6.0)).granted, 0, "nor do they free a slot");
}

#[test]
fn a_neutral_probe_gives_its_slot_back_without_counting() {
    let mut breaker = probing();
    breaker.record(Signal::Neutral, breaker.generation(), at(6.0));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(breaker.admit(10, at(6.0)).granted, 1);
    breaker.give_back(1, breaker.generation());
    assert_eq!(breaker.admit(10, at(6.0)).granted, 1, "so does one that did not start");
}

#[test]
fn a_probe_given_back_late_frees_no_slot_of_another_generation() {
    let mut breaker = probing();
    let before = breaker.generation();
    assert_eq!(breaker.admit(10, at(35.0)).granted, 3, "the silent ones' slots were taken back");
    breaker.give_back(3, before);
    assert_eq!(breaker.admit(10, at(35.0)).granted, 0, "all slots of this generation are out");
    breaker.give_back(1, breaker.generation());
    assert_eq!(breaker.admit(10, at(35.0)).granted, 1);
}

#[test]
fn probes_that_never_report_do_not_wedge_it() {
    let mut breaker = probing();
    let silent = breaker.generation();
    assert_eq!(breaker.closed_until(at(34.9)), Some(at(35.0)));
    assert_eq!(breaker.admit(10, at(35.0)).granted, 3);
    assert_eq!(breaker.record(FAILED, silent, at(36.0)), None, "too late to count");
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn openings_grow_up_to_the_longest_and_start_afresh_after_a_recovery() {
    let (mut breaker, _) = opened();
    let mut lengths = vec![];
    let mut reopen = |breaker: &mut Breaker| {
        let BreakerState::Open { until } = breaker.state() else { panic!("{breaker:?}") };
        call(breaker, FAILED, until);
        let BreakerState::Open { until: next } = breaker.state() else { panic!("{breaker:?}") };
        lengths.push(next.since(until).as_secs());
        next
    };
    let last = (0..5).map(|_| reopen(&mut breaker)).last().expect("five openings");
    assert_eq!(lengths, [10, 20, 40, 60, 60]);
    (0..3).for_each(|_| call(&mut breaker, OK, last));
    assert_eq!(breaker.state(), BreakerState::Closed);
    // A relapse within the window is no recovery ...
    (0..4).for_each(|_| call(&mut breaker, FAILED, last + Duration::from_secs(9)));
    let BreakerState::Open { until } = breaker.state() else { panic!("{breaker:?}") };
    assert_eq!(until.since(last).as_secs(), 69);
    (0..3).for_each(|_| call(&mut breaker, OK, until));
    // ... and one after it is a new trouble.
    (0..4).for_each(|_| call(&mut breaker, FAILED, until + Duration::from_secs(10)));
    let BreakerState::Open { until: third } = breaker.state() else { panic!("{breaker:?}") };
    assert_eq!(third.since(until).as_secs(), 15);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let wrong = [
        ("window", BreakerSettings { window: MS, ..settings() }),
        ("min_throughput", BreakerSettings { min_throughput: 0, ..settings() }),
        ("failure_ratio", BreakerSettings { failure_ratio: 0.0, ..settings() }),
        ("failure_ratio", BreakerSettings { failure_ratio: f64::NAN, ..settings() }),
        ("consecutive_failures", BreakerSettings { consecutive_failures: Some(0), ..settings() }),
        ("open_for", BreakerSettings { open_for: Duration::ZERO, ..settings() }),
        ("growth", BreakerSettings { growth: 0.5, ..settings() }),
        ("longest_open", BreakerSettings { longest_open: MS, ..settings() }),
        ("probes", BreakerSettings { probes: 0, ..settings() }),
        ("probe_timeout", BreakerSettings { probe_timeout: Duration::ZERO, ..settings() }),
    ];
    for (setting, settings) in wrong {
        assert_eq!(Breaker::new(settings).expect_err(setting).setting, setting);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(u32),
    /// The outcome of one of the running calls.
    End(prop::sample::Index, Signal),
    /// A running call is never heard of again.
    Lose(prop::sample::Index),
    GiveBack,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let signal = prop_oneof![
        3 => Just(OK), 3 => Just(FAILED), 1 => Just(Signal::Backpressure), 1 => Just(Signal::Neutral)
    ];
    let step = prop_oneof![
        4 => (0_u32..6).prop_map(Step::Admit),
        8 => (any::<prop::sample::Index>(), signal).prop_map(|(call, signal)| Step::End(call, signal)),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
        1 => Just(Step::GiveBack),
        3 => prop_oneof![0_u64..500, 0_u64..40_000].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever happens: while half-open, calls that started in its generation and are still
    /// running never exceed the slots; and it always lets something through in the end.
    #[test]
    fn probes_are_bounded_and_nothing_wedges_it(steps in steps(), probes in 1_u32..4) {
        let mut breaker = breaker(BreakerSettings { probes, ..settings() });
        let mut running: Vec<u64> = vec![];
        let mut now = 0_u64;
        for step in steps {
            let moment = Moment::from_millis(now);
            match step {
                Step::Admit(want) => {
                    let admission = breaker.admit(want, moment);
                    prop_assert!(admission.granted <= want);
                    if admission.granted < want {
                        prop_assert!(admission.again_at < Moment::NEVER, "nobody would ask again");
                    }
                    let generation = breaker.generation();
                    running.extend((0..admission.granted).map(|_| generation));
                }
                Step::End(call, signal) if !running.is_empty() => {
                    let started = running.swap_remove(call.index(running.len()));
                    let before = breaker.state();
                    let transition = breaker.record(signal, started, moment);
                    prop_assert_eq!(transition.is_some(), before != breaker.state());
                }
                Step::Lose(call) if !running.is_empty() => {
                    running.swap_remove(call.index(running.len()));
                }
                Step::GiveBack => {
                    if let Some(admitted) = running.pop() {
                        breaker.give_back(1, admitted);
                    }
                }
                Step::Pass(millis) => now += millis,
                Step::End(..) | Step::Lose(_) => {}
            }
            breaker.invariants();
            if breaker.state() == BreakerState::HalfOpen {
                let out = running.iter().filter(|started| **started == breaker.generation()).count();
                prop_assert!(out <= probes as usize, "{} probes: {:?}", out, breaker);
            }
        }
        // However it ended: after the longest wait, calls that succeed close it.
        let mut moment = Moment::from_millis(now);
        for _ in 0..20 {
            moment = moment + Duration::from_secs(60);
            for _ in 0..breaker.admit(probes, moment).granted {
                breaker.record(OK, breaker.generation(), moment);
            }
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
