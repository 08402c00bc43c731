//! The report as a drawing: SVG that needs nothing besides itself, runs nothing, and can be read on light and on dark.

use std::fmt::Write;

use crate::cli::selftest::figures::StepFigures;
use crate::cli::selftest::report::{SelftestReport, disk, memory, ways};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
/// Where the bars begin, and how long the longest may be: what stands behind them needs room.
const BARS: f64 = 140.0;
const BARS_WIDTH: f64 = 380.0;
const HEAD: f64 = 84.0;
const ROW: f64 = 40.0;
const LINE: f64 = 20.0;
/// The axis is logarithmic and begins here, in milliseconds: no bar is shorter.
const FIRST_MS: f64 = 0.1;
/// It has at least so many powers of ten.
const DECADES_MIN: f64 = 4.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1b2430}.paper{fill:#ffffff}.title{font-size:17px;font-weight:600}\
.dim{fill:#5a6675}.failed{fill:#b3261e;font-weight:600}.p50{fill:#1f5fbf}.p99{fill:#9dbff0}.line{stroke:#d5dbe3}\
@media (prefers-color-scheme:dark){text{fill:#e6eaf0}.paper{fill:#14181f}.dim{fill:#9aa5b4}.failed{fill:#ff8a80}.p50{fill:#6ea8ff}\
.p99{fill:#2f4f80}.line{stroke:#323a46}}";

/// The whole drawing.
pub(crate) fn drawing(report: &SelftestReport) -> String {
    let decades = decades(&report.steps);
    let rows = report.steps.len() as f64;
    let foot = HEAD + rows * ROW + 2.0 * LINE;
    let height = foot + (report.proofs.len() as f64 + 4.0) * LINE + MARGIN;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>muster selftest</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let verdict = if report.passed { "everything held" } else { "SOMETHING DID NOT HOLD" };
    text(&mut out, MARGIN, 34.0, "title", &format!("muster {}: {verdict}", report.version));
    let subject = format!(
        "{} agents, {} processors, store in {}; milliseconds, logarithmic",
        report.agents, report.processors, report.directory
    );
    text(&mut out, MARGIN, 56.0, "dim", &subject);
    for decade in 0..=decades {
        let (x, bottom) = (BARS + BARS_WIDTH * f64::from(decade) / f64::from(decades), foot - 2.0 * LINE);
        let _ =
            writeln!(out, "<line class=\"line\" x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        text(&mut out, x, bottom + 14.0, "dim", &format!("{}", FIRST_MS * 10_f64.powi(decade)));
    }
    for (row, step) in report.steps.iter().enumerate() {
        bars(&mut out, HEAD + row as f64 * ROW, step, decades);
    }
    let mut y = foot + LINE;
    for proof in &report.proofs {
        let (class, held) = if proof.held { ("", "held") } else { ("failed", "DID NOT HOLD") };
        text(&mut out, MARGIN, y, class, &format!("{held}: {} ({})", proof.what, proof.checked));
        y += LINE;
    }
    y += LINE / 2.0;
    for line in [
        format!("Rotations: {}", ways(report)),
        format!("Memory: {}", memory(report)),
        format!("Disk: {}", disk(report)),
    ] {
        text(&mut out, MARGIN, y, "dim", &line);
        y += LINE;
    }
    out.push_str("</svg>\n");
    out
}

/// A step's row: its name, a bar to the 99th percentile, on it one to the median, and both in figures.
fn bars(out: &mut String, y: f64, step: &StepFigures, decades: i32) {
    text(out, MARGIN, y + 16.0, "", step.step);
    text(out, MARGIN, y + 31.0, "dim", &counted(step));
    let (Some(p50), Some(p99)) = (step.p50_ms, step.p99_ms) else {
        return text(out, BARS + 8.0, y + 22.0, "dim", "nothing was measured");
    };
    for (class, ms, top, height) in [("p99", p99, 8.0, 22.0), ("p50", p50, 13.0, 12.0)] {
        let (width, top) = (width(ms, decades), y + top);
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{BARS}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\"/>"
        );
    }
    let figures = if step.count == 1 { format!("{p50:.1}") } else { format!("p50 {p50:.1}, p99 {p99:.1}") };
    text(out, BARS + width(p99, decades) + 8.0, y + 23.0, "", &figures);
}

fn counted(step: &StepFigures) -> String {
    match step.per_second {
        Some(per_second) => format!("{} at {per_second:.0}/s", step.count),
        None => step.count.to_string(),
    }
}

/// How many powers of ten the axis needs for the longest bar.
fn decades(steps: &[StepFigures]) -> i32 {
    let longest = steps.iter().filter_map(|step| step.p99_ms).fold(FIRST_MS, f64::max);
    let needed = (longest / FIRST_MS).log10().ceil().max(DECADES_MIN);
    // Between four and what the longest time that can be written needs.
    (0..400).find(|decades| f64::from(*decades) >= needed).unwrap_or(400)
}

fn width(ms: f64, decades: i32) -> f64 {
    let share = (ms.max(FIRST_MS) / FIRST_MS).log10() / f64::from(decades);
    (BARS_WIDTH * share).clamp(2.0, BARS_WIDTH)
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text));
}

/// Text as XML has it (1.0, 2.4), without what XML has no place for: a directory may be called anything.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            character if character.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_drawn_is_text_and_stays_text() {
        assert_eq!(
            escaped("/a<b>&\"c\"\u{1b}\u{ffff}\n"),
            "/a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn bars_are_as_long_as_what_they_show_and_never_longer_than_their_place() {
        let of = |ms: u64| StepFigures::of_one("x", Duration::from_millis(ms));
        assert_eq!(decades(&[]), 4);
        assert_eq!(decades(&[of(1), of(1_000)]), 4);
        assert_eq!(decades(&[of(1_001)]), 5);
        assert_eq!(decades(&[of(60_000)]), 6);
        assert_eq!(width(0.0, 4), 2.0);
        assert_eq!(width(10.0, 4).round(), BARS_WIDTH / 2.0);
        assert_eq!(width(1e12, 4), BARS_WIDTH);
    }
}
