//! What commands print: JSON as it came, or tables for people.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, TableStyle};
use serde_json::Value;

use crate::cli::output::error::CliError;
pub(crate) use crate::cli::output::stdout::{SecretOutput, print, print_whole};
use crate::clock;

pub(crate) fn print_json(value: &Value) -> Result<ExitCode, CliError> {
    print(&format!("{value:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The same of a document with a secret in it.
pub(crate) fn reveal_json(output: SecretOutput, value: &Value) -> Result<ExitCode, CliError> {
    output.reveal(&zeroize::Zeroizing::new(format!("{value:#}\n")))?;
    Ok(ExitCode::SUCCESS)
}

/// How far long work has come, on stderr when somebody watches; the line goes away with this.
pub(crate) struct Progress {
    what: &'static str,
    watched: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// How often the line is drawn anew.
    const EVERY: Duration = Duration::from_millis(200);

    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, watched: std::io::stderr().is_terminal(), shown: None }
    }

    pub(crate) fn show(&mut self, reached: impl FnOnce() -> String) {
        if self.watched && self.shown.is_none_or(|shown| shown.elapsed() >= Self::EVERY) {
            self.shown = Some(clock::monotonic());
            eprint!("\r\x1b[K{}: {}", self.what, reached());
        }
    }

    pub(crate) fn show_octets(&mut self, octets: u64) {
        self.show(|| format!("{} MiB", octets >> 20));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// A column or a line: its heading, and what it shows of an item.
pub(crate) struct Column {
    heading: &'static str,
    shows: Shows,
}

enum Shows {
    Field(&'static str),
    Time(&'static str),
    Made(fn(&Value) -> String),
}

/// Shows a field as it is.
pub(crate) const fn field(heading: &'static str, field: &'static str) -> Column {
    Column { heading, shows: Shows::Field(field) }
}

/// Shows a time to the second.
pub(crate) const fn time(heading: &'static str, field: &'static str) -> Column {
    Column { heading, shows: Shows::Time(field) }
}

/// Shows what a function makes of the item.
pub(crate) const fn made(heading: &'static str, of: fn(&Value) -> String) -> Column {
    Column { heading, shows: Shows::Made(of) }
}

impl Column {
    fn of(&self, item: &Value) -> String {
        let text = match self.shows {
            Shows::Field(field) => cell(&item[field]),
            Shows::Time(field) => when(&item[field]),
            Shows::Made(of) => of(item),
        };
        if text.is_empty() { NOTHING.to_owned() } else { text }
    }
}

/// Spaces between columns.
const GAP: u16 = 2;
/// What stands where there is nothing.
const NOTHING: &str = "-";

/// Prints the items of a list as a table, or says that there are none.
pub(crate) fn print_table(items: &[Value], columns: &[Column], none: &str) -> Result<ExitCode, CliError> {
    if items.is_empty() {
        print(&format!("{none}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.heading));
    for item in items {
        table.add_row(columns.iter().map(|column| column.of(item)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    print(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one item, a line per field.
pub(crate) fn print_fields(item: &Value, fields: &[Column]) -> Result<ExitCode, CliError> {
    let width = fields.iter().map(|field| field.heading.len()).max().unwrap_or_default();
    let line = |field: &Column| format!("{:<width$}  {}\n", field.heading, field.of(item));
    print(&fields.iter().map(line).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// A time to the second, such as `2026-11-22 20:52:44Z`: RFC 3339 with a space, which its section 5.6 allows.
pub(crate) fn when(value: &Value) -> String {
    let Some(text) = value.as_str() else { return cell(value) };
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => shown(text),
    }
}

/// The tenant of people and API tokens; those without one belong to all.
pub(crate) fn tenant(item: &Value) -> String {
    item["tenant_id"].as_str().unwrap_or("all").to_owned()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => shown(text),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name} {}", cell(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    }
}

/// Text of strangers for a terminal: what would move the cursor or turn the writing round is marked instead.
fn shown(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(when(&json!("2026-11-22T20:52:44.666Z")), "2026-11-22 20:52:44Z");
        assert_eq!(when(&Value::Null), "-");
    }

    #[test]
    fn what_strangers_wrote_does_not_steer_a_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\r\nc\u{202e}d")), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d");
        assert_eq!(cell(&json!(["10.0.0.5", "fd00::5"])), "10.0.0.5, fd00::5");
        assert_eq!(field("X", "x").of(&json!({ "x": [] })), "-");
    }
}
