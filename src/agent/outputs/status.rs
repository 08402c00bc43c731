//! `muster agent outputs --status`: what each output has, since when, and what became of its command. It asks nobody.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::agent::outputs::config::{OutputConfig, OutputsConfig};
use crate::agent::outputs::files::directory::OutputDirectory;
use crate::agent::outputs::record::{Records, Trouble};
use crate::domain::enroll::enrollment::past_not_after;
use crate::error_chain::chain;

/// How an output is, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputState {
    Ok,
    /// The lists are older than they should be.
    OldLists,
    /// Its command fails.
    OnChangeFails,
    /// The certificate has run out.
    Expired,
    /// Files can't be written.
    Failing,
    /// Nothing has been written yet.
    Empty,
}

impl OutputState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OldLists => "old lists",
            Self::OnChangeFails => "on_change fails",
            Self::Expired => "expired",
            Self::Failing => "failing",
            Self::Empty => "empty",
        }
    }
}

/// One output, by field as it is printed with `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct OutputStatus {
    pub dir: PathBuf,
    pub format: &'static str,
    pub state: OutputState,
    /// Whether a `muster agent outputs` keeps it at present.
    pub kept: bool,
    pub spiffe_id: Option<String>,
    pub serial: Option<String>,
    pub not_after: Option<Timestamp>,
    pub written_at: Option<Timestamp>,
    /// When the first of its lists runs out.
    pub lists_until: Option<Timestamp>,
    pub problem: Option<String>,
    pub problem_since: Option<Timestamp>,
    pub lists_problem: Option<String>,
    pub on_change_last_run_at: Option<Timestamp>,
    pub on_change_last_success_at: Option<Timestamp>,
    pub on_change_failure: Option<String>,
    pub on_change_failing_since: Option<Timestamp>,
    pub on_change_failures: u32,
}

/// Looks at every output.
pub fn outputs_status(config: &OutputsConfig, now: Timestamp) -> Vec<OutputStatus> {
    let records = Records::of(config);
    config.outputs.iter().map(|output| of_output(output, &records, now)).collect()
}

fn of_output(output: &OutputConfig, records: &Records, now: Timestamp) -> OutputStatus {
    let record = records.read(&output.dir);
    // Whoever asks may be another user than the one that writes, so what that one could do is in its record alone.
    let glanced = OutputDirectory::glance(&output.dir);
    let kept = matches!(glanced, Ok((_, true)));
    let seen = glanced.as_ref().err().map(|error| Trouble { since: now, what: chain(error) });
    let there = match (&glanced, &record.set) {
        (Ok((directory, _)), Some(set)) => directory.has(set, &record.visible),
        _ => false,
    };
    let trouble = seen.or_else(|| record.trouble.clone());
    let run = &record.on_change;
    let state = if trouble.is_some() {
        OutputState::Failing
    } else if !there {
        OutputState::Empty
    } else if record.not_after.is_some_and(|end| past_not_after(end, now)) {
        OutputState::Expired
    } else if run.failure.is_some() && output.on_change.is_some() {
        OutputState::OnChangeFails
    } else if record.lists_trouble.is_some() || record.lists_until.is_some_and(|until| until < now) {
        OutputState::OldLists
    } else {
        OutputState::Ok
    };
    OutputStatus {
        dir: output.dir.clone(),
        format: output.format.as_str(),
        state,
        kept,
        spiffe_id: record.spiffe_id,
        serial: record.serial,
        not_after: record.not_after,
        written_at: record.written_at,
        lists_until: record.lists_until,
        problem_since: trouble.as_ref().map(|trouble| trouble.since),
        problem: trouble.map(|trouble| trouble.what),
        lists_problem: record.lists_trouble.map(|trouble| trouble.what),
        on_change_last_run_at: run.last_run_at,
        on_change_last_success_at: run.last_success_at,
        on_change_failure: run.failure.as_ref().map(|failure| failure.what.clone()),
        on_change_failing_since: run.failure.as_ref().map(|failure| failure.since),
        on_change_failures: run.failures,
    }
}
