//! The token bucket against the promise that it makes.

use forebay_policy::{Moment, TokenBucket};
use proptest::prelude::*;
use std::time::Duration;

fn bucket(rate: f64, burst: u32) -> TokenBucket {
    TokenBucket::new(rate, burst).expect("settings are valid")
}

fn seconds(seconds: u64) -> Moment {
    Moment::ZERO + Duration::from_secs(seconds)
}

#[test]
fn starts_full_and_says_when_the_next_token_comes() {
    let mut bucket = bucket(2.0, 3);
    let first = bucket.admit(5, Moment::ZERO);
    assert_eq!((first.granted, first.again_at), (3, Moment::from_millis(500)));
    assert_eq!(bucket.admit(1, Moment::from_millis(499)).granted, 0);
    assert_eq!(bucket.admit(1, Moment::from_millis(500)).granted, 1);
    let all = bucket.admit(1, seconds(60));
    assert_eq!((all.granted, all.again_at), (1, Moment::NEVER));
}

#[test]
fn a_pause_fills_no_more_than_a_burst() {
    let mut bucket = bucket(1000.0, 7);
    assert_eq!(bucket.admit(100, Moment::NEVER).granted, 7);
}

#[test]
fn slow_rates_neither_stall_nor_drift_when_asked_all_the_time() {
    // One in a hundred seconds, asked every millisecond for ten hours.
    let mut bucket = bucket(0.01, 1);
    let granted: u32 = (0..36_000_000_u64)
        .step_by(7)
        .map(|ms| bucket.admit(1, Moment::from_millis(ms)).granted)
        .sum();
    assert_eq!(granted, 1 + 359);
}

#[test]
fn time_going_backwards_grants_nothing_and_loses_nothing() {
    let mut bucket = bucket(1.0, 1);
    assert_eq!(bucket.admit(1, seconds(10)).granted, 1);
    assert_eq!(bucket.admit(1, seconds(3)).granted, 0);
    assert_eq!(bucket.admit(1, seconds(10)).granted, 0, "the same seconds do not count twice");
    assert_eq!(bucket.admit(1, seconds(11)).granted, 1);
}

#[test]
fn refunds_come_back_as_far_as_they_fit() {
    let mut bucket = bucket(1.0, 4);
    assert_eq!(bucket.admit(3, Moment::ZERO).granted, 3);
    bucket.refund(2);
    bucket.refund(u32::MAX);
    assert_eq!(bucket.admit(9, Moment::ZERO).granted, 4);
}

#[test]
fn a_new_rate_holds_from_now_on_without_a_jump() {
    let mut bucket = bucket(1.0, 10);
    assert_eq!(bucket.admit(10, Moment::ZERO).granted, 10);
    bucket.set_rate(100.0, 1000, seconds(2)).expect("the rate is valid");
    let now = bucket.admit(1000, seconds(2));
    assert_eq!(now.granted, 2, "two seconds at the old rate, and no new burst");
    assert_eq!(bucket.admit(1000, seconds(3)).granted, 100);
    bucket.set_rate(1.0, 5, seconds(20)).expect("the rate is valid");
    assert_eq!(bucket.admit(1000, seconds(20)).granted, 5, "a smaller bucket holds less");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-7, 1e10] {
        let error = TokenBucket::new(rate, 1).expect_err("no such rate");
        assert_eq!(error.setting, "rate", "{error}");
    }
    assert_eq!(TokenBucket::new(1.0, 0).expect_err("no such burst").setting, "burst");
    let mut bucket = bucket(1.0, 1);
    assert!(bucket.set_rate(0.0, 9, Moment::ZERO).is_err());
    assert_eq!((bucket.rate(), bucket.burst()), (1.0, 1), "nothing is changed then");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Never more than `burst + rate * elapsed`, and a greedy taker gets all of that but a fraction.
    #[test]
    fn grants_what_it_promises(
        rate in prop_oneof![0.001..1.0, 1.0..1e3, 1e3..1e7_f64],
        burst in 1_u32..1000,
        steps in prop::collection::vec((0_u64..3_000_000_000, 0_u32..2000, any::<bool>()), 1..200),
    ) {
        let mut bucket = bucket(rate, burst);
        let (mut now, mut granted, mut since_start) = (0_u64, 0_u64, 0_u64);
        for (pause, want, greedy) in steps {
            // Short pauses too: no longer than it takes to fill the bucket.
            let pause = if greedy { pause % ((f64::from(burst) / rate * 1e9) as u64 + 1) } else { pause };
            now += pause;
            let want = if greedy { u32::MAX } else { want };
            let admission = bucket.admit(want, Moment::from_nanos(now));
            bucket.invariants();
            prop_assert!(admission.granted <= want);
            granted += u64::from(admission.granted);
            since_start += pause;
            let most = f64::from(burst) + rate * since_start as f64 / 1e9;
            prop_assert!(granted as f64 <= most * (1.0 + 1e-9) + 1e-6, "{granted} of {most}");
            if admission.granted < want {
                // It kept its word about the next one.
                let mut copy = bucket.clone();
                prop_assert_eq!(copy.admit(1, Moment::from_nanos(admission.again_at.as_nanos() - 1)).granted, 0);
                prop_assert_eq!(copy.admit(1, admission.again_at).granted, 1);
            }
        }
    }

    #[test]
    fn a_greedy_taker_gets_all_but_a_fraction(
        rate in prop_oneof![0.001..1.0, 1.0..1e3, 1e3..1e7_f64],
        burst in 1_u32..1000,
        steps in prop::collection::vec(0.0..1.0_f64, 1..300),
    ) {
        let mut bucket = bucket(rate, burst);
        // Nothing spills over while no pause fills more than what is left above a fraction.
        let longest = f64::from(burst.max(2) - 1) / rate * 1e9;
        let (mut now, mut granted) = (0_u64, u64::from(bucket.admit(u32::MAX, Moment::ZERO).granted));
        for part in steps {
            now += if burst == 1 { 0 } else { (longest * part) as u64 };
            granted += u64::from(bucket.admit(u32::MAX, Moment::from_nanos(now)).granted);
            let least = f64::from(burst) + rate * now as f64 / 1e9 - 1.0;
            prop_assert!(granted as f64 >= least * (1.0 - 1e-9) - 1e-6, "{granted} of {least}");
        }
    }
}
