//! The table, as text that fits into 120 columns.

use std::fmt::Write;

use crate::outcome::{Outcome, Spread, Summary};
use crate::report::Report;

pub fn table(report: &Report) -> String {
    let mut text = String::new();
    write_table(&mut text, report).expect("a text takes everything");
    text
}

fn write_table(text: &mut String, report: &Report) -> std::fmt::Result {
    let Report { machine, outcomes, .. } = report;
    writeln!(text, "\n{}  {} cores, {}, {}", machine.date, machine.cores, machine.processor, machine.kernel)?;
    writeln!(text, "load average {} before, {} after", machine.load_before, machine.load_after)?;
    let run = report.run();
    writeln!(text, "{run}\n")?;
    writeln!(
        text,
        "{:<28} {:>20} {:>21} {:>15} {:>14} {:>14}",
        "", "operations/s", "server CPU, ms each", "muster, ms", "flushes each", "KiB written"
    )?;
    writeln!(
        text,
        "{:<28} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>8} {:>6} {:>7} {:>6} {:>7} {:>6}",
        "scenario",
        "bare",
        "muster",
        "ratio",
        "bare",
        "muster",
        "ratio",
        "p50",
        "p99",
        "bare",
        "muster",
        "bare",
        "muster",
    )?;
    for Outcome { scenario, bare, muster, muster_to_bare, .. } in outcomes {
        let bare = |figure: fn(&Summary) -> Option<Spread>| bare.as_ref().and_then(figure);
        let (rate, cpu) = muster_to_bare.as_ref().map_or((None, None), |it| (it.rate, it.server_cpu));
        let cells = [
            cell(bare(|it| it.rate_per_s), 6, 0),
            cell(muster.rate_per_s, 6, 0),
            cell(rate, 6, 2),
            cell(bare(|it| it.server_cpu_ms), 7, 3),
            cell(muster.server_cpu_ms, 6, 3),
            cell(cpu, 6, 2),
            cell(muster.p50_ms, 8, 2),
            cell(muster.p99_ms, 6, 1),
            cell(bare(|it| it.flushes), 7, 2),
            cell(muster.flushes, 6, 2),
            cell(bare(|it| it.device_kib), 7, 1),
            cell(muster.device_kib, 6, 1),
        ];
        writeln!(text, "{scenario:<28} {}", cells.join(" "))?;
    }
    writeln!(text)
}

fn cell(figure: Option<Spread>, width: usize, decimals: usize) -> String {
    figure.map_or_else(|| format!("{:>width$}", "-"), |it| format!("{:>width$.decimals$}", it.median))
}
