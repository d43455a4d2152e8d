//! How a picture is drawn: panels one above the other on one axis of time.

use crate::Fault;
use forebay_bench::style::{INK, LINES, text};
use plotters::{
    coord::{
        Shift,
        combinators::IntoLogRange,
        ranged1d::{Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::{
        AreaSeries, Cartesian2d, ChartBuilder, ChartContext, Color, DrawingArea, IntoDrawingArea,
        LineSeries, RGBColor, Rectangle, SVGBackend, WHITE,
    },
};

const WIDTH: u32 = 1000;
const HEADING: u32 = 56;
/// The height of a panel among others, and of one alone.
const PANEL: u32 = 190;
const ALONE: u32 = 400;
const FAINT: RGBColor = RGBColor(110, 116, 124);
/// Behind the burst, and behind the shower of poison.
const BANDS: [Option<RGBColor>; 3] =
    [Some(RGBColor(246, 243, 232)), None, Some(RGBColor(243, 236, 246))];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The axis of values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear,
    /// What is below `from` is drawn at it.
    Log {
        from: f64,
    },
}

pub(super) struct Curve {
    name: String,
    colour: RGBColor,
    filled: bool,
    pub(super) points: Vec<(f64, f64)>,
}

impl Curve {
    pub(super) fn line(name: &str, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), colour, filled: false, points }
    }

    pub(super) fn filled(name: &str, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { filled: true, ..Self::line(name, colour, points) }
    }
}

pub(super) struct Panel {
    pub(super) title: String,
    pub(super) curves: Vec<Curve>,
    pub(super) scale: Scale,
}

pub(super) struct Picture {
    pub(super) title: &'static str,
    /// From, to and name of each stretch.
    pub(super) marks: Vec<(f64, f64, &'static str)>,
    /// Where the axis of time ends, in seconds.
    pub(super) end: f64,
    pub(super) panels: Vec<Panel>,
}

impl Picture {
    pub(super) fn draw(&self) -> Result<String, Fault> {
        let panel = if self.panels.len() == 1 { ALONE } else { PANEL };
        let height = HEADING + panel * self.panels.len() as u32 + 24;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            root.fill(&WHITE)?;
            let (head, mut body) = root.split_vertically(HEADING);
            head.draw_text(self.title, &text(20.0, INK), (24, 18))?;
            for (index, each) in self.panels.iter().enumerate() {
                let last = index + 1 == self.panels.len();
                let (area, rest) = body.split_vertically(if last { panel + 24 } else { panel });
                self.panel(each, &area, last)?;
                body = rest;
            }
            root.present()?;
        }
        Ok(svg)
    }

    fn panel(&self, panel: &Panel, area: &Area<'_>, last: bool) -> Result<(), Fault> {
        let values = panel.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
        let top = values.fold(1.0, f64::max) * 1.1;
        let mut builder = ChartBuilder::on(area);
        builder
            .margin_left(16)
            .margin_right(28)
            .margin_top(34)
            .x_label_area_size(if last { 44 } else { 18 })
            .y_label_area_size(66);
        match panel.scale {
            Scale::Linear => {
                let chart = builder.build_cartesian_2d(0.0..self.end, 0.0..top)?;
                self.fill(chart, panel, 0.0, top, last)?;
            }
            Scale::Log { from } => {
                let values = (from..top.max(from * 10.0)).log_scale();
                let chart = builder.build_cartesian_2d(0.0..self.end, values)?;
                self.fill(chart, panel, from, top.max(from * 10.0), last)?;
            }
        }
        legend(panel, area)
    }

    fn fill<Y>(
        &self,
        mut chart: ChartContext<'_, SVGBackend<'_>, Cartesian2d<RangedCoordf64, Y>>,
        panel: &Panel,
        bottom: f64,
        top: f64,
        last: bool,
    ) -> Result<(), Fault>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        for ((from, to, _), band) in self.marks.iter().zip(BANDS) {
            if let Some(band) = band {
                let corners = [(*from, bottom), (to.min(self.end), top)];
                chart.draw_series([Rectangle::new(corners, band.filled())])?;
            }
        }
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(LINES)
            .light_line_style(WHITE.mix(0.0))
            .axis_style(FAINT)
            .y_labels(5)
            .x_labels(12)
            .x_label_formatter(&|at| format!("{at:.0}"))
            .y_label_formatter(&|value| axis(*value))
            .label_style(text(12.0, FAINT))
            .axis_desc_style(text(13.0, FAINT))
            .x_desc(if last { "seconds; shaded: the burst, and the shower of poison" } else { "" })
            .draw()?;
        for curve in &panel.curves {
            let line = curve.points.iter().map(|(at, value)| (*at, value.max(bottom)));
            if curve.filled {
                chart.draw_series(AreaSeries::new(line.clone(), bottom, curve.colour.mix(0.3)))?;
            }
            chart.draw_series(LineSeries::new(line, curve.colour.stroke_width(2)))?;
        }
        Ok(())
    }
}

/// A value on an axis.
fn axis(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e3 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}

/// What the curves are, in their own colours, above the panel.
fn legend(panel: &Panel, area: &Area<'_>) -> Result<(), Fault> {
    let mut x = 24;
    area.draw_text(&panel.title, &text(14.0, INK), (x, 12))?;
    x += estimate(&panel.title, 14.0) + 26;
    for curve in &panel.curves {
        area.draw(&Rectangle::new([(x, 16), (x + 18, 21)], curve.colour.filled()))?;
        area.draw_text(&curve.name, &text(13.0, curve.colour), (x + 25, 12))?;
        x += 25 + estimate(&curve.name, 13.0) + 22;
    }
    Ok(())
}

/// About how wide a text is: fonts are the viewer's own.
fn estimate(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * 0.52) as i32
}
