//! Draws a plot as SVG: both axes logarithmic, one line for each store, cloakroom's the
//! widest. The text is the reader's own font, so that the files stay small.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::report::Plot;
use crate::stage::Outcome;

const SIZE: (u32, u32) = (860, 440);
/// Where the names of the lines begin.
const NAMES: u32 = 700;

/// One for each store, of equal lightness.
const COLOURS: [RGBColor; 10] = [
    RGBColor(200, 40, 40),
    RGBColor(40, 110, 180),
    RGBColor(50, 140, 70),
    RGBColor(130, 180, 90),
    RGBColor(140, 90, 170),
    RGBColor(200, 130, 40),
    RGBColor(100, 100, 100),
    RGBColor(40, 160, 160),
    RGBColor(190, 90, 140),
    RGBColor(130, 110, 50),
];

pub(crate) fn draw(plot: &Plot, path: &Path) -> Outcome<()> {
    let points = || plot.series.iter().flat_map(|(_, points)| points);
    let xs = span(points().map(|(x, _)| *x), 1.0);
    let ys = span(points().map(|(_, y)| *y), 1.3);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(NAMES);
    let mut chart = ChartBuilder::on(&left)
        .caption(&plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(xs.log_scale(), ys.log_scale())?;
    let number = |number: &f64| match *number {
        number if number >= 1e6 => format!("{}M", number / 1e6),
        number if number >= 1e3 => format!("{}k", number / 1e3),
        number => format!("{number}"),
    };
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    for (nth, (name, points)) in plot.series.iter().enumerate() {
        let width = if name == "cloakroom" { 3 } else { 1 };
        let style = COLOURS[nth % COLOURS.len()].stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(1 + width))?;
        let y = 60 + 20 * nth as i32;
        right.draw(&PathElement::new([(4, y), (22, y)], style))?;
        right.draw(&Text::new(name.as_str(), (28, y - 6), ("sans-serif", 13)))?;
    }
    area.present()?;
    Ok(())
}

/// From the least to the greatest, and some more.
fn span(numbers: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (least, most) = numbers
        .filter(|number| *number > 0.0)
        .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), n| (least.min(n), most.max(n)));
    if least >= most { 0.5 * most..2.0 * most } else { least / margin..most * margin }
}
