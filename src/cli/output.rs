//! What commands print: JSON as it came, or tables for people.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, TableStyle};
use serde_json::Value;

use super::error::CliError;

/// Writes text to stdout. A reader that went away is no reason to fail.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::new(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn print_json(value: &Value) -> Result<ExitCode, CliError> {
    print(&format!("{value:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// How far long work has come, on stderr when somebody watches; the line goes away with this.
pub(super) struct Progress {
    what: &'static str,
    watched: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// How often the line is drawn anew.
    const EVERY: Duration = Duration::from_millis(200);

    pub(super) fn new(what: &'static str) -> Self {
        Self { what, watched: std::io::stderr().is_terminal(), shown: None }
    }

    pub(super) fn show(&mut self, octets: u64) {
        if self.watched && self.shown.is_none_or(|shown| shown.elapsed() >= Self::EVERY) {
            self.shown = Some(Instant::now());
            eprint!("\r{}: {} MiB", self.what, octets >> 20);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// A column: its heading and the field that it shows.
pub(super) type Column = (&'static str, &'static str);

/// Prints the items of a list as a table, or says that there are none.
pub(super) fn print_table(items: &[Value], columns: &[Column], none: &str) -> Result<ExitCode, CliError> {
    if items.is_empty() {
        print(&format!("{none}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(columns.iter().map(|(_, field)| cell(&item[*field])));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    print(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one item, a line per field.
pub(super) fn print_fields(item: &Value, fields: &[Column]) -> Result<ExitCode, CliError> {
    let width = fields.iter().map(|(heading, _)| heading.len()).max().unwrap_or_default();
    let line = |(heading, field): &Column| format!("{heading:<width$}  {}\n", cell(&item[*field]));
    print(&fields.iter().map(line).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name} {}", cell(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    }
}
