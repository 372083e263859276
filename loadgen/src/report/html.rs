//! The page: everything in one file, nothing fetched.

use std::fmt::Write;

use super::{chart, table, verdict_line};
use crate::latency::Latencies;
use crate::outcome::Outcome;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#1b1f24}\
                     h1{font-size:1.4em}.verdict{padding:.7em 1em;border-radius:6px;background:#e7f5ea}.bad{background:#fdeaea}\
                     pre{background:#f6f8fa;padding:1em;overflow-x:auto;border-radius:6px}svg{max-width:100%;height:auto}";

/// The report as one HTML page.
pub fn page(outcome: &Outcome) -> String {
    let mut html = String::new();
    let class = if outcome.is_success() { "verdict" } else { "verdict bad" };
    let (title, command) = (escaped(&outcome.title), escaped(&outcome.command));
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>RingMQ load: {title}</title>\
         <style>{STYLE}</style></head><body><h1>RingMQ load: {title}</h1><p class=\"{class}\">{}</p>\
         <pre>{command}\n\n{}</pre>",
        escaped(&verdict_line(outcome)),
        escaped(&table(outcome))
    );
    let series = latency_series(outcome);
    if !series.is_empty() {
        drawing(&mut html, chart::latency_chart(&series));
    }
    if outcome.samples.len() > 2 {
        drawing(&mut html, chart::throughput_chart(&outcome.samples));
    }
    html.push_str("</body></html>\n");
    html
}

fn latency_series(outcome: &Outcome) -> Vec<(&str, &Latencies)> {
    let phases = outcome.send.iter().chain(&outcome.read).chain(&outcome.further);
    let mut series: Vec<(&str, &Latencies)> = phases.map(|phase| (phase.name, &phase.latencies)).collect();
    series.extend(outcome.end_to_end.as_ref().map(|latencies| ("end to end", latencies)));
    series.retain(|(_, latencies)| latencies.count() > 0);
    series
}

fn drawing(html: &mut String, svg: Result<String, String>) {
    match svg {
        Ok(svg) => html.push_str(&svg),
        Err(error) => {
            let _ = write!(html, "<p>not drawn: {}</p>", escaped(&error));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Totals;
    use crate::outcome::{Phase, Sample};

    #[test]
    fn the_page_holds_both_drawings_and_fetches_nothing() {
        let mut send = Phase { name: "send", messages: 100_000, ..Phase::default() };
        (1..=100_000).for_each(|index| send.latencies.record(index * 37, 1));
        let samples = (0..50u64).map(|index| Sample {
            at_s: index as f64 / 10.0,
            totals: Totals { acknowledged: index * 1000, read: index * 10, ..Totals::default() },
        });
        let outcome = Outcome {
            title: "a <test> & more".into(),
            send: Some(send),
            samples: samples.collect(),
            ..Outcome::default()
        };
        let html = page(&outcome);
        assert_eq!(html.matches("<svg").count(), 2, "{html}");
        assert!(html.contains("99.9 %") && html.contains("polyline"));
        assert!(html.contains("a &lt;test&gt; &amp; more"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
