//! `muster check`

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{field, print_json, print_table};

/// CheckCommand that the store is whole and what needs somebody, while the server runs or not
///
/// Exit status 0: nothing to do. 4: something needs somebody soon. 1: something is broken or could not be checked.
///
/// Reads every record with its checksum, holds every index against its rows and follows the audit chain. The
/// structure of the file itself is checked whenever it is opened: by this command when no server runs, else by
/// the server when it started. Names the first damage found.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster check\n  muster check --json | jq .findings")]
pub(crate) struct CheckCommand {}

impl CheckCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open_local(global).await?;
        let answer = control.bytes(Call::post("/local/check")).await?;
        let unclear = || CliError::new("the check broke off").hint("the server's log says why");
        let mut lines = answer
            .split(|octet| *octet == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice::<Value>)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unclear())?;
        let verdict = lines.pop().ok_or_else(unclear)?;
        let findings = verdict["findings"].as_array().cloned().unwrap_or_default();
        match verdict.get("damage") {
            Some(Value::Null) => {
                if global.json {
                    print_json(&json!({ "damage": null, "tables": lines, "findings": findings }))?;
                } else {
                    print_table(&lines, &[field("TABLE", "table"), field("ROWS", "rows")], "No tables.")?;
                    eprintln!("The store is whole.");
                    findings.iter().for_each(say);
                }
                Ok(status(&findings))
            }
            Some(Value::String(damage)) => Err(CliError::new(format!("the store is damaged: {damage}"))
                .hint("stop the server, move muster.redb away and restore a backup")),
            _ => Err(unclear()),
        }
    }
}

fn say(finding: &Value) {
    let text = |name: &str| finding[name].as_str().unwrap_or_default();
    eprintln!("{}: {}\n  {}", text("severity").to_uppercase(), text("message"), text("hint"));
}

/// The exit status that the worst finding asks for.
fn status(findings: &[Value]) -> ExitCode {
    let any = |severity: &str| findings.iter().any(|finding| finding["severity"] == severity);
    match (any("critical"), any("soon")) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(4),
        (false, false) => ExitCode::SUCCESS,
    }
}
