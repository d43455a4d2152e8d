//! The concurrency limits: permits, each reason to move, and random schedules.

use forebay_policy::{
    AimdSettings, Concurrency, Gradient2Settings, LimitCause, LimitChange, Moment, Signal,
};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn aimd(initial: u32) -> Concurrency {
    Concurrency::aimd(AimdSettings {
        initial,
        latency_threshold: 100 * MS,
        ..AimdSettings::default()
    })
    .expect("settings are valid")
}

fn gradient(initial: u32) -> Concurrency {
    Concurrency::gradient2(Gradient2Settings { initial, ..Gradient2Settings::default() })
        .expect("settings are valid")
}

/// Keeps a limit in full use for some milliseconds, each call taking `took` and ending as `end`
/// says. Calls that ended are replaced at once. Returns the changes.
fn drive(
    limit: &mut Concurrency,
    from: u64,
    millis: u64,
    took: u64,
    end: impl Fn(Duration) -> Signal,
) -> Vec<LimitChange> {
    let mut changes = vec![];
    for now in (from..from + millis).step_by(took as usize) {
        limit.admit(u32::MAX, Moment::from_millis(now));
        let ends = Moment::from_millis(now + took);
        for _ in 0..limit.in_flight() {
            changes.extend(limit.record(end(Duration::from_millis(took)), ends));
        }
    }
    changes
}

#[test]
fn permits_are_taken_and_given_back_one_per_signal() {
    let mut limit = Concurrency::fixed(3);
    assert_eq!(limit.admit(2, Moment::ZERO).granted, 2);
    let rest = limit.admit(2, Moment::ZERO);
    assert_eq!((rest.granted, rest.again_at), (1, Moment::NEVER));
    assert_eq!(limit.record(Signal::Neutral, Moment::ZERO), None);
    limit.give_back(1);
    assert_eq!(limit.in_flight(), 1);
    assert_eq!(limit.admit(9, Moment::ZERO).granted, 2);
}

#[test]
fn a_fixed_limit_moves_only_by_hand() {
    let mut limit = Concurrency::fixed(0);
    assert_eq!(limit.limit(), 1, "zero would stop the worker for good");
    limit.set_limit(8);
    assert_eq!(limit.admit(8, Moment::ZERO).granted, 8);
    assert_eq!(limit.record(Signal::Backpressure, Moment::ZERO), None);
    assert_eq!(limit.tick(Moment::from_millis(9000), Some(9000 * MS)), None);
    limit.set_limit(2);
    assert_eq!((limit.limit(), limit.in_flight()), (2, 7), "what runs runs on");
    assert_eq!(limit.admit(1, Moment::ZERO).granted, 0);
}

#[test]
fn bounds_and_limits_can_be_set_while_it_runs() {
    for mut limit in [aimd(8), gradient(8)] {
        limit.set_bounds(10, 20).expect("the bounds are valid");
        assert_eq!(limit.limit(), 10);
        limit.set_limit(100);
        assert_eq!(limit.limit(), 20);
        assert_eq!(limit.set_bounds(0, 5).expect_err("zero").setting, "min");
        assert_eq!(limit.set_bounds(6, 5).expect_err("upside down").setting, "max");
        assert_eq!(limit.limit(), 20);
    }
}

/// Regression: a fixed limit stayed at the lowest bound that it was ever given.
#[test]
fn a_fixed_limit_comes_back_with_its_bounds() {
    let mut limit = Concurrency::fixed(64);
    for (max, expected) in [(100, 64), (8, 8), (1, 1), (32, 32), (100, 64)] {
        limit.set_bounds(1, max).expect("the bounds are valid");
        assert_eq!(limit.limit(), expected, "at most {max}");
    }
    limit.set_bounds(1, 8).expect("the bounds are valid");
    limit.set_limit(16);
    assert_eq!(limit.limit(), 8, "set by hand, it keeps to them too");
    limit.set_bounds(1, 100).expect("the bounds are valid");
    assert_eq!(limit.limit(), 16);
}

#[test]
fn growth_is_additive_while_the_limit_is_in_use() {
    let mut limit = aimd(8);
    let changes = drive(&mut limit, 0, 1000, 10, Signal::Success);
    assert!(changes.iter().all(|it| it.cause == LimitCause::Growth && it.to == it.from + 1));
    assert!((20..=30).contains(&limit.limit()), "one per 50 ms: {}", limit.limit());
}

#[test]
fn aimd_falls_when_latency_is_above_the_threshold() {
    let mut limit = aimd(64);
    let changes = drive(&mut limit, 0, 400, 200, Signal::Success);
    let change = LimitChange { from: 64, to: 48, cause: LimitCause::Latency };
    assert_eq!(changes.first(), Some(&change), "{changes:?}");
}

#[test]
fn a_burst_of_errors_lowers_the_limit_once() {
    for mut limit in [aimd(64), gradient(64)] {
        drive(&mut limit, 0, 200, 10, Signal::Success);
        let before = limit.limit();
        assert_eq!(limit.admit(64, Moment::from_millis(200)).granted, before.min(64));
        let changes: Vec<_> = (0..64)
            .filter_map(|n| limit.record(Signal::Failure(50 * MS), Moment::from_millis(250 + n)))
            .filter(|change| change.to < change.from)
            .collect();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].cause, LimitCause::Failures);
        assert!(f64::from(limit.limit()) >= 0.7 * f64::from(before), "{changes:?}");
    }
}

#[test]
fn a_burst_of_refusals_lowers_the_limit_once() {
    for mut limit in [aimd(64), gradient(64)] {
        limit.admit(64, Moment::ZERO);
        let changes: Vec<_> = (0..64)
            .filter_map(|n| limit.record(Signal::Backpressure, Moment::from_millis(n)))
            .collect();
        let change = LimitChange { from: 64, to: 48, cause: LimitCause::Backpressure };
        assert_eq!(changes, [change]);
        limit.admit(1, Moment::from_millis(200));
        assert!(limit.record(Signal::Backpressure, Moment::from_millis(200)).is_some());
    }
}

#[test]
fn lasting_failures_bring_it_down_to_its_least() {
    for mut limit in [aimd(64), gradient(64)] {
        drive(&mut limit, 0, 200, 10, Signal::Success);
        drive(&mut limit, 200, 2000, 2, Signal::Failure);
        assert_eq!(limit.limit(), 1);
    }
}

#[test]
fn neutral_outcomes_move_nothing() {
    for mut limit in [aimd(64), gradient(64)] {
        assert_eq!(drive(&mut limit, 0, 5000, 10, |_| Signal::Neutral), []);
    }
}

#[test]
fn a_hang_brings_it_down_within_two_seconds() {
    for mut limit in [aimd(64), gradient(64)] {
        drive(&mut limit, 0, 1000, 10, Signal::Success);
        limit.admit(u32::MAX, Moment::from_millis(1010));
        let before = limit.limit();
        let hung_for = |millis: u64| Some(Duration::from_millis(millis));
        let changes: Vec<_> = (1..=20)
            .filter_map(|n| limit.tick(Moment::from_millis(1010 + n * 100), hung_for(n * 100)))
            .collect();
        assert!(limit.limit() <= before / 8, "{changes:?}");
        assert!(changes.iter().all(|it| it.cause == LimitCause::Hang), "{changes:?}");
    }
}

#[test]
fn one_stuck_call_among_many_that_complete_is_no_hang() {
    for mut limit in [aimd(8), gradient(8)] {
        drive(&mut limit, 0, 1000, 10, Signal::Success);
        for n in 10..100_u64 {
            drive(&mut limit, n * 100, 90, 10, Signal::Success);
            let now = Moment::from_millis(n * 100 + 95);
            let change = limit.tick(now, Some(Duration::from_millis(n * 100)));
            assert!(change.is_none_or(|it| it.cause != LimitCause::Hang), "{change:?}");
        }
    }
}

#[test]
fn calls_that_were_slow_before_a_hang_do_not_hold_it_down_after() {
    let mut limit = aimd(64);
    drive(&mut limit, 0, 200, 10, Signal::Success);
    limit.admit(u32::MAX, Moment::from_millis(210));
    (1..40_u64).for_each(|n| {
        limit.tick(Moment::from_millis(210 + n * 100), Some(Duration::from_millis(n * 100)));
    });
    let now = Moment::from_millis(4200);
    let hung = limit.in_flight();
    assert!((0..hung).all(|_| limit.record(Signal::Success(4000 * MS), now).is_none()));
    drive(&mut limit, 4200, 2000, 10, Signal::Success);
    assert!(limit.limit() >= 32, "half of what it was comes back fast: {}", limit.limit());
}

#[test]
fn a_call_that_started_before_the_last_decrease_counts_for_nothing() {
    for mut limit in [aimd(64), gradient(64)] {
        drive(&mut limit, 0, 200, 10, Signal::Success);
        limit.admit(u32::MAX, Moment::from_millis(210));
        // Half of them fail at once, the other half when their timeout has passed.
        let half = limit.in_flight() / 2;
        (0..half).for_each(|n| {
            let now = Moment::from_millis(260 + 3 * u64::from(n));
            limit.record(Signal::Failure(50 * MS), now);
        });
        let lowered = limit.limit();
        assert!(lowered < 60, "{lowered}");
        while limit.in_flight() > 0 {
            limit.record(Signal::Failure(1790 * MS), Moment::from_millis(2000));
        }
        assert_eq!(limit.limit(), lowered);
    }
}

#[test]
fn gradient_lowers_the_limit_by_a_fifth_again_and_again_to_measure() {
    let mut limit = gradient(8);
    let changes = drive(&mut limit, 0, 1000, 10, Signal::Success);
    let measuring: Vec<_> = changes.iter().filter(|it| it.cause == LimitCause::Measuring).collect();
    assert!(
        measuring.len() >= 6,
        "half a second after the start, three times at least: {changes:?}"
    );
    for pair in measuring[..6].chunks(2) {
        let (down, up) = (pair[0], pair[1]);
        assert_eq!(down.to, down.from * 4 / 5, "{measuring:?}");
        assert_eq!((up.from, up.to), (down.to, down.from), "{measuring:?}");
    }
}

/// Where nothing waits, a measurement says so, and is followed by growth.
#[test]
fn gradient_grows_while_latency_does_not() {
    let mut limit = gradient(8);
    drive(&mut limit, 0, 5000, 10, Signal::Success);
    assert!(limit.limit() > 40, "{}", limit.limit());
}

/// Latency that falls with the load was waiting: what was left off stays off.
#[test]
fn gradient_stays_down_where_the_last_fifth_only_waits() {
    let mut limit = gradient(64);
    let mut changes = vec![];
    for round in 0..200_u64 {
        let (now, took) = (round * 20, u64::from(limit.limit()) / 4);
        changes.extend(drive(&mut limit, now, 20, took.clamp(1, 20), Signal::Success));
    }
    assert!(limit.limit() < 40, "down within 4 s: {changes:?}");
    assert!(changes.iter().all(|it| it.to < 80), "and not up before: {changes:?}");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let aimd = AimdSettings::default();
    let wrong = [
        ("min", AimdSettings { min: 0, ..aimd }),
        ("max", AimdSettings { min: 2, max: 1, ..aimd }),
        ("initial", AimdSettings { initial: 1000, ..aimd }),
        ("latency_threshold", AimdSettings { latency_threshold: Duration::ZERO, ..aimd }),
        ("backoff", AimdSettings { backoff: 1.0, ..aimd }),
    ];
    for (setting, settings) in wrong {
        assert_eq!(Concurrency::aimd(settings).expect_err(setting).setting, setting);
    }
    let gradient = Gradient2Settings::default();
    let wrong = [
        ("min", Gradient2Settings { min: 0, ..gradient }),
        ("initial", Gradient2Settings { initial: 0, ..gradient }),
        ("tolerance", Gradient2Settings { tolerance: 1.0, ..gradient }),
        ("queue", Gradient2Settings { queue: 0, ..gradient }),
        ("smoothing", Gradient2Settings { smoothing: f64::NAN, ..gradient }),
        ("long_window", Gradient2Settings { long_window: 9, ..gradient }),
    ];
    for (setting, settings) in wrong {
        assert_eq!(Concurrency::gradient2(settings).expect_err(setting).setting, setting);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(u32),
    Record(Signal),
    GiveBack(u32),
    Tick(Option<Duration>),
    SetLimit(u32),
    SetBounds(u32, u32),
    Pass(u64),
    Back(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let took = || {
        prop_oneof![0_u64..1_000_000, 0_u64..60_000_000_000, any::<u64>()]
            .prop_map(Duration::from_nanos)
    };
    let signal = prop_oneof![
        6 => took().prop_map(Signal::Success),
        2 => took().prop_map(Signal::Failure),
        1 => Just(Signal::Backpressure),
        1 => Just(Signal::Neutral),
    ];
    let step = prop_oneof![
        6 => prop_oneof![0_u32..50, any::<u32>()].prop_map(Step::Admit),
        20 => signal.prop_map(Step::Record),
        1 => (0_u32..9).prop_map(Step::GiveBack),
        2 => prop::option::of(took()).prop_map(Step::Tick),
        1 => any::<u32>().prop_map(Step::SetLimit),
        1 => (0_u32..40, any::<u32>()).prop_map(|(min, max)| Step::SetBounds(min, max)),
        8 => prop_oneof![0_u64..20_000_000, 0_u64..2_000_000_000].prop_map(Step::Pass),
        1 => (0_u64..1_000_000_000).prop_map(Step::Back),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever happens, clocks that step back included: permits add up, no more are granted than the
    /// limit has, and the limit keeps to its bounds.
    #[test]
    fn permits_add_up(steps in steps(), which in 0..3) {
        let mut limit = match which {
            0 => Concurrency::fixed(8),
            1 => aimd(8),
            _ => gradient(8),
        };
        let (mut now, mut in_flight, mut bounds, mut bounded) = (0_u64, 0_u32, (1, 256), false);
        for step in steps {
            let moment = Moment::from_nanos(now);
            match step {
                Step::Admit(want) => {
                    let room = limit.limit().saturating_sub(in_flight);
                    let granted = limit.admit(want, moment).granted;
                    prop_assert_eq!(granted, want.min(room));
                    in_flight += granted;
                }
                Step::Record(signal) if in_flight > 0 => {
                    let before = limit.limit();
                    match limit.record(signal, moment) {
                        Some(it) => prop_assert_eq!((it.from, it.to), (before, limit.limit())),
                        None => prop_assert_eq!(before, limit.limit()),
                    }
                    in_flight -= 1;
                }
                Step::Record(_) => {}
                Step::GiveBack(unused) => {
                    let unused = unused.min(in_flight);
                    limit.give_back(unused);
                    in_flight -= unused;
                }
                Step::Tick(oldest) => {
                    limit.tick(moment, oldest.filter(|_| in_flight > 0));
                }
                Step::SetLimit(to) => limit.set_limit(to),
                Step::SetBounds(min, max) => {
                    if limit.set_bounds(min, max).is_ok() {
                        (bounds, bounded) = ((min, max), true);
                    }
                }
                Step::Pass(nanos) => now += nanos,
                Step::Back(nanos) => now = now.saturating_sub(nanos),
            }
            limit.invariants();
            prop_assert_eq!(limit.in_flight(), in_flight);
            if which > 0 || bounded {
                prop_assert!((bounds.0..=bounds.1).contains(&limit.limit()));
            }
        }
    }
}
