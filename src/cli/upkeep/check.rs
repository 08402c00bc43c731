//! `muster check`

use std::process::ExitCode;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::encoding::word::Word;
use crate::api::local::{CheckVerdict, CheckedTableItem};
use crate::api::overview::WarningItem;
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, print_table};
use crate::cli::output::values::print_json;
use crate::domain::insight::finding::Severity;
use crate::domain::insight::finding_code::FindingCode;
use crate::server;
use crate::store::{self, OpenError, Store};

/// Check that the store is whole and what needs somebody, while the server runs or not
///
/// Exit status 0: nothing to do. 4: something needs somebody soon. 1: something is broken or could not be checked.
///
/// Reads every record with its checksum, holds every index against its rows and follows the audit chain. The
/// structure of the file itself is walked, too, when no server runs. Names the first damage found. A server that runs does
/// the same with all records once a day, and after a start.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster check\n  muster check --json | jq .findings")]
pub(crate) struct CheckCommand {}

impl CheckCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let store = global.local_config()?.data_dir.join(store::FILE_NAME);
        // Where it can't be opened, as while a server runs, what follows says so or does without.
        if let Err(error @ OpenError::Damaged { .. }) = Store::prove_file(&store) {
            let message = crate::error_chain::chain(&error);
            if global.json {
                let found = json!([{
                    "code": FindingCode::StoreDamaged.as_str(), "severity": Severity::Critical, "count": 1,
                    "at": null, "target": null, "message": message,
                    "hint": "Move muster.redb away and keep it, and restore a backup.",
                }]);
                print_json(&json!({ "damage": message, "tables": [], "findings": found }))?;
            }
            return Err(server::StartError::Store(error).into());
        }
        let control = Control::open_local(global).await?;
        let answer = control.bytes(Call::post("/local/check")).await?;
        let unclear = || CliError::new("the check broke off").hint("the server's log says why");
        // As they came, for --json.
        let lines = serde_json::Deserializer::from_slice(&answer).into_iter::<Value>();
        let mut tables = lines.collect::<Result<Vec<_>, _>>().map_err(|_| unclear())?;
        let last = tables.pop().ok_or_else(unclear)?;
        let verdict: CheckVerdict<Value> = serde_json::from_value(last).map_err(|_| unclear())?;
        if let Some(damage) = verdict.damage {
            if global.json {
                print_json(&json!({ "damage": damage, "tables": tables, "findings": verdict.findings }))?;
            }
            return Err(CliError::new(format!("the store is damaged: {damage}"))
                .hint("stop the server, move muster.redb away and restore a backup"));
        }
        let findings: Vec<WarningItem> = read(&verdict.findings).map_err(|_| unclear())?;
        if global.json {
            print_json(&json!({ "damage": null, "tables": tables, "findings": verdict.findings }))?;
        } else {
            let columns = [
                column("TABLE", |table: &CheckedTableItem| &table.table),
                column("ROWS", |table| &table.rows),
            ];
            print_table(&read(&tables).map_err(|_| unclear())?, &columns, "No tables.")?;
            eprintln!("The store is whole.");
            findings.iter().for_each(say);
        }
        Ok(status(&findings))
    }
}

fn read<T: DeserializeOwned>(lines: &[Value]) -> serde_json::Result<Vec<T>> {
    lines.iter().map(T::deserialize).collect()
}

fn say(finding: &WarningItem) {
    let WarningItem { severity, message, hint, .. } = finding;
    eprintln!("{}: {message}\n  {hint}", severity.to_string().to_uppercase());
}

/// The exit status that the worst finding asks for.
fn status(findings: &[WarningItem]) -> ExitCode {
    let any = |severity: Severity| findings.iter().any(|finding| finding.severity == Word::Known(severity));
    match (any(Severity::Critical), any(Severity::Soon)) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(4),
        (false, false) => ExitCode::SUCCESS,
    }
}
