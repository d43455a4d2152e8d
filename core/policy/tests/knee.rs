//! The adaptive limits beside the best fixed one, on twelve service curves: within a fifth of its
//! throughput and of its p99.
//!
//! The best one is that of the greatest power, throughput divided by p99 (L. Kleinrock's measure, with
//! p99 for the mean), found on a grid in the same simulator with the same seed. A worker with a backlog
//! has no other: throughput alone would take any limit beyond the knee of a pool, latency alone a limit
//! of one. `cargo test -p forebay-policy --test knee -- --nocapture` prints the tables of docs/knee.md.

#![allow(clippy::print_stdout, reason = "the tables of a page")]

#[allow(dead_code, reason = "each test file uses some of it")]
mod sim;

use forebay_policy::{AimdSettings, Concurrency, Gradient2Settings};
use sim::{Event, Scenario, Service, run};
use std::time::Duration;

const GRID: [u32; 16] = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 100];
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// How far off the best either may be.
const FIFTH: f64 = 0.2;

struct Curve {
    name: &'static str,
    scenario: Scenario,
    /// From when on it counts, in seconds.
    from: f64,
}

/// What a limit came to.
#[derive(Clone, Copy)]
struct Came {
    limit: f64,
    throughput: f64,
    p99: f64,
}

impl Came {
    fn power(&self) -> f64 {
        self.throughput / self.p99
    }
}

impl Curve {
    fn of(name: &'static str, service: Service, noise: f64, seconds: f64) -> Self {
        let scenario = Scenario { noise, seconds, ..Scenario::of(service) };
        Self { name, scenario, from: seconds / 2.0 }
    }

    fn run(&self, limit: Concurrency) -> Came {
        let seen = run(&self.scenario, limit);
        let (from, to) = (self.from, self.scenario.seconds);
        let (throughput, p99) = (seen.throughput(from, to), seen.p99(from, to));
        Came { limit: seen.mean_limit(from, to), throughput, p99 }
    }

    fn best_fixed(&self) -> Came {
        GRID.map(|limit| self.run(Concurrency::fixed(limit)))
            .into_iter()
            .max_by(|a, b| a.power().total_cmp(&b.power()))
            .expect("the grid is not empty")
    }

    /// An AIMD limit whose owner knows how long a call takes at the knee.
    fn aimd(best: Came) -> Concurrency {
        let usual = best.limit / best.throughput;
        let latency_threshold = Duration::from_secs_f64(usual * 1.13);
        Concurrency::aimd(AimdSettings { latency_threshold, ..AimdSettings::default() })
            .expect("settings are valid")
    }
}

fn gradient() -> Concurrency {
    Concurrency::gradient2(Gradient2Settings::default()).expect("settings are valid")
}

/// Curves whose calls vary as a database's do: by a log-normal factor.
fn usual() -> Vec<Curve> {
    let pool = |servers, seconds| Service::Pool { servers, seconds };
    let mut drift = Curve::of("slow drift", pool(20, 0.02), 0.3, 90.0);
    drift.scenario = drift.scenario.with(Event::Drifts(20.0, 80.0, 3.0));
    let contention = |sigma, kappa| Service::Contention { sigma, kappa, seconds: 0.01 };
    let collapse = Service::Collapse { knee: 20.0, steep: 1.0, seconds: 0.02 };
    let convoy = Service::Convoy { beside: 0.02, locked: 0.002, handing: 0.02 };
    vec![
        Curve::of("linear, then flat", Service::Slowdown { knee: 20.0, seconds: 0.02 }, 0.3, 40.0),
        Curve::of("pool with a queue", pool(20, 0.02), 0.3, 40.0),
        Curve::of("large pool", pool(100, 0.02), 0.3, 40.0),
        Curve::of("contention", contention(0.05, 0.0), 0.3, 60.0),
        Curve::of("coherence", contention(0.03, 0.001), 0.3, 60.0),
        Curve::of("collapse", collapse, 0.3, 40.0),
        Curve::of("high fixed latency", pool(50, 0.5), 0.1, 240.0),
        Curve::of("lock convoy", convoy, 0.2, 40.0),
        drift,
    ]
}

/// Curves whose calls vary so much that a window's mean says little.
fn noisy() -> Vec<Curve> {
    vec![
        Curve::of("exponential", Service::Queue { servers: 20, seconds: 0.02 }, 0.0, 60.0),
        Curve::of("heavy tail", Service::Pool { servers: 20, seconds: 0.02 }, 1.2, 80.0),
    ]
}

/// Runs the limit on each curve with each seed, and says where it is too far off.
fn compare(curves: Vec<Curve>, limit: impl Fn(Came) -> Concurrency) {
    println!("| curve | best fixed | limit | throughput | p99 |\n|---|---|---|---|---|");
    let mut off = vec![];
    for mut curve in curves {
        let mut rows = vec![];
        for seed in SEEDS {
            curve.scenario.seed = seed;
            let best = curve.best_fixed();
            let came = curve.run(limit(best));
            let (throughput, p99) = (came.throughput / best.throughput, came.p99 / best.p99);
            rows.push((best.limit, came.limit, throughput, p99));
            if throughput < 1.0 - FIFTH || p99 > 1.0 + FIFTH {
                off.push(format!("{}, seed {seed}: {throughput:.2}, {p99:.2}", curve.name));
            }
        }
        let of = |value: fn(&(f64, f64, f64, f64)) -> f64| {
            let (least, most) = rows
                .iter()
                .map(value)
                .fold((f64::MAX, 0.0_f64), |range, value| (range.0.min(value), range.1.max(value)));
            (least, most)
        };
        let (best, came) = (of(|row| row.0), of(|row| row.1));
        let (throughput, p99) = (of(|row| row.2), of(|row| row.3));
        println!(
            "| {} | {} to {} | {:.1} to {:.1} | {:.2} to {:.2} | {:.2} to {:.2} |",
            curve.name, best.0, best.1, came.0, came.1, throughput.0, throughput.1, p99.0, p99.1
        );
    }
    assert!(off.is_empty(), "throughput and p99 beside the best fixed limit's: {off:#?}");
}

#[test]
fn gradient_ends_within_a_fifth_of_the_best_fixed_limit() {
    compare(usual().into_iter().chain(noisy()).collect(), |_| gradient());
}

/// Where its owner can say what latency is too much. Calls that vary more than that make it fall by
/// chance, and how long they take must stay as it was: so not where it drifts.
#[test]
fn aimd_ends_within_a_fifth_of_the_best_fixed_limit_where_latency_is_known() {
    let curves = usual().into_iter().filter(|curve| curve.name != "slow drift").collect();
    compare(curves, Curve::aimd);
}

/// With three servers a step of one call is a third: the limit is at the best one, or at the next.
#[test]
fn gradient_is_at_most_one_call_off_a_small_pool() {
    for seed in SEEDS {
        let service = Service::Pool { servers: 3, seconds: 0.02 };
        let mut curve = Curve::of("small pool", service, 0.3, 40.0);
        curve.scenario.seed = seed;
        let (best, came) = (curve.best_fixed(), curve.run(gradient()));
        let off = (came.limit - best.limit).abs();
        assert!(off <= 1.5, "seed {seed}: {} beside {}", came.limit, best.limit);
        assert!(came.throughput > 0.95 * best.throughput, "seed {seed}: {}", came.throughput);
    }
}

/// With two servers each step is a half or more. It stays at two, though with one call fewer there is room.
#[test]
fn gradient_stays_at_a_knee_of_two_calls() {
    for seed in 1..=6 {
        let service = Service::Pool { servers: 2, seconds: 0.001_3 };
        let mut curve = Curve::of("two servers", service, 0.4, 200.0);
        (curve.scenario.seed, curve.scenario.wander, curve.from) = (seed, 0.05, 15.0);
        let (best, came) = (curve.best_fixed(), curve.run(gradient()));
        let (throughput, p99) = (came.throughput / best.throughput, came.p99 / best.p99);
        println!("two servers, seed {seed}: {:.1}, {throughput:.2}, {p99:.2}", came.limit);
        assert_eq!(best.limit, 2.0, "seed {seed}");
        assert!((1.8..=2.3).contains(&came.limit), "seed {seed}: {}", came.limit);
        assert!(throughput > 0.9 && p99 < 1.1, "seed {seed}: {throughput:.2}, {p99:.2}");
    }
}

/// What a system does by itself is taken for no queue, and its absence for no room: as a small database
/// whose calls, all together, take a tenth more or less for a fraction of a second. By Gunther's law with a
/// contention of a quarter, power is greatest at three.
#[test]
fn gradient_finds_the_knee_of_an_unsteady_system() {
    for seed in 1..=12 {
        let service = Service::Contention { sigma: 0.25, kappa: 0.0, seconds: 0.000_6 };
        let mut curve = Curve::of("unsteady", service, 0.4, 40.0);
        (curve.scenario.seed, curve.scenario.wander, curve.from) = (seed, 0.1, 15.0);
        let came = curve.run(gradient());
        println!("unsteady, seed {seed}: {:.1}", came.limit);
        assert!((2.0..=5.0).contains(&came.limit), "seed {seed}: {}", came.limit);
    }
}

/// A limit that begins far above the knee, or is left there by a system that has lost capacity, comes
/// down by itself: within seconds where calls take milliseconds.
#[test]
fn gradient_comes_down_from_far_above() {
    let pool = |servers, seconds| Service::Pool { servers, seconds };
    for (name, service, noise, initial, within) in [
        ("small database", pool(3, 0.000_4), 0.6, 8, 10.0),
        ("small database, far above", pool(3, 0.000_4), 0.6, 64, 20.0),
        ("pool", pool(20, 0.02), 0.3, 64, 15.0),
        ("pool, far above", pool(20, 0.02), 0.3, 256, 40.0),
        ("large pool", pool(100, 0.02), 0.3, 256, 10.0),
    ] {
        let mut curve = Curve::of(name, service, noise, within + 10.0);
        curve.from = within;
        for seed in SEEDS {
            curve.scenario.seed = seed;
            let settings = Gradient2Settings { initial, ..Gradient2Settings::default() };
            let best = curve.best_fixed();
            let came = curve.run(Concurrency::gradient2(settings).expect("settings are valid"));
            println!(
                "{name}, seed {seed}: {:.1} after {within} s, best {}",
                came.limit, best.limit
            );
            assert!(came.limit <= 1.3 * best.limit, "{name}, seed {seed}: {}", came.limit);
        }
    }
}
