//! What the past shows of a worker's counts, its states and the gaps between.

use super::*;
use forebay::{Count, policy::ScaleReason};

fn work(acked: u64, retried: u64) -> Option<Work> {
    let mut counts = Counts::default();
    (counts.acked, counts.retried) = (acked, retried);
    let breaker = Some(Breaker::HalfOpen);
    Some(Work { counts, limit: 8, in_flight: 3, in_hand: 12, breaker })
}

fn reading(acked: u64, retried: u64) -> Reading {
    Reading { states: vec![State::Running], work: work(acked, retried), ..Reading::default() }
}

fn cell(row: &Row, field: &str) -> Cell {
    row[FIELDS.iter().position(|name| *name == field).expect("a field of that name")]
}

fn second(n: u64) -> Moment {
    Moment::from_millis(n * 1000)
}

#[test]
fn counts_become_rates_by_the_time_that_has_passed() {
    let mut history = History::default();
    history.push(reading(100, 0), second(0), 5_000);
    history.push(reading(130, 1), second(2), 7_000);
    // Started anew: counts fall, and nothing is known to be negative.
    history.push(reading(4, 0), second(3), 8_000);
    let rows: Vec<Row> = history.after(0).collect();
    let done: Vec<Cell> = rows.iter().map(|row| cell(row, "done")).collect();
    assert_eq!(done, [Cell::None, Cell::Number(15.0), Cell::Number(0.0)]);
    assert_eq!(cell(&rows[1], "retried"), Cell::Number(0.5));
    assert_eq!(cell(&rows[1], "at_ms"), Cell::Whole(7_000));
    assert_eq!(cell(&rows[1], "breaker"), Cell::Breaker(Breaker::HalfOpen));
}

#[test]
fn it_keeps_fifteen_minutes_and_gives_what_is_new() {
    let mut history = History::default();
    for n in 0..2_000 {
        history.push(reading(n, 0), second(n), n * 1000);
    }
    assert_eq!(history.after(0).count(), KEPT);
    assert_eq!(history.newest(), 2_000);
    let new: Vec<Row> = history.after(1_998).collect();
    let numbers: Vec<Cell> = new.iter().map(|row| cell(row, "seq")).collect();
    assert_eq!(numbers, [Cell::Whole(1_999), Cell::Whole(2_000)]);
    assert_eq!(history.after(2_000).count(), 0);
    assert_eq!(history.after(u64::MAX).count(), 0);
}

#[test]
fn the_worst_is_first_and_each_has_its_own_beginning() {
    let mut history = History::default();
    let push = |history: &mut History, states: &[State], at_ms| {
        let reading = Reading { states: states.to_vec(), ..Reading::default() };
        history.push(reading, Moment::from_millis(at_ms), at_ms);
    };
    push(&mut history, &[State::Paused], 1_000);
    push(&mut history, &[State::Paused, State::BrokerGone], 2_000);
    push(&mut history, &[State::Paused, State::BrokerGone], 3_000);
    assert_eq!(history.states(), [(State::BrokerGone, 2_000), (State::Paused, 1_000)]);
    let row = history.after(2).next().expect("the third");
    assert_eq!(cell(&row, "state"), Cell::State(State::BrokerGone));
    assert_eq!(cell(&row, "broker_up"), Cell::Yes(false));
    push(&mut history, &[State::Running], 4_000);
    push(&mut history, &[State::BrokerGone], 5_000);
    assert_eq!(history.states(), [(State::BrokerGone, 5_000)]);
    // What is noted between two samples begins then.
    history.note(&[State::Paused, State::BrokerGone], 5_400);
    push(&mut history, &[State::Paused], 6_000);
    assert_eq!(history.states(), [(State::Paused, 5_400)]);
}

#[test]
fn a_row_says_what_was_read_in_the_units_of_its_fields() {
    let mut history = History::default();
    let advice = ScaleAdvice {
        desired_workers: 3,
        because: ScaleReason::Backlog,
        time_to_drain: Some(Duration::from_secs(90)),
        arrival_rate: 12.34,
        worker_rate: None,
    };
    let backlog = Backlog {
        ready: Some(Count::exact(40)),
        oldest_age: Some(Duration::from_micros(1_500)),
        ..Backlog::default()
    };
    let handling = Percentiles { p99: Duration::from_micros(20), ..Percentiles::default() };
    let read = Reading {
        backlog: Some(backlog),
        advice: Some(advice),
        handling: Some(handling),
        ..reading(0, 0)
    };
    history.push(read, second(0), 0);
    let json = serde_json::to_value(history.after(0).next().expect("one")).expect("JSON");
    let of = |field: &str| {
        let at = FIELDS.iter().position(|name| *name == field).expect("a field of that name");
        json[at].clone()
    };
    assert_eq!(of("ready"), 40);
    assert_eq!(of("delayed"), serde_json::Value::Null);
    assert_eq!(of("oldest_age_ms"), 1.5);
    assert_eq!(of("handling_p99_ms"), 0.02);
    assert_eq!(of("wait_p50_ms"), serde_json::Value::Null);
    assert_eq!(of("desired_workers"), 3);
    assert_eq!(of("because"), "backlog");
    assert_eq!(of("time_to_drain_ms"), 90_000.0);
    assert_eq!(of("arrival_rate"), 12.3);
    assert_eq!(of("state"), "running");
}
