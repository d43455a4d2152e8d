//! The scaling policy, reading by reading.

use super::*;

const STEP: u64 = 15;

/// Feeds a policy one reading after the other, fifteen seconds apart.
struct Feed {
    scale: Scale,
    now: u64,
    handled: u64,
    busy: Duration,
}

impl Feed {
    fn new(settings: ScaleSettings) -> Self {
        let scale = Scale::new(settings).expect("settings are valid");
        Self { scale, now: 0, handled: 0, busy: Duration::ZERO }
    }

    fn read(&mut self, workers: u32, backlog: u64, handled: u64, held: Held) -> ScaleAdvice {
        self.now += STEP;
        self.handled += handled;
        let share = if backlog > 0 { 1.0 } else { 0.5 };
        self.busy += Duration::from_secs(STEP).mul_f64(share * f64::from(workers));
        let reading = ScaleReading {
            backlog,
            oldest_age: None,
            handled: self.handled,
            workers,
            busy: self.busy,
            held,
        };
        let advice = self.scale.observe(reading, Moment::from_millis(self.now * 1000));
        self.scale.invariants();
        advice
    }

    /// One worker that handles 10 a second, with as much arriving.
    fn learned(settings: ScaleSettings) -> Self {
        let mut feed = Self::new(settings);
        for _ in 0..20 {
            feed.read(1, 10, 10 * STEP, Held::Free);
        }
        feed
    }
}

#[test]
fn a_worker_is_asked_for_before_anything_is_known_of_its_speed() {
    let mut feed = Feed::new(ScaleSettings::default());
    let advice = feed.read(0, 100, 0, Held::Free);
    assert_eq!((advice.desired_workers, advice.because), (1, ScaleReason::Learning));
    assert_eq!((advice.time_to_drain, advice.worker_rate), (None, None));
}

#[test]
fn a_backlog_asks_for_workers_that_drain_it_in_time() {
    let mut feed = Feed::learned(ScaleSettings::default());
    let advice = feed.read(1, 6_000, 10 * STEP, Held::Free);
    // 100 a second for the backlog of 6,000 in a minute, at 10 a worker; and what arrives.
    assert!(advice.desired_workers >= 10, "{advice:?}");
    assert!((advice.worker_rate.expect("learned") - 10.0).abs() < 0.1);
}

#[test]
fn where_the_system_behind_is_the_bottleneck_no_more_are_asked_for() {
    for (held, because) in
        [(Held::Downstream, ScaleReason::HeldDown), (Held::Breaker, ScaleReason::BreakerOpen)]
    {
        let mut feed = Feed::learned(ScaleSettings::default());
        for n in 1..20 {
            let advice = feed.read(3, n * 1_000, 10, held);
            assert_eq!((advice.desired_workers, advice.because), (3, because));
        }
        let advice = feed.read(3, 20_000, 10, Held::Free);
        assert!(advice.desired_workers > 3, "the trouble is over: {advice:?}");
    }
}

#[test]
fn silence_scales_to_the_minimum_and_not_at_once() {
    for min in [0, 2] {
        let mut feed = Feed::learned(ScaleSettings { min, ..ScaleSettings::default() });
        let first = feed.read(5, 0, 0, Held::Free);
        assert_ne!(first.because, ScaleReason::Idle);
        let later = (0..10).map(|_| feed.read(5, 0, 0, Held::Free)).last().expect("ten readings");
        assert_eq!((later.desired_workers, later.because), (min, ScaleReason::Idle));
        assert_eq!(later.time_to_drain, Some(Duration::ZERO));
    }
}

#[test]
fn workers_go_only_when_fewer_have_been_enough_for_a_while() {
    let mut feed = Feed::learned(ScaleSettings::default());
    for _ in 0..20 {
        feed.read(8, 80, 60 * STEP, Held::Free);
    }
    let soon = feed.read(8, 80, 10 * STEP, Held::Free);
    assert_eq!((soon.desired_workers, soon.because), (8, ScaleReason::Hysteresis), "{soon:?}");
    let later = (0..20).map(|_| feed.read(8, 0, 10 * STEP, Held::Free)).last().expect("readings");
    assert!(later.desired_workers < 8, "{later:?}");
}

#[test]
fn one_stuck_message_is_no_backlog() {
    let age = Some(Duration::from_secs(30));
    let mut feed = Feed::learned(ScaleSettings { target_age: age, ..ScaleSettings::default() });
    for _ in 0..40 {
        feed.now += STEP;
        let reading = ScaleReading {
            backlog: 1,
            oldest_age: Some(Duration::from_secs(feed.now)),
            handled: feed.handled,
            workers: 1,
            busy: feed.busy + Duration::from_secs(feed.now) / 10,
            held: Held::Free,
        };
        let advice = feed.scale.observe(reading, Moment::from_millis(feed.now * 1000));
        assert!(advice.desired_workers <= 2, "{advice:?}");
    }
}

#[test]
fn age_asks_for_more_than_the_backlog_alone() {
    let ask = |target_age| {
        let mut feed = Feed::learned(ScaleSettings { target_age, ..ScaleSettings::default() });
        let standing = |_| feed.read(1, 900, 10 * STEP, Held::Free);
        (0..20).map(standing).last().expect("twenty readings")
    };
    let (without, with) = (ask(None), ask(Some(Duration::from_secs(20))));
    assert!(with.desired_workers > without.desired_workers);
    assert_eq!((without.because, with.because), (ScaleReason::Backlog, ScaleReason::OldestAge));
}

#[test]
fn a_counter_that_starts_anew_is_no_negative_work() {
    let mut feed = Feed::learned(ScaleSettings::default());
    feed.handled = 0;
    let advice = feed.read(1, 10, 150, Held::Free);
    assert!((advice.arrival_rate - 10.0).abs() < 1.0, "{advice:?}");
}

#[test]
fn settings_out_of_range_are_named() {
    let name = |settings| Scale::new(settings).expect_err("out of range").setting;
    let fine = ScaleSettings::default();
    assert_eq!(name(ScaleSettings { max: 0, ..fine }), "max");
    assert_eq!(name(ScaleSettings { min: 33, ..fine }), "min");
    assert_eq!(name(ScaleSettings { utilisation: 0.0, ..fine }), "utilisation");
    assert_eq!(name(ScaleSettings { utilisation: f64::NAN, ..fine }), "utilisation");
    assert_eq!(name(ScaleSettings { target_drain: Duration::ZERO, ..fine }), "target_drain");
    assert_eq!(name(ScaleSettings { target_age: Some(Duration::ZERO), ..fine }), "target_age");
}

#[test]
fn a_worker_that_has_just_begun_seems_no_faster_than_it_is() {
    let mut feed = Feed::new(ScaleSettings::default());
    // Idle at the first reading, at work right after it.
    feed.read(1, 0, 0, Held::Free);
    for _ in 0..10 {
        let rate = feed.read(1, 1_000, 10 * STEP, Held::Free).worker_rate.expect("learned");
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
    }
    // It ends, and another takes its place, whose time begins anew.
    (feed.handled, feed.busy) = (0, Duration::ZERO);
    let rate = feed.read(1, 1_000, 10 * STEP, Held::Free).worker_rate.expect("learned");
    assert!((rate - 10.0).abs() < 0.1, "{rate}");
}
