//! What commands print besides tables: JSON as it came, and how far long work has come.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::output::error::CliError;
use crate::cli::output::form::{OutputForm, wanted};
pub(crate) use crate::cli::output::stdout::{SecretOutput, print, print_on, print_whole};
use crate::clock;

pub(crate) fn print_json(value: &Value) -> Result<(), CliError> {
    print(&document(value))
}

/// As JSON, or as YAML where that is asked for.
fn document(value: &Value) -> String {
    match wanted() {
        Some(OutputForm::Yaml) => yaml_serde::to_string(value).unwrap_or_else(|_| format!("{value:#}\n")),
        _ => format!("{value:#}\n"),
    }
}

/// The same of a document with a secret in it.
pub(crate) fn reveal_json(output: SecretOutput, value: &Value) -> Result<(), CliError> {
    output.reveal(&zeroize::Zeroizing::new(document(value)))?;
    Ok(())
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
