//! The course of a run as an SVG file: losses over tokens, and how often guesses on held-out text were right.

use std::error::Error;

use foretoken_train::{History, HistoryPoint};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::chart::{COLOURS, SIZE, key};

/// Ends of names of validation's means that are shares.
const SHARES: [&str; 3] = ["top1", "top5", "agreement"];
/// Steps that are drawn; of more, means of neighbours are.
const MOST: usize = 1000;

/// A name with its values over tokens.
type Curve = (String, Vec<(f64, f64)>);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the losses of what was learned and of held-out text, and below them the shares that validation measured.
pub(super) fn svg(history: &History) -> Result<String, Box<dyn Error>> {
    let points: Vec<_> = history.points().collect();
    let losses = losses(&points);
    let shares = shares(&points);
    let charts = 1 + u32::from(!shares.is_empty());
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 * charts)).into_drawing_area();
    area.fill(&WHITE)?;
    let areas = area.split_evenly((charts as usize, 1));
    let largest = losses.iter().flat_map(|(_, curve)| curve).map(|(_, loss)| *loss);
    let top = 1.05 * largest.fold(f64::MIN_POSITIVE, f64::max);
    let last = points.last().map_or(1.0, |point| point.tokens as f64);
    draw(&areas[0], ("loss in nats per token", losses), (last, top))?;
    if let Some(area) = areas.get(1) {
        draw(area, ("share of held-out text", shares), (last, 1.0))?;
    }
    area.present()?;
    drop((areas, area));
    Ok(svg)
}

fn losses(points: &[HistoryPoint]) -> Vec<Curve> {
    let learned = points.chunks(points.len().div_ceil(MOST).max(1)).map(mean).collect();
    let held_out = measured(points, "loss");
    vec![("learned text".to_owned(), learned), ("held-out text".to_owned(), held_out)]
}

fn mean(points: &[HistoryPoint]) -> (f64, f64) {
    let count = points.len() as f64;
    let tokens = points.iter().map(|point| point.tokens as f64).sum::<f64>();
    (tokens / count, points.iter().map(|point| point.loss).sum::<f64>() / count)
}

fn shares(points: &[HistoryPoint]) -> Vec<Curve> {
    let validated = points.iter().find(|point| !point.validation.is_empty());
    let names = validated.into_iter().flat_map(|point| &point.validation).map(|(name, _)| name);
    let names = names.filter(|name| SHARES.iter().any(|end| name.ends_with(end)));
    names.map(|name| (name.clone(), measured(points, name))).collect()
}

/// What validation said of that name.
fn measured(points: &[HistoryPoint], name: &str) -> Vec<(f64, f64)> {
    let of_point = |point: &HistoryPoint| {
        let (_, mean) = point.validation.iter().find(|(found, _)| found == name)?;
        Some((point.tokens as f64, *mean))
    };
    points.iter().filter_map(of_point).collect()
}

fn draw(
    area: &Area<'_>,
    (what, curves): (&str, Vec<Curve>),
    (last, top): (f64, f64),
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(32)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("million tokens")
        .x_label_formatter(&|tokens| format!("{}", (tokens / 1e3).round() / 1e3))
        .y_desc(what)
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, curve), &colour) in curves.into_iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    key(&mut chart, SeriesLabelPosition::MiddleRight)
}
