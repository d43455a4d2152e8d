//! The run as a picture: arrivals and service, the backlog between them, and the limit that held.
//!
//! Three panels share one time axis, so that what belongs together stands above each other. Colours
//! are told apart also by those who see no red or green (from Okabe and Ito's palette).

use super::{
    plan::{BURST, Plan},
    report::axis,
    sample::{Point, Timeline},
};
use forebay::BoxError;
use plotters::{
    coord::{cartesian::Cartesian2d, types::RangedCoordf64},
    prelude::{
        AreaSeries, ChartBuilder, ChartContext, Color, DashedLineSeries, DrawingArea,
        IntoDrawingArea, IntoFont, LineSeries, RGBColor, Rectangle, SVGBackend, Text, WHITE,
    },
    style::{
        TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

const SIZE: (u32, u32) = (1000, 780);
/// Heights of the heading, and of the upper panels.
const HEADING: u32 = 84;
const PANELS: [u32; 2] = [310, 510];
const ARRIVALS: RGBColor = RGBColor(86, 148, 200);
const SERVICE: RGBColor = RGBColor(213, 94, 0);
const WAITING: RGBColor = RGBColor(0, 130, 100);
const LIMIT: RGBColor = RGBColor(120, 80, 150);
const INK: RGBColor = RGBColor(38, 42, 48);
const FAINT: RGBColor = RGBColor(110, 116, 124);
const LINES: RGBColor = RGBColor(228, 231, 235);
const BAND: RGBColor = RGBColor(246, 243, 232);
const KILL: RGBColor = RGBColor(190, 30, 45);
/// Between a line and its name, as a share of the width.
const GAP: f64 = 0.006;
const FONT: &str = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws it; `heading` says in a line what was measured.
pub(super) fn draw(
    plan: &Plan,
    timeline: &Timeline,
    without: bool,
    heading: &str,
) -> Result<String, BoxError> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEADING);
        let way = if without { "straight at the database" } else { "through forebay" };
        let title = format!("A burst of {BURST:.0} times the sustainable rate, {way}");
        head.draw_text(&title, &text(23.0, INK), (24, 20))?;
        head.draw_text(heading, &text(14.0, FAINT), (24, 54))?;
        let panels = body.split_by_breakpoints([0_u32; 0], PANELS);
        let picture = Picture { plan, timeline, points: timeline.points() };
        for (panel, area) in picture.panels(without).iter().zip(&panels) {
            picture.draw(panel, area)?;
        }
        root.present()?;
    }
    Ok(picture)
}

struct Picture<'a> {
    plan: &'a Plan,
    timeline: &'a Timeline,
    points: Vec<Point>,
}

/// Curves over time on one scale.
struct Panel {
    unit: &'static str,
    curves: Vec<Curve>,
    /// It names what is marked in all of them.
    first: bool,
    /// It has the axis of time.
    last: bool,
}

struct Curve {
    name: String,
    colour: RGBColor,
    /// How much of its colour is below it.
    fill: f64,
    of: fn(&Point) -> f64,
}

impl Picture<'_> {
    fn panels(&self, without: bool) -> [Panel; 3] {
        let curve =
            |name: &str, colour, fill, of| Curve { name: name.to_owned(), colour, fill, of };
        let waiting = if without {
            "clients that wait for an answer"
        } else {
            "orders that wait in the queue"
        };
        let limit =
            curve("limit that the workers found, together", LIMIT, 0.0, |point| point.limit);
        let failed = curve("clients so far that got an error, or no answer", KILL, 0.25, |point| {
            point.failed
        });
        [
            Panel {
                unit: "orders per second",
                curves: vec![
                    curve("arriving", ARRIVALS, 0.3, |point| point.arrivals),
                    curve("handled", SERVICE, 0.0, |point| point.service),
                ],
                first: true,
                last: false,
            },
            Panel {
                unit: "orders",
                curves: vec![curve(waiting, WAITING, 0.25, |point| point.waiting)],
                first: false,
                last: false,
            },
            Panel {
                unit: if without { "clients" } else { "calls at once" },
                curves: vec![if without { failed } else { limit }],
                first: false,
                last: true,
            },
        ]
    }

    fn draw(&self, panel: &Panel, area: &Area<'_>) -> Result<(), BoxError> {
        let end = self.points.last().map_or(1.0, |point| point.at);
        let values = panel.curves.iter().flat_map(|curve| self.points.iter().map(curve.of));
        let top = values.fold(1.0, f64::max) * 1.12;
        let mut chart = ChartBuilder::on(area)
            .margin_left(16)
            .margin_right(28)
            .margin_top(36)
            .x_label_area_size(if panel.last { 44 } else { 14 })
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        self.burst(&mut chart, top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(LINES)
            .light_line_style(WHITE.mix(0.0))
            .axis_style(FAINT)
            .y_labels(5)
            .x_labels(if panel.last { 12 } else { 0 })
            .x_label_formatter(&|at| format!("{at:.0}"))
            .y_label_formatter(&|value| axis(*value))
            .label_style(text(12.0, FAINT))
            .axis_desc_style(text(13.0, FAINT))
            .x_desc(if panel.last { "seconds" } else { "" })
            .draw()?;
        for curve in &panel.curves {
            let line = self.points.iter().map(|point| (point.at, (curve.of)(point)));
            if curve.fill > 0.0 {
                let under = curve.colour.mix(curve.fill);
                chart.draw_series(AreaSeries::new(line.clone(), 0.0, under))?;
            }
            chart.draw_series(LineSeries::new(line, curve.colour.stroke_width(2)))?;
        }
        self.kill(&mut chart, top, panel.first)?;
        legend(panel, area)
    }

    /// A band behind the burst.
    fn burst(&self, chart: &mut Chart<'_, '_>, top: f64) -> Result<(), BoxError> {
        let burst = self.plan.burst();
        let (from, to) = (burst.starts.as_secs_f64(), burst.ends().as_secs_f64());
        chart.draw_series([Rectangle::new([(from, 0.0), (to, top)], BAND.filled())])?;
        Ok(())
    }

    /// A line where a worker was killed, and one where another took its place.
    fn kill(&self, chart: &mut Chart<'_, '_>, top: f64, named: bool) -> Result<(), BoxError> {
        let gap = self.points.last().map_or(0.0, |point| point.at * GAP);
        let marks = [(self.timeline.killed, "SIGKILL"), (self.timeline.restarted, "replaced")];
        for (index, (at, name)) in marks.into_iter().enumerate() {
            let Some(at) = at.map(|at| at.as_secs_f64()) else { continue };
            let colour = if index == 0 { KILL } else { FAINT };
            let line = [(at, 0.0), (at, top)];
            chart.draw_series(DashedLineSeries::new(line, 4, 4, colour.stroke_width(1)))?;
            if named {
                let side = if index == 0 { HPos::Right } else { HPos::Left };
                let style = text(12.0, colour).pos(Pos::new(side, VPos::Top));
                let beside = if index == 0 { at - gap } else { at + gap };
                chart.draw_series([Text::new(name, (beside, top), style)])?;
            }
        }
        Ok(())
    }
}

/// What the curves are, in their own colours, above the panel.
fn legend(panel: &Panel, area: &Area<'_>) -> Result<(), BoxError> {
    let mut x = 24;
    area.draw_text(panel.unit, &text(14.0, INK), (x, 12))?;
    x += estimate(panel.unit, 14.0) + 26;
    for curve in &panel.curves {
        area.draw(&Rectangle::new([(x, 16), (x + 18, 21)], curve.colour.filled()))?;
        area.draw_text(&curve.name, &text(13.0, curve.colour), (x + 25, 12))?;
        x += 25 + estimate(&curve.name, 13.0) + 26;
    }
    Ok(())
}

/// About how wide a text is: fonts are the viewer's own.
fn estimate(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * 0.52) as i32
}

fn text(size: f64, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}
