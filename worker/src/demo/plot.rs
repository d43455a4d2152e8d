//! The run as a picture of characters.

use super::sample::{Point, Timeline};
use crate::{error::CliError, output, terminal};
use std::io;

const ROWS: usize = 6;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What stands left of a plot.
const MARGIN: usize = 10;
const WIDTH: usize = 100;

/// What is plotted of a moment.
type Of = fn(&Point) -> f64;

/// Prints arrivals, service and backlog over time, one below the other.
pub(super) fn print(timeline: &Timeline, without: bool) -> Result<(), CliError> {
    let points = timeline.points();
    let Some(last) = points.last() else { return Ok(()) };
    let width = terminal::width(io::stdout()).unwrap_or(WIDTH).clamp(40, WIDTH) - MARGIN;
    let plots: [(&str, Of); 4] = [
        ("arriving, orders/s", |point| point.arrivals),
        ("handled, orders/s", |point| point.service),
        ("waiting, orders", |point| point.waiting),
        if without {
            ("failed so far, clients", |point| point.failed)
        } else {
            ("limit, calls at once", |point| point.limit)
        },
    ];
    for (title, of) in plots {
        output::line("")?;
        output::line(format!("{:MARGIN$}{title}", ""))?;
        bars(&columns(&points, of, width))?;
    }
    let killed = timeline.killed.map(|at| at.as_secs_f64() / last.at * width as f64);
    let mut axis: Vec<char> = vec!['─'; width];
    if let Some(mark) = killed.and_then(|at| axis.get_mut(at as usize)) {
        *mark = '✗';
    }
    output::line(format!("{:>width$}{}", "0 ", axis.iter().collect::<String>(), width = MARGIN))?;
    let note = if killed.is_some() { "✗ a worker killed by SIGKILL" } else { "" };
    let end = format!("{:.0} s", last.at);
    output::line(format!("{:MARGIN$}{note:<fill$}{end}", "", fill = width - end.len()))
}

/// The most in each of so many stretches of time.
fn columns(points: &[Point], of: Of, width: usize) -> Vec<f64> {
    (0..width)
        .map(|column| {
            let from = column * points.len() / width;
            let to = ((column + 1) * points.len()).div_ceil(width).max(from + 1);
            points[from..to.min(points.len())].iter().map(of).fold(0.0, f64::max)
        })
        .collect()
}

fn bars(columns: &[f64]) -> Result<(), CliError> {
    let most = columns.iter().copied().fold(1.0, f64::max);
    for row in (0..ROWS).rev() {
        let label = if row == ROWS - 1 { format!("{most:.0} ") } else { String::new() };
        let cells = columns.iter().map(|value| {
            let eighths = value / most * (ROWS * 8) as f64 - (row * 8) as f64;
            BARS[eighths.round().clamp(0.0, 8.0) as usize]
        });
        let text: String = cells.collect();
        output::line(format!("{label:>MARGIN$}{}", text.trim_end()))?;
    }
    Ok(())
}
