//! How plots look, whichever program draws them.

use plotters::{
    prelude::{IntoFont, RGBColor},
    style::TextStyle,
};

/// Text, and what is as strong as text.
pub const INK: RGBColor = RGBColor(38, 42, 48);
/// The lines of a grid.
pub const LINES: RGBColor = RGBColor(228, 231, 235);

const FONT: &str = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif";

/// Text of a size, in pixels.
#[must_use]
pub fn text(size: f64, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}
