//! The retry policy: closed-form, bounded, and spread.

use forebay_policy::{
    Exhausted, Jitter, RetryDecision, RetryPolicy, RetrySettings, THROTTLE_MAX_AGE,
};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn policy(settings: RetrySettings) -> RetryPolicy {
    RetryPolicy::new(settings).expect("settings are valid")
}

fn plain() -> RetrySettings {
    RetrySettings { jitter: Jitter::None, cap: 60 * SECOND, ..RetrySettings::default() }
}

fn waits(decision: RetryDecision) -> Duration {
    match decision {
        RetryDecision::After(wait) => wait,
        RetryDecision::Exhausted(why) => panic!("exhausted: {why}"),
    }
}

#[test]
fn the_default_is_valid() {
    assert_eq!(policy(RetrySettings::default()), RetryPolicy::default());
}

#[test]
fn waits_grow_by_the_factor_up_to_the_cap() {
    let policy = policy(plain());
    let waits: Vec<_> =
        (1..=9).map(|failed| waits(policy.decide(failed, None, None, 0)).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn full_jitter_reaches_from_zero_to_the_backoff() {
    let policy = policy(RetrySettings { jitter: Jitter::Full, ..plain() });
    assert_eq!(waits(policy.decide(3, None, None, 0)), Duration::ZERO);
    assert_eq!(waits(policy.decide(3, None, None, u64::MAX)), 4 * SECOND);
    assert_eq!(waits(policy.decide(3, None, None, 1 << 63)), 2 * SECOND);
}

#[test]
fn attempts_count_the_first_one() {
    let policy = policy(RetrySettings { max_attempts: 3, ..plain() });
    assert!(matches!(policy.decide(2, None, None, 0), RetryDecision::After(_)));
    let exhausted = RetryDecision::Exhausted(Exhausted::Attempts { made: 3, allowed: 3 });
    assert_eq!(policy.decide(3, None, None, 0), exhausted);
    let once = RetryPolicy::new(RetrySettings { max_attempts: 1, ..plain() });
    let decision = once.expect("settings are valid").decide(1, None, None, 0);
    assert!(matches!(decision, RetryDecision::Exhausted(_)), "one attempt is no retry");
}

#[test]
fn age_ends_it_too_and_an_unknown_age_does_not() {
    let policy = policy(RetrySettings { max_age: Some(10 * SECOND), ..plain() });
    assert!(matches!(policy.decide(1, Some(9 * SECOND), None, 0), RetryDecision::After(_)));
    assert!(matches!(policy.decide(1, None, None, 0), RetryDecision::After(_)));
    let (age, allowed) = (10 * SECOND, 10 * SECOND);
    let exhausted = RetryDecision::Exhausted(Exhausted::Age { age, allowed });
    assert_eq!(policy.decide(1, Some(age), None, 0), exhausted);
    assert_eq!(policy.throttled(1, Some(age), None, 0), exhausted);
}

#[test]
fn a_wait_that_was_asked_for_is_kept_to_up_to_the_cap() {
    let policy = policy(plain());
    assert_eq!(waits(policy.decide(9, None, Some(Duration::ZERO), 7)), Duration::ZERO);
    assert_eq!(waits(policy.decide(1, None, Some(59 * SECOND), 7)), 59 * SECOND);
    assert_eq!(waits(policy.decide(1, None, Some(Duration::MAX), 7)), 60 * SECOND);
}

#[test]
fn throttling_is_bounded_by_age_alone() {
    let policy = policy(plain());
    let young = THROTTLE_MAX_AGE - SECOND;
    assert!(matches!(policy.throttled(u32::MAX, Some(young), None, 0), RetryDecision::After(_)));
    let old = policy.throttled(0, Some(THROTTLE_MAX_AGE), None, 0);
    assert!(matches!(old, RetryDecision::Exhausted(Exhausted::Age { .. })));
}

#[test]
fn throttling_never_loops_hot() {
    let full = policy(RetrySettings { jitter: Jitter::Full, ..plain() });
    for after in [None, Some(Duration::ZERO)] {
        assert!(waits(full.throttled(0, None, after, 0)) >= SECOND / 2, "{after:?}");
    }
    let asked = Some(30 * SECOND);
    assert_eq!(waits(full.throttled(0, None, asked, 0)), 30 * SECOND);
    assert_eq!(waits(full.throttled(0, None, asked, u64::MAX)), 33 * SECOND);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let wrong = [
        ("base", RetrySettings { base: Duration::ZERO, ..plain() }),
        ("base", RetrySettings { base: 61 * SECOND, ..plain() }),
        ("factor", RetrySettings { factor: 0.9, ..plain() }),
        ("factor", RetrySettings { factor: f64::NAN, ..plain() }),
        ("cap", RetrySettings { cap: Duration::MAX, ..plain() }),
        ("max_attempts", RetrySettings { max_attempts: 0, ..plain() }),
        ("max_age", RetrySettings { max_age: Some(Duration::ZERO), ..plain() }),
    ];
    for (setting, settings) in wrong {
        let error = RetryPolicy::new(settings).expect_err(setting);
        assert_eq!(error.setting, setting, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_wait_is_longer_than_the_cap_or_than_its_backoff(
        failed in prop_oneof![0..50_u32, any::<u32>()],
        base in 1..1_000_000_000_u64,
        times in 1..1000_u32,
        factor in prop_oneof![Just(1.0), 1.0..10.0, Just(f64::MAX)],
        after in prop::option::of(any::<u64>()),
        random in any::<u64>(),
    ) {
        let base = Duration::from_nanos(base);
        let settings = RetrySettings {
            base, factor, cap: base * times, max_attempts: u32::MAX, ..RetrySettings::default()
        };
        let (full, bare) = (policy(settings), policy(RetrySettings { jitter: Jitter::None, ..settings }));
        let after = after.map(Duration::from_nanos);
        for after in [None, after] {
            if failed < u32::MAX {
                let (wait, most) = (
                    waits(full.decide(failed, None, after, random)),
                    waits(bare.decide(failed, None, after, random)),
                );
                prop_assert!(wait <= most && most <= base * times);
                prop_assert_eq!(wait, waits(full.decide(failed, None, after, random)), "no state");
            }
            let wait = waits(full.throttled(failed, None, after, random));
            prop_assert!(wait >= base / 2 && wait <= base * times, "{:?}", wait);
        }
    }

    #[test]
    fn more_failures_never_mean_a_shorter_backoff(failed in 0..u32::MAX - 1, factor in 1.0..5.0_f64) {
        let policy = policy(RetrySettings { factor, max_attempts: u32::MAX, ..plain() });
        let at = |failed| waits(policy.decide(failed, None, None, 0));
        prop_assert!(at(failed) <= at(failed + 1));
    }
}
