//! Takes the samples: a look a second at what is known anyway.

use super::live::millis;
use crate::admin::{
    Admin, View,
    history::{Breaker, EVERY, Percentiles, Reading, State, Work},
};
use forebay::{
    Status, WorkerPhase,
    policy::{BreakerState, Moment},
};
use std::time::{Instant, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// Follows the worker until it is dropped.
pub(in crate::admin) async fn sample(admin: Admin) {
    let started = Instant::now();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let reading = read(&admin);
        let (now, at_ms) = (Moment::ZERO + started.elapsed(), millis(SystemTime::now()));
        admin.history(|history| history.push(reading, now, at_ms));
    }
}

fn read(admin: &Admin) -> Reading {
    let (view, status) = (admin.view(), admin.control().map(forebay::Control::status));
    let latencies = admin.telemetry().latencies();
    Reading {
        states: states(status.as_ref(), &view, !admin.telemetry().unsent().is_empty()),
        work: status.as_ref().map(work),
        wait: latencies.wait().map(percentiles),
        handling: latencies.handling().map(percentiles),
        backlog: view.unread.is_none().then(|| view.backlog().copied()).flatten(),
        advice: view.advice,
    }
}

fn percentiles(of: forebay_telemetry::Percentiles) -> Percentiles {
    let forebay_telemetry::Percentiles { p50, p95, p99, .. } = of;
    Percentiles { p50, p95, p99 }
}

/// All that is the matter.
pub(super) fn states(status: Option<&Status>, view: &View, unsent: bool) -> Vec<State> {
    let trouble = view.vital.as_ref().and_then(|vital| vital.trouble);
    let broker_gone = view.unread.is_some() || trouble.is_some();
    let mut states = Vec::new();
    if let Some(status) = status {
        let (phase, breaker) = (status.phase, status.gate.breaker);
        let each = [
            (State::Stopped, phase == WorkerPhase::Stopped),
            (State::Cancelling, phase == WorkerPhase::Cancelling),
            (State::Draining, phase == WorkerPhase::Draining),
            (State::FuseBlown, status.fuse_blown),
            (State::BreakerOpen, matches!(breaker, Some(BreakerState::Open { .. }))),
            (State::BreakerProbing, breaker == Some(BreakerState::HalfOpen)),
            (State::Paused, status.paused),
        ];
        states.extend(each.into_iter().filter(|(_, is_so)| *is_so).map(|(state, _)| state));
    }
    if broker_gone {
        states.push(State::BrokerGone);
    }
    if states.is_empty() {
        states.push(if status.is_some() { State::Running } else { State::Scaling });
    }
    if unsent {
        states.push(State::Unsent);
    }
    states
}

fn work(status: &Status) -> Work {
    let gate = &status.gate;
    let breaker = gate.breaker.map(|state| match state {
        BreakerState::Closed => Breaker::Closed,
        BreakerState::Open { .. } => Breaker::Open,
        BreakerState::HalfOpen => Breaker::HalfOpen,
    });
    Work {
        counts: status.counts,
        limit: gate.limit,
        in_flight: gate.in_flight,
        in_hand: status.in_hand as u64,
        breaker,
    }
}
