//! A run as a picture: the limit and what runs, and below what is done, with the trouble shaded.

use forebay_bench::{
    knee::{Fault, trouble::Trouble, watch::Timeline},
    style::{INK, LINES, text},
};
use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Color, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor,
        Rectangle, SVGBackend, WHITE,
    },
    series::AreaSeries,
};

const SIZE: (u32, u32) = (900, 560);
const HEADING: u32 = 44;
/// Where the lower panel begins, below the heading.
const LOWER: u32 = 280;
/// Of what length the steps are in which what is done is counted, in seconds.
const STEP: f64 = 0.1;
// From Okabe and Ito's palette: told apart also by those who see no red or green.
const LIMIT: RGBColor = RGBColor(213, 94, 0);
const RUNNING: RGBColor = RGBColor(86, 148, 200);
const DONE: RGBColor = RGBColor(0, 130, 100);
const OPEN: RGBColor = RGBColor(120, 80, 150);
const SHADE: RGBColor = RGBColor(246, 238, 214);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// A curve with its name, and whether the space below it is filled.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    filled: bool,
    points: Points,
}

/// Draws a run.
pub(crate) fn draw(trouble: Trouble, rate: f64, timeline: &Timeline) -> Result<String, Fault> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEADING);
        let title = format!("{trouble}, while {rate:.0} messages arrive per second");
        head.draw_text(&title, &text(19.0, INK), (20, 14))?;
        let (upper, lower) = body.split_vertically(LOWER);
        let of = |value: fn(&forebay_bench::knee::watch::Sample) -> f64| -> Points {
            timeline.samples.iter().map(|sample| (sample.at, value(sample))).collect()
        };
        let limit = of(|sample| f64::from(sample.limit));
        let top = limit.iter().map(|(_, limit)| *limit).fold(1.0, f64::max);
        let open = timeline.samples.iter().map(|s| (s.at, if s.closed { 0.0 } else { top * 0.06 }));
        let calls = [
            Curve {
                name: "calls in flight",
                colour: RUNNING,
                filled: true,
                points: of(|sample| f64::from(sample.in_flight)),
            },
            Curve {
                name: "breaker not closed",
                colour: OPEN,
                filled: true,
                points: open.collect(),
            },
            Curve { name: "limit", colour: LIMIT, filled: false, points: limit },
        ];
        panel(&upper, timeline, "calls", &calls)?;
        let done =
            Curve { name: "messages done", colour: DONE, filled: true, points: steps(timeline) };
        panel(&lower, timeline, "per 100 ms", &[done])?;
        root.present()?;
    }
    Ok(picture)
}

/// What was done in each tenth of a second.
fn steps(timeline: &Timeline) -> Points {
    let mut points = vec![];
    let mut from = timeline.samples.first();
    for sample in &timeline.samples {
        if let Some(begun) = from
            && sample.at - begun.at >= STEP
        {
            let done = (sample.done - begun.done) as f64 * STEP / (sample.at - begun.at);
            points.push((begun.at, done));
            from = Some(sample);
        }
    }
    points
}

fn panel(area: &Area<'_>, timeline: &Timeline, unit: &str, curves: &[Curve]) -> Result<(), Fault> {
    let end = timeline.samples.last().map_or(1.0, |sample| sample.at);
    let values = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    let top = values.fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    let shade = [(timeline.began, 0.0), (timeline.ended.min(end), top)];
    chart.draw_series([Rectangle::new(shade, SHADE.filled())])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(LINES)
        .axis_style(LINES)
        .label_style(text(13.0, INK))
        .x_desc("seconds")
        .y_desc(unit)
        .y_labels(5)
        .draw()?;
    for Curve { name, colour, filled, points } in curves {
        let colour = *colour;
        let points = points.iter().copied();
        let drawn = if *filled {
            chart.draw_series(AreaSeries::new(points, 0.0, colour.mix(0.3)).border_style(colour))?
        } else {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?
        };
        drawn.label(*name).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(3))
        });
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(LINES)
        .label_font(text(13.0, INK))
        .draw()?;
    Ok(())
}
