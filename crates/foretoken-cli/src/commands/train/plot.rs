//! The course of a run as an SVG file: losses over tokens.

use std::error::Error;

use foretoken_train::{History, HistoryPoint};
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 560);
const LEARNED: RGBColor = RGBColor(86, 180, 233);
const HELD_OUT: RGBColor = RGBColor(213, 94, 0);
/// Steps that are drawn; of more, means of neighbours are.
const MOST: usize = 1000;

/// Draws the loss of what was learned and of held-out text.
pub(super) fn svg(history: &History) -> Result<String, Box<dyn Error>> {
    let points: Vec<_> = history.points().collect();
    let mut svg = String::new();
    draw(&points, &SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
    Ok(svg)
}

fn draw(
    points: &[HistoryPoint],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), Box<dyn Error>> {
    let learned: Vec<_> = points.chunks(points.len().div_ceil(MOST).max(1)).map(mean).collect();
    let held_out = points.iter().filter_map(|point| {
        let (_, loss) = point.validation.iter().find(|(name, _)| name == "loss")?;
        Some((point.tokens as f64, *loss))
    });
    let held_out: Vec<_> = held_out.collect();
    let of_all = || learned.iter().chain(&held_out);
    let last = of_all().map(|(tokens, _)| *tokens).fold(1.0, f64::max);
    let top = of_all().map(|(_, loss)| *loss).fold(f64::MIN_POSITIVE, f64::max);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, 0.0..top * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("tokens")
        .y_desc("loss in nats per token")
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for (name, curve, colour) in
        [("learned text", learned, LEARNED), ("held-out text", held_out, HELD_OUT)]
    {
        chart
            .draw_series(LineSeries::new(curve, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

fn mean(points: &[HistoryPoint]) -> (f64, f64) {
    let count = points.len() as f64;
    let tokens = points.iter().map(|point| point.tokens as f64).sum::<f64>();
    (tokens / count, points.iter().map(|point| point.loss).sum::<f64>() / count)
}
