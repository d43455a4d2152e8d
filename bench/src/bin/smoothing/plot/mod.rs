//! The runs as pictures: what arrived and what was written, what waited, what the bystander suffered.

mod canvas;

use crate::{
    Fault,
    lanes::Lane,
    plan::Plan,
    run::{Column, Run},
    summary::Middle,
};
use canvas::{Curve, Panel, Picture, Scale};
use plotters::style::RGBColor;
use std::{fs, path::Path};

// Told apart also by those who see no red or green (after Okabe and Ito's palette).
const ARRIVALS: RGBColor = RGBColor(150, 160, 170);
const FAILED: RGBColor = RGBColor(190, 30, 45);

fn colour(lane: Lane) -> RGBColor {
    match lane {
        Lane::Quiet => RGBColor(110, 116, 124),
        Lane::Direct => RGBColor(213, 94, 0),
        Lane::Consumer => RGBColor(204, 121, 167),
        Lane::Single => RGBColor(0, 114, 178),
        Lane::Batches => RGBColor(0, 158, 115),
    }
}

/// Writes all pictures into a folder.
pub(crate) fn all(folder: &Path, plan: &Plan, runs: &[Run]) -> Result<(), Fault> {
    if runs.is_empty() {
        return Ok(());
    }
    fs::write(folder.join("flow.svg"), flow(plan, runs)?)?;
    fs::write(folder.join("backlog.svg"), backlog(plan, runs)?)?;
    fs::write(folder.join("bystander.svg"), bystander(plan, runs)?)?;
    Ok(())
}

/// The first run of each lane that writes.
fn first(runs: &[Run]) -> Vec<&Run> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut first = Vec::new();
    for run in runs.iter().filter(|run| run.lane != Lane::Quiet) {
        if !lanes.contains(&run.lane) {
            lanes.push(run.lane);
            first.push(run);
        }
    }
    first
}

/// Arrivals and rows written per second, a panel for each lane.
fn flow(plan: &Plan, runs: &[Run]) -> Result<String, Fault> {
    let end = plan.ends().as_secs_f64() + 9.0;
    let per_second = |run: &Run, of: fn(&Column) -> u64| -> Vec<(f64, f64)> {
        run.columns
            .chunks(5)
            .filter(|half| half.len() == 5)
            .map(|half| (half[2].at, 2.0 * half.iter().map(of).sum::<u64>() as f64))
            .take_while(|(at, _)| *at <= end)
            .collect()
    };
    let panels = first(runs).into_iter().map(|run| {
        let mut curves = vec![
            Curve::filled("arriving", ARRIVALS, per_second(run, |column| column.arrived)),
            Curve::line("written", colour(run.lane), per_second(run, |column| column.written)),
        ];
        if run.failed > 0 {
            let failed = per_second(run, |column| column.failed);
            curves.push(Curve::line("clients with an error", FAILED, failed));
        }
        Panel { title: run.lane.title().to_owned(), curves, scale: Scale::Log { from: 100.0 } }
    });
    Picture {
        title: "Arrivals, and rows written, per second (first round)",
        marks: marks(plan),
        end,
        panels: panels.collect(),
    }
    .draw()
}

/// What waited, all lanes in one panel, of the first round, which is drained where one is.
fn backlog(plan: &Plan, runs: &[Run]) -> Result<String, Fault> {
    let first = first(runs);
    let curves: Vec<Curve> = first
        .iter()
        .map(|run| {
            let points = run.columns.iter().step_by(5);
            let points = points.map(|column| (column.at, column.waiting as f64)).collect();
            Curve::line(run.lane.short(), colour(run.lane), points)
        })
        .collect();
    let end = curves.iter().filter_map(|curve| curve.points.last()).map(|(at, _)| *at);
    Picture {
        title: "What waits: in a queue, or as clients without an answer (first round)",
        marks: marks(plan),
        end: end.fold(1.0, f64::max),
        panels: vec![Panel { title: "arrivals".into(), curves, scale: Scale::Linear }],
    }
    .draw()
}

/// The bystander's p95 of each second, over all rounds.
fn bystander(plan: &Plan, runs: &[Run]) -> Result<String, Fault> {
    let mut lanes: Vec<Lane> = Vec::new();
    for run in runs {
        if !lanes.contains(&run.lane) {
            lanes.push(run.lane);
        }
    }
    let mut end: f64 = 1.0;
    let curves = lanes.iter().map(|lane| {
        let mut seconds: Vec<Vec<f64>> = Vec::new();
        for sample in runs.iter().filter(|run| run.lane == *lane).flat_map(|run| &run.samples) {
            let second = sample.at as usize;
            if seconds.len() <= second {
                seconds.resize(second + 1, Vec::new());
            }
            seconds[second].push(sample.took);
        }
        end = end.max(seconds.len() as f64);
        let points = seconds.into_iter().enumerate().filter(|(_, took)| !took.is_empty());
        let points = points.map(|(second, mut took)| {
            took.sort_by(f64::total_cmp);
            let at = (took.len() as f64 * 0.95) as usize;
            (second as f64 + 0.5, took[at.min(took.len() - 1)])
        });
        Curve::line(lane.short(), colour(*lane), points.collect())
    });
    let curves: Vec<Curve> = curves.collect();
    let quiet: Vec<f64> =
        curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).collect();
    let from = 10_f64.powf(Middle::of(quiet).q1.max(0.01).log10().floor());
    Picture {
        title: "The bystander: p95 of pgbench's transactions in each second, all rounds",
        marks: marks(plan),
        end,
        panels: vec![Panel { title: "milliseconds".into(), curves, scale: Scale::Log { from } }],
    }
    .draw()
}

/// Where each stretch begins and what it is called.
fn marks(plan: &Plan) -> Vec<(f64, f64, &'static str)> {
    plan.stretches.iter().map(|stretch| (stretch.from, stretch.to, stretch.name)).collect()
}
