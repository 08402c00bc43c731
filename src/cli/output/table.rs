//! Answers for people: a table of items, or a line for each field of one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use comfy_table::{ContentArrangement, Table, TableStyle};
use jiff::Timestamp;
use serde::Serialize;

use crate::api::encoding::word::Word;
use crate::cli::output::error::CliError;
use crate::cli::output::form::{OutputForm, wanted};
use crate::cli::output::stdout::{is_terminal, print, terminal_width};

/// A column or a line: its heading, and what it shows of an item.
pub(crate) struct Column<T> {
    heading: &'static str,
    /// Columns of a higher rank go first where the terminal is too narrow for all.
    rank: u8,
    of: Box<dyn Fn(&T) -> String>,
}

/// Shows a field as it is.
pub(crate) fn column<T: 'static, C: Cell + 'static>(heading: &'static str, field: fn(&T) -> &C) -> Column<T> {
    Column { heading, rank: 0, of: Box::new(move |item| field(item).cell()) }
}

/// Shows what a function makes of the item.
pub(crate) fn made<T: 'static>(heading: &'static str, of: fn(&T) -> String) -> Column<T> {
    Column { heading, rank: 0, of: Box::new(of) }
}

impl<T> Column<T> {
    /// Goes before others where there is too little room.
    pub(crate) fn goes_first(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    fn of(&self, item: &T) -> String {
        let text = shown(&(self.of)(item));
        if text.is_empty() { NOTHING.to_owned() } else { text }
    }
}

/// Spaces between columns.
const GAP: u16 = 2;
/// What stands where there is nothing.
const NOTHING: &str = "-";

/// Prints the items of a list as a table, or says that there are none.
pub(crate) fn print_table<T>(items: &[T], columns: &[Column<T>], none: &str) -> Result<(), CliError> {
    if items.is_empty() {
        print(&format!("{none}\n"))?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|column| column.of(item)).collect()).collect();
    let kept = match wanted() {
        Some(OutputForm::Wide) => (0..columns.len()).collect(),
        _ => fitting(columns, &rows, width()),
    };
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(kept.iter().map(|column| columns[*column].heading));
    for row in &rows {
        table.add_row(kept.iter().map(|column| &row[*column]));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    print(&lines.collect::<String>())?;
    let left_out: Vec<_> = (0..columns.len())
        .filter(|column| !kept.contains(column))
        .map(|column| columns[column].heading)
        .collect();
    if !left_out.is_empty() && is_terminal() {
        eprintln!("(too narrow for {}; -o wide shows all)", left_out.join(", "));
    }
    Ok(())
}

/// Columns that stay however narrow it is: what it is, and what it is called.
const KEPT: usize = 2;
/// Without a terminal.
const WIDTH: usize = 80;

/// How wide a table may be.
fn width() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    set.filter(|width| *width > 0).or_else(terminal_width).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// The columns that there is room for, by their places.
fn fitting<T>(columns: &[Column<T>], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let cells = rows.iter().map(|row| row[place].chars().count());
            cells.max().unwrap_or_default().max(column.heading.chars().count())
        })
        .collect();
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let needs = |kept: &[usize]| {
        let cells: usize = kept.iter().map(|place| widths[*place]).sum();
        cells + usize::from(GAP) * kept.len().saturating_sub(1)
    };
    while needs(&kept) > width {
        // Of the least important ones the last.
        let Some(goes) = kept
            .iter()
            .copied()
            .filter(|place| *place >= KEPT)
            .max_by_key(|place| (columns[*place].rank, *place))
        else {
            break;
        };
        kept.retain(|place| *place != goes);
    }
    kept
}

/// Prints one item, a line per field.
pub(crate) fn print_fields<T>(item: &T, fields: &[Column<T>]) -> Result<(), CliError> {
    let width = fields.iter().map(|field| field.heading.len()).max().unwrap_or_default();
    let line = |field: &Column<T>| format!("{:<width$}  {}\n", field.heading, field.of(item));
    print(&fields.iter().map(line).collect::<String>())
}

/// A time to the second, such as `2026-11-22 20:52:44Z`: RFC 3339 with a space, which its section 5.6 allows.
pub(crate) fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Text of strangers for a terminal: what would move the cursor or turn the writing round is marked instead.
pub(crate) fn shown(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What a column can show. Nothing is the empty text.
pub(crate) trait Cell {
    fn cell(&self) -> String;
}

macro_rules! shown_as_text {
    ($($kind:ty),*) => {
        $(impl Cell for $kind {
            fn cell(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_as_text!(String, Cow<'static, str>, u64, IpAddr);

impl Cell for bool {
    fn cell(&self) -> String {
        if *self { "yes".to_owned() } else { "no".to_owned() }
    }
}

impl Cell for Timestamp {
    fn cell(&self) -> String {
        when(*self)
    }
}

impl<T: Serialize> Cell for Word<T> {
    fn cell(&self) -> String {
        self.to_string()
    }
}

impl<C: Cell> Cell for Option<C> {
    fn cell(&self) -> String {
        self.as_ref().map(C::cell).unwrap_or_default()
    }
}

impl<C: Cell> Cell for Vec<C> {
    fn cell(&self) -> String {
        self.iter().map(C::cell).collect::<Vec<_>>().join(", ")
    }
}

impl Cell for BTreeMap<String, String> {
    fn cell(&self) -> String {
        self.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<C: Cell + 'static>(cell: &C) -> String {
        column("X", |cell: &C| cell).of(cell)
    }

    #[test]
    fn the_least_important_columns_go_first() {
        let plain = |heading| made(heading, |_: &()| String::new());
        let columns = [
            plain("ID"),
            plain("NAME"),
            plain("STATUS").goes_first(1),
            plain("SEEN"),
            plain("OS").goes_first(1),
        ];
        let rows =
            vec![vec!["1".repeat(10), "web-1".to_owned(), "online".into(), "now".into(), "x".repeat(20)]];
        let kept = |width| fitting(&columns, &rows, width);
        assert_eq!(kept(53), [0, 1, 2, 3, 4]);
        assert_eq!(kept(52), [0, 1, 2, 3]);
        assert_eq!(kept(30), [0, 1, 3]);
        assert_eq!(kept(20), [0, 1]);
        assert_eq!(kept(1), [0, 1], "what it is stays");
    }

    #[test]
    fn times_are_shown_to_the_second() {
        let at: Timestamp = "2026-11-22T20:52:44.666Z".parse().unwrap();
        assert_eq!(of(&at), "2026-11-22 20:52:44Z");
        assert_eq!(of(&None::<Timestamp>), "-");
    }

    #[test]
    fn what_strangers_wrote_does_not_steer_a_terminal() {
        let hostile = "a\u{1b}[2Jb\r\nc\u{202e}d".to_owned();
        let harmless = "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d";
        assert_eq!(of(&hostile), harmless);
        assert_eq!(made("X", String::clone).of(&hostile), harmless);
        assert_eq!(
            of(&["10.0.0.5", "fd00::5"].map(|ip| ip.parse::<IpAddr>().unwrap()).to_vec()),
            "10.0.0.5, fd00::5"
        );
        assert_eq!(
            of(&BTreeMap::from([("code".to_owned(), "a".to_owned()), ("by".to_owned(), "b".to_owned())])),
            "by b, code a"
        );
        assert_eq!(of(&Vec::<String>::new()), "-");
    }
}
