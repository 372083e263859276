//! The two drawings of the page, as SVG text.

use plotters::prelude::*;

use crate::latency::Latencies;
use crate::outcome::Sample;

const SIZE: (u32, u32) = (860, 340);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 95, 191), RGBColor(214, 96, 26), RGBColor(42, 140, 74), RGBColor(140, 60, 160)];

/// What went wrong while drawing, in words. The page then shows them in place of the drawing.
type DrawError = String;

/// A latency for each percentile, the right end stretched: 90, 99, 99.9, 99.99 % are equally far apart.
pub(super) fn latency_chart(series: &[(&str, &Latencies)]) -> Result<String, DrawError> {
    let most = series.iter().map(|(_, latencies)| latencies.count()).max().unwrap_or(0).max(10);
    let nines_max = (most as f64).log10().clamp(1.0, 6.0);
    let lines: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|(_, latencies)| {
            let steps = 200;
            let point = |step: i32| {
                let nines = nines_max * f64::from(step) / f64::from(steps);
                (nines, latencies.quantile_us(1.0 - 10f64.powf(-nines)).max(0.1))
            };
            (0..=steps).map(point).collect()
        })
        .collect();
    let values = || lines.iter().flatten().map(|&(_, us)| us);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(1.0, f64::max));
    draw("latency by percentile, microseconds (logarithmic)", |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(80)
            .build_cartesian_2d(0f64..nines_max, (low * 0.8..high * 1.3).log_scale())
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(13)
            .x_label_formatter(&|nines| percent(*nines))
            .y_label_formatter(&|us| super::duration(*us))
            .draw()
            .map_err(|error| error.to_string())?;
        for (index, ((name, _), line)) in series.iter().zip(&lines).enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))
                .map_err(|error| error.to_string())?
                .label(*name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        legend(&mut chart)
    })
}

/// Messages a second over the time of the run.
pub(super) fn throughput_chart(samples: &[Sample]) -> Result<String, DrawError> {
    let rate = |of: fn(&Sample) -> u64| -> Vec<(f64, f64)> {
        let pairs = samples.windows(2).filter(|pair| pair[1].at_s > pair[0].at_s);
        pairs
            .map(|pair| {
                let count = of(&pair[1]).saturating_sub(of(&pair[0]));
                (pair[1].at_s, count as f64 / (pair[1].at_s - pair[0].at_s))
            })
            .collect()
    };
    let lines =
        [("acknowledged", rate(|sample| sample.totals.acknowledged)), ("read", rate(|sample| sample.totals.read))];
    let seconds = samples.last().map_or(1.0, |last| last.at_s).max(0.1);
    let high = lines.iter().flat_map(|(_, line)| line).map(|&(_, rate)| rate).fold(1.0, f64::max);
    draw("messages a second over time", |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(80)
            .build_cartesian_2d(0f64..seconds, 0f64..high * 1.1)
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_label_formatter(&|at_s| format!("{at_s:.1} s"))
            .y_label_formatter(&|rate| super::rounded(*rate))
            .draw()
            .map_err(|error| error.to_string())?;
        for (index, (name, line)) in lines.iter().enumerate().filter(|(_, (_, line))| line.iter().any(|p| p.1 > 0.0)) {
            let colour = COLOURS[index % COLOURS.len()];
            chart
                .draw_series(AreaSeries::new(line.iter().copied(), 0.0, colour.mix(0.12)).border_style(colour))
                .map_err(|error| error.to_string())?
                .label(*name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        legend(&mut chart)
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(caption: &str, draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let titled = root.titled(caption, ("sans-serif", 16)).map_err(|error| error.to_string())?;
        draw(&titled)?;
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn legend<'a, X, Y>(chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>) -> Result<(), DrawError>
where
    X: plotters::coord::ranged1d::Ranged<ValueType = f64>,
    Y: plotters::coord::ranged1d::Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(|error| error.to_string())
}

/// `1 − 10^(−nines)` as a percentage: `0 %`, `90 %`, `99.9 %`; empty between.
fn percent(nines: f64) -> String {
    if (nines - nines.round()).abs() > 0.01 {
        return String::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 6")]
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 * (1.0 - 10f64.powf(-nines.round())))
}
