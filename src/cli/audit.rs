//! `muster audit`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::control::{Call, Control, items};
use super::error::CliError;
use super::output::{Progress, field, made, print, print_json, print_table, print_whole, time};
use crate::durable::Unfinished;

/// List, verify and export the audit trail
///
/// Who did what, from where, on what, and what was refused. Every record holds the hash of the one before, so
/// nothing can be changed, inserted or taken out unnoticed.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Audit {
    /// List records, newest first
    List {
        /// Only records with this text in them
        #[arg(long, short = 's', value_name = "TEXT")]
        search: Option<String>,
        /// Most records to list
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// Only this tenant's records [default: all that you may see]
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// Walk the hash chain and name the first record that breaks it, or those that are missing at its end
    ///
    /// Exit status: 0 if the chain is whole, else 1.
    Verify,
    /// Write the whole trail, one JSON record a line, oldest first
    ///
    /// Each record's `hash` covers the record and `prev_hash`, so an export can be checked without the server.
    Export {
        /// The file to write, or '-' for stdout; an existing file is replaced
        path: PathBuf,
    },
}

const EXAMPLES: &str = "Examples:
  muster audit list --search web-7 --limit 20
  muster audit verify
  muster audit export /backup/audit-$(date +%F).jsonl";

impl Audit {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List { search, limit, tenant } => {
                let call = Call::get("/v1/audit").query("q", search).query("tenant", tenant);
                let answer = control.list_up_to(call, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [
                    field("SEQ", "seq"),
                    time("AT", "at"),
                    field("ACTOR", "actor"),
                    field("SOURCE", "source"),
                    field("ACTION", "action"),
                    field("TARGET", "target"),
                    made("OUTCOME", outcome),
                    field("DETAIL", "detail"),
                ];
                print_table(items(&answer), &columns, "No records.")
            }
            Self::Verify => verify(global, &control).await,
            Self::Export { path } => export(global, &control, &path).await,
        }
    }
}

/// The outcome, with the reason of a refusal beside it.
fn outcome(record: &Value) -> String {
    let outcome = record["outcome"].as_str().unwrap_or_default();
    match record["reason"].as_str() {
        Some(reason) => format!("{outcome}: {reason}"),
        None => outcome.to_owned(),
    }
}

async fn verify(global: &Global, control: &Control) -> Result<ExitCode, CliError> {
    let mut progress = Progress::new("Audit trail");
    progress.show(|| "reading every record".to_owned());
    let answer = control.call(Call::get("/v1/audit/verify")).await?;
    drop(progress);
    let intact = answer["intact"] == true;
    if global.json {
        print_json(&answer)?;
    }
    if !intact {
        let why = answer["why"].as_str().unwrap_or_default();
        let text = match &answer["first_broken"] {
            Value::Null => format!("the audit trail is broken: {why}"),
            seq => format!("the audit trail is broken at record {seq}: {why}"),
        };
        return Err(
            CliError::new(text).hint("compare with an earlier 'muster audit export', and restore a backup")
        );
    }
    if !global.json {
        print(&format!("The audit trail is intact: {} records.\n", answer["records"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(global: &Global, control: &Control, path: &Path) -> Result<ExitCode, CliError> {
    let call = Call::get("/v1/audit").query("order", Some("oldest"));
    let mut records: u64 = 0;
    let mut progress = Progress::new("Audit trail");
    if path.as_os_str() == "-" {
        let written = control.pages(call, |page| {
            records += page.len() as u64;
            print_whole(lines(&page).as_bytes())
        });
        written.await?;
        return Ok(ExitCode::SUCCESS);
    }
    let failed = |error: std::io::Error| CliError::cannot_write(path, &error);
    let mut file = Unfinished::begin_replacing(path).map_err(failed)?;
    let written = control.pages(call, |page| {
        records += page.len() as u64;
        progress.show(|| format!("{records} records"));
        file.write_all(lines(&page).as_bytes()).map_err(failed)
    });
    written.await?;
    file.finish().map_err(failed)?;
    drop(progress);
    if global.json {
        return print_json(&json!({ "path": path, "records": records }));
    }
    print(&format!("{records} records in {}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}
