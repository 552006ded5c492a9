//! What the charts of all commands share.

use std::error::Error;

use plotters::chart::{ChartContext, SeriesLabelPosition};
use plotters::coord::CoordTranslate;
use plotters::prelude::{BLACK, Color, SVGBackend, WHITE};
use plotters::style::RGBColor;

/// Width and height in pixels.
pub(crate) const SIZE: (u32, u32) = (900, 560);
/// Colours of curves in turn, which most kinds of colour vision tell apart (Okabe and Ito 2008).
pub(crate) const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(240, 228, 66),
];

/// Draws the key to the curves of a chart.
pub(crate) fn key<'a, 'b: 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, C>,
    position: SeriesLabelPosition,
) -> Result<(), Box<dyn Error>> {
    let mut labels = chart.configure_series_labels();
    labels.position(position).margin(12).label_font(("sans-serif", 14));
    labels.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}
