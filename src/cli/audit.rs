//! `muster audit`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::control::{Call, Control, items};
use super::error::CliError;
use super::output::{print, print_json, print_table};

/// The audit trail: who did what, from where, on what, and what was refused.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List records, newest first
    List {
        /// Only records with this text in them
        #[arg(long, short = 's', value_name = "TEXT")]
        search: Option<String>,
        /// Most records to list
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// Only this tenant's records
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// Walk the hash chain and name the first record that breaks it, or those that are missing at its end
    Verify,
    /// Write the whole trail, one JSON record a line, oldest last
    Export {
        /// The file to write, or '-' for stdout; an existing file is replaced
        path: PathBuf,
    },
}

impl Audit {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List { search, limit, tenant } => {
                let call = Call::get("/v1/audit").query("q", search).query("tenant", tenant);
                let mut answer =
                    control.list_up_to(call, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
                if global.json {
                    return print_json(&answer);
                }
                if let Some(Value::Array(records)) = answer.get_mut("items") {
                    records.iter_mut().for_each(summarise);
                }
                let columns = [
                    ("SEQ", "seq"),
                    ("AT", "at"),
                    ("ACTOR", "actor"),
                    ("SOURCE", "source"),
                    ("ACTION", "action"),
                    ("TARGET", "target"),
                    ("OUTCOME", "outcome"),
                ];
                print_table(items(&answer), &columns, "No records.")
            }
            Self::Verify => verify(global, &control).await,
            Self::Export { path } => export(global, &control, &path).await,
        }
    }
}

/// Puts the reason of a refusal beside its outcome.
fn summarise(record: &mut Value) {
    if let Some(reason) = record["reason"].as_str() {
        record["outcome"] = json!(format!("refused: {reason}"));
    }
}

async fn verify(global: &Global, control: &Control) -> Result<ExitCode, CliError> {
    let answer = control.call(Call::get("/v1/audit/verify")).await?;
    let intact = answer["intact"] == true;
    if global.json {
        print_json(&answer)?;
    }
    if !intact {
        let why = answer["why"].as_str().unwrap_or_default();
        let text = format!("the audit trail is broken at record {}: {why}", answer["first_broken"]);
        return Err(
            CliError::new(text).hint("compare with an earlier 'muster audit export', and restore a backup")
        );
    }
    if !global.json {
        print(&format!("The audit trail is intact: {} records.\n", answer["records"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(global: &Global, control: &Control, path: &std::path::Path) -> Result<ExitCode, CliError> {
    let answer = control.list(Call::get("/v1/audit")).await?;
    let mut lines = Vec::new();
    for record in items(&answer) {
        // Writing to memory does not fail.
        let _ = writeln!(lines, "{record}");
    }
    if path.as_os_str() == "-" {
        print(&String::from_utf8_lossy(&lines))?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::durable::replace(path, crate::durable::OWNER_ONLY, &lines)
        .map_err(|error| CliError::new(format!("cannot write {}: {error}", path.display())))?;
    let records = items(&answer).len();
    if global.json {
        return print_json(&json!({ "path": path, "records": records }));
    }
    print(&format!("{records} records in {}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
