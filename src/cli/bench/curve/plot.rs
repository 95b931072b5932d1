//! The curves, drawn: four figures over the size of the tenant, a line for each number of agents.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use crate::cli::bench::curve::point::Point;

const SIZE: (u32, u32) = (960, 720);
const FONT: &str = "sans-serif";

/// What a panel is called, and its figure.
type Panel = (&'static str, fn(&Point) -> f64);

const PANELS: [Panel; 4] = [
    ("recall, answer cached", |point| point.hit.p50),
    ("recall, answer computed", |point| point.computed.p50),
    ("recall, nothing of the agent in memory", |point| point.first.p50),
    ("remember", |point| point.remember.p50),
];

pub fn draw(path: &Path, points: &[Point]) -> anyhow::Result<()> {
    drawn(path, points).map_err(|error| anyhow!("{error}")).with_context(|| format!("drawing {}", path.display()))
}

fn drawn(path: &Path, points: &[Point]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    for ((name, figure), area) in PANELS.into_iter().zip(root.split_evenly((2, 2))) {
        panel(&area, name, figure, points)?;
    }
    Ok(root.present()?)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    name: &str,
    figure: fn(&Point) -> f64,
    points: &[Point],
) -> Result<(), Box<dyn std::error::Error>> {
    let sizes = || points.iter().map(|point| point.memories as f64);
    let figures = || points.iter().map(figure);
    let (from, to) = (sizes().fold(f64::MAX, f64::min), sizes().fold(1.0, f64::max));
    let (low, high) = (figures().fold(f64::MAX, f64::min), figures().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{name}, p50 in ms"), (FONT, 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(
            (from / 1.2..to * 1.2).log_scale(),
            (decade(low.log10().floor())..decade(high.log10().ceil())).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("memories of the tenant")
        .x_label_formatter(&|memories| format!("{memories:.0}"))
        .y_label_formatter(&|ms| if *ms < 1.0 { format!("{ms:.2}") } else { format!("{ms:.0}") })
        .light_line_style(WHITE)
        .draw()?;
    let mut crowds: Vec<u64> = points.iter().map(|point| point.agents).collect();
    crowds.dedup();
    for (index, agents) in crowds.into_iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let line: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.agents == agents)
            .map(|point| (point.memories as f64, figure(point)))
            .collect();
        chart.draw_series(line.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(format!("{agents} agent(s)"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}

/// Ends of an axis: between two powers of ten there is one that gets a label.
fn decade(power: f64) -> f64 {
    10_f64.powf(power)
}
