//! The curves as an SVG file: time over rows, in units of one row's, and under each the floor that reading
//! the weights sets.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::{Record, heading};
use crate::chart::{COLOURS, SIZE, key};

/// Draws the curves of every record.
pub(super) fn svg(records: &[Record]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    draw(records, &SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
    Ok(svg)
}

fn draw(
    records: &[Record],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), Box<dyn Error>> {
    let rows = records.iter().flat_map(|record| &record.cost.rows);
    let (mut last, mut top) = (2, 1.0);
    for row in rows {
        (last, top) = (last.max(row.rows), f64::max(top, row.ratio));
    }
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(heading(records), ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..last as f64).log_scale().base(2.0), 0.0..top * 1.08)?;
    chart
        .configure_mesh()
        .x_desc("new rows per pass")
        .y_desc("time of a pass / time of one row")
        .x_label_formatter(&|rows| format!("{rows:.0}"))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for (record, colour) in records.iter().zip(COLOURS.iter().cycle()) {
        let points = record.cost.rows.iter().map(|row| (row.rows as f64, row.ratio));
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(label(record))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))?;
        if let Some(floor) = record.floor() {
            let line = [(1.0, floor), (last as f64, floor)];
            chart.draw_series(DashedLineSeries::new(line, 6, 5, colour.stroke_width(1)))?;
        }
    }
    key(&mut chart, SeriesLabelPosition::UpperLeft)?;
    area.present()?;
    Ok(())
}

fn label(record: &Record) -> String {
    format!(
        "{}, {} threads, depth {} (dashed: weights read at {:.1} GB/s)",
        record.quant,
        record.threads,
        record.cost.depth,
        record.read_rate / 1e9
    )
}
