//! The table as a picture: an SVG that needs nothing beside it and can be read on a light and on a dark page.

use std::fmt::Write;

use crate::outcome::{Outcome, Spread, Summary};
use crate::report::Report;

/// Where things are, in the picture's own units.
const WIDTH: f64 = 960.0;
const TOP: f64 = 84.0;
const ROW: f64 = 52.0;
const BAR: f64 = 16.0;
/// The left edge of each panel's bars, and how long the longest may be.
const PANELS: [f64; 2] = [212.0, 612.0];
const LENGTH: f64 = 230.0;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1b1f24; }
text.title { font-size: 16px; font-weight: 600; }
text.quiet { font-size: 11px; fill: #57606a; }
.paper { fill: #ffffff; } .bare { fill: #9aa4af; } .muster { fill: #1f6feb; }
.range { stroke: #1b1f24; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } text.quiet { fill: #9da7b1; }
  .paper { fill: #0d1117; } .bare { fill: #6e7681; } .muster { fill: #58a6ff; }
  .range { stroke: #e6edf3; }
}
";

/// A figure that both servers have, with its digits after the point.
struct Panel {
    title: &'static str,
    figure: fn(&Summary) -> Option<Spread>,
    decimals: usize,
}

pub fn svg(report: &Report) -> String {
    let mut svg = String::new();
    write_svg(&mut svg, report).expect("a text takes everything");
    svg
}

fn write_svg(svg: &mut String, report: &Report) -> std::fmt::Result {
    let Report { machine, outcomes, .. } = report;
    let height = TOP + ROW * outcomes.len() as f64 + 36.0;
    let title = "Muster beside the bare ceiling";
    let subtitle = escaped(&format!("{}; lines: the least and the most", report.run()));
    let made_on = escaped(&format!(
        "{}, {} cores, {}, {}, load average {} before",
        machine.date, machine.cores, machine.processor, machine.kernel, machine.load_before
    ));
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">
<title id="title">{title}</title>
<style>{STYLE}</style>
<rect class="paper" width="{WIDTH}" height="{height}"/>
<text class="title" x="16" y="28">{title}</text>
<text class="quiet" x="16" y="46">{subtitle}</text>
<rect class="bare" x="730" y="18" width="12" height="12"/><text x="748" y="28">bare</text>
<rect class="muster" x="800" y="18" width="12" height="12"/><text x="818" y="28">muster</text>"#
    )?;
    for (row, outcome) in outcomes.iter().enumerate() {
        let y = TOP + ROW * row as f64 + BAR + 4.0;
        writeln!(svg, r#"<text x="16" y="{y}">{}</text>"#, escaped(outcome.scenario))?;
    }
    let panels = [
        Panel { title: "operations per second", figure: |it| it.rate_per_s, decimals: 0 },
        Panel { title: "server CPU, ms per operation", figure: |it| it.server_cpu_ms, decimals: 3 },
    ];
    for (panel, x) in panels.iter().zip(PANELS) {
        panel.draw(svg, x, outcomes)?;
    }
    writeln!(svg, r#"<text class="quiet" x="16" y="{}">{made_on}</text>"#, height - 14.0)?;
    writeln!(svg, "</svg>")
}

impl Panel {
    fn draw(&self, svg: &mut String, x: f64, outcomes: &[Outcome]) -> std::fmt::Result {
        let both =
            |outcome: &Outcome| [outcome.bare.as_ref().and_then(self.figure), (self.figure)(&outcome.muster)];
        let most =
            outcomes.iter().flat_map(both).flatten().map(|it| it.max).fold(f64::MIN_POSITIVE, f64::max);
        let scale = LENGTH / most;
        writeln!(svg, r#"<text class="quiet" x="{x}" y="{}">{}</text>"#, TOP - 12.0, escaped(self.title))?;
        for (row, outcome) in outcomes.iter().enumerate() {
            for (line, (class, spread)) in ["bare", "muster"].into_iter().zip(both(outcome)).enumerate() {
                let Some(Spread { median, min, max }) = spread else { continue };
                let y = TOP + ROW * row as f64 + (BAR + 2.0) * line as f64;
                let (middle, baseline) = (y + BAR / 2.0, y + BAR - 4.0);
                let [length, from, to] = [median, min, max].map(|value| value * scale);
                writeln!(
                    svg,
                    r#"<rect class="{class}" x="{x}" y="{y}" width="{length:.1}" height="{BAR}"/>"#
                )?;
                let (from, to) = (x + from, x + to);
                writeln!(
                    svg,
                    r#"<line class="range" x1="{from:.1}" y1="{middle}" x2="{to:.1}" y2="{middle}"/>"#
                )?;
                let (label, decimals) = (to.max(x + length) + 6.0, self.decimals);
                writeln!(svg, r#"<text x="{label:.1}" y="{baseline}">{median:.decimals$}</text>"#)?;
            }
        }
        Ok(())
    }
}

/// Text that can stand in an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
