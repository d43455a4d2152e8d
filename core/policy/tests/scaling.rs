//! The scaling policy beside the usual rule, over nine shapes of load: what each costs in worker
//! hours, how long the worst message waits, how often the number of workers changes.
//!
//! `cargo test -p forebay-policy --test scaling -- --nocapture` prints the tables of
//! docs/autoscaling.md. The usual rule gets the threshold that suits it best for each shape; the
//! policy has one setting for all.

#[allow(dead_code, reason = "only its random numbers are used here")]
mod sim;

mod fleet;

use fleet::{Outcome, PACE, Rule, START_UP, Shape, run};
use forebay_policy::ScaleSettings;
use std::time::Duration;

const MINUTE: f64 = 60.0;
const SEEDS: u64 = 2;
/// The thresholds that are tried: messages of backlog per worker.
const THRESHOLDS: [f64; 10] = [3.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1000.0];

fn settings() -> ScaleSettings {
    ScaleSettings {
        max: fleet::MOST,
        start_up: Duration::from_secs_f64(START_UP),
        ..ScaleSettings::default()
    }
}

fn shapes() -> Vec<Shape> {
    let hour = 60.0 * MINUTE;
    vec![
        Shape::of("step", hour, |t| if (600.0..2400.0).contains(&t) { 150.0 } else { 20.0 }),
        Shape::of("ramp", hour, |t| 10.0 + 190.0 * (t / 2400.0).min(1.0)),
        Shape::of("spike train", hour, |t| if t % 600.0 < 30.0 { 300.0 } else { 15.0 }),
        Shape::of("daily wave", 2.0 * hour, |t| {
            80.0 - 75.0 * (t * std::f64::consts::TAU / 3600.0).cos()
        }),
        Shape { outage: Some((900.0, 1500.0)), ..Shape::of("outage and catch-up", hour, |_| 60.0) },
        Shape { slow: Some((900.0, 2100.0, 50.0)), ..Shape::of("slow database", hour, |_| 80.0) },
        Shape {
            poison: Some((900.0, 1500.0, 0.8)),
            ..Shape::of("poison shower", hour, |t| {
                if (900.0..1500.0).contains(&t) { 250.0 } else { 50.0 }
            })
        },
        Shape::of("silence", hour, |t| if t % 1800.0 < 60.0 { 20.0 } else { 0.0 }),
        Shape::of("steady", hour, |_| 100.0),
    ]
}

/// The mean over a few seeds.
fn outcome(shape: &Shape, rule: &Rule) -> Outcome {
    let runs: Vec<Outcome> = (1..=SEEDS).map(|seed| run(shape, rule, seed)).collect();
    let mean = |of: fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    Outcome {
        worker_hours: mean(|run| run.worker_hours),
        worst_age: mean(|run| run.worst_age),
        steps: mean(|run| f64::from(run.steps)).round() as u32,
        left: runs.iter().map(|run| run.left).max().unwrap_or_default(),
    }
}

/// One number for three: hours beyond what the work itself takes, in tenths; half minutes that the
/// worst message waited; changes by the dozen.
fn score(outcome: &Outcome, least_hours: f64) -> f64 {
    10.0 * (outcome.worker_hours / least_hours - 1.0).max(0.0) / 5.0
        + outcome.worst_age / 30.0
        + f64::from(outcome.steps) / 12.0
}

fn least_hours(shape: &Shape) -> f64 {
    let messages: f64 = (0..shape.seconds as u64).map(|t| (shape.rate)(t as f64)).sum();
    messages / PACE / 3600.0
}

#[test]
fn the_policy_is_on_the_front_for_every_shape_and_ahead_in_all() {
    let (mut ours, mut theirs) = (0.0, 0.0);
    for shape in shapes() {
        let least = least_hours(&shape);
        let policy = outcome(&shape, &Rule::Forebay(settings()));
        println!("\n### {} (the work itself: {least:.2} worker hours)\n", shape.name);
        println!("| rule | worker hours | worst age, s | steps | score |");
        println!("|------|--------------|--------------|-------|-------|");
        let print = |name: &str, outcome: &Outcome| {
            let Outcome { worker_hours, worst_age, steps, .. } = outcome;
            let score = score(outcome, least);
            println!("| {name} | {worker_hours:.2} | {worst_age:.0} | {steps} | {score:.2} |");
        };
        print("**Forebay**", &policy);
        let mut best = f64::INFINITY;
        for threshold in THRESHOLDS {
            let rule = outcome(&shape, &Rule::Threshold(threshold));
            print(&format!("threshold {threshold}"), &rule);
            best = best.min(score(&rule, least));
            assert!(!rule.beats(&policy), "{}: a threshold of {threshold} is better", shape.name);
        }
        ours += score(&policy, least);
        theirs += best;
    }
    println!("\nSum of scores: Forebay {ours:.1}; the best threshold for each shape {theirs:.1}.");
    assert!(ours < theirs, "{ours} against {theirs}");
}
