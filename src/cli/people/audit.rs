//! `muster audit`

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::audit::{AuditItem, ChainAnswer};
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made, shown, when};
use crate::cli::output::values::{Progress, print, print_json, print_on, print_whole};
use crate::cli::received::Received;
use crate::domain::insight::audit::{AuditRecord, ChainHead, HOSTNAME};
use crate::durable::Unfinished;

/// More octets than any line of an export has.
const LINE_OCTETS_MAX: u64 = 1 << 20;

/// List, verify and export the audit trail
///
/// Who did what, from where, on what, and what was refused. Every record holds the hash of the one before, so
/// nothing can be changed, inserted or taken out unnoticed.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AuditCommand {
    /// List records, newest first
    List {
        /// Only records with this text in them
        #[arg(long, short = 's', value_name = "TEXT")]
        search: Option<String>,
        /// Most records to list
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// Only this tenant's records [default: all that you may see]
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Go on with what comes, the oldest first; with --json a document a line
        #[arg(long, short = 'f')]
        follow: bool,
    },
    /// Walk the hash chain and name the first record that breaks it, or those that are missing at its end
    ///
    /// With FILE, the chain of an export, which needs no server: that it is whole up to its last record, not that
    /// none came after it. Exit status: 0 if the chain is whole, else 1.
    Verify {
        /// An exported trail to verify, or '-' for stdin, instead of the server's
        file: Option<PathBuf>,
    },
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
  muster audit list --follow
  muster audit verify
  muster audit verify /backup/audit-2026-11-26.jsonl
  muster audit export /backup/audit-$(date +%F).jsonl";

impl AuditCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        if let Self::Verify { file: Some(file) } = &self {
            return verify_file(global, file);
        }
        let control = Control::open(global).await?;
        match self {
            Self::List { search, limit, tenant, follow: true } => {
                follow(global, &control, search.as_deref(), limit, tenant.as_deref()).await
            }
            Self::List { search, limit, tenant, follow: false } => {
                let call = Call::get("/v1/audit").query("q", search).query("tenant", tenant);
                let answer = control.list_up_to(call, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
                let columns = [
                    column("SEQ", |record: &AuditItem| &record.seq),
                    column("AT", |record| &record.at),
                    column("ACTOR", |record| &record.actor),
                    column("SOURCE", |record: &AuditItem| &record.source).goes_first(2),
                    column("ACTION", |record| &record.action),
                    column("TARGET", |record: &AuditItem| &record.target).goes_first(1),
                    made("HOST", hostname),
                    made("OUTCOME", outcome),
                    column("DETAIL", |record: &AuditItem| &record.detail).goes_first(3),
                ];
                answer.print_list(global.json, &columns, "No records.")
            }
            Self::Verify { .. } => verify(global, &control).await,
            Self::Export { path } => export(global, &control, &path).await,
        }
    }
}

/// How often is asked what has come.
const LOOKED_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Prints the newest records, the oldest of them first, and whatever comes, until nobody reads any more.
async fn follow(
    global: &Global,
    control: &Control,
    search: Option<&str>,
    limit: u64,
    tenant: Option<&str>,
) -> Result<(), CliError> {
    let asked = || Call::get("/v1/audit").query("q", search).query("tenant", tenant);
    let newest = control.list_up_to(asked(), usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    let mut records: Vec<Value> = newest.items()?;
    records.reverse();
    // Without a filter, so that what does not match is not looked through again and again.
    let last =
        control.list_up_to(Call::get("/v1/audit").query("tenant", tenant), 1).await?.items::<AuditItem>()?;
    let mut seen = last.first().map_or(0, |record| record.seq);
    loop {
        for record in &records {
            let line = if global.json { format!("{record}\n") } else { line_of(record)? };
            if !print_on(&line)? {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOKED_EVERY).await;
        let call = asked().query("order", Some("oldest")).query("cursor", Some(seen));
        records = control.list(call).await?.items()?;
        for record in &records {
            seen = seen.max(record["seq"].as_u64().unwrap_or_default());
        }
    }
}

/// A record in one line, as it comes.
fn line_of(record: &Value) -> Result<String, CliError> {
    let record = AuditItem::deserialize(record)
        .map_err(|error| CliError::new(format!("the server's answer can't be understood: {error}")))?;
    let parts = [
        record.seq.to_string(),
        when(record.at),
        record.actor.clone(),
        record.action.clone(),
        record.target.clone(),
        hostname(&record),
        outcome(&record),
    ];
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| shown(part)).collect();
    Ok(parts.join("  ") + "\n")
}

/// The name of the host that a record is about, if it has one.
fn hostname(record: &AuditItem) -> String {
    record.names.get(HOSTNAME).and_then(|hostname| hostname.name.clone()).unwrap_or_default()
}

/// The outcome, with the reason of a refusal beside it.
fn outcome(record: &AuditItem) -> String {
    match &record.reason {
        Some(reason) => format!("{}: {reason}", record.outcome),
        None => record.outcome.to_string(),
    }
}

async fn verify(global: &Global, control: &Control) -> Result<(), CliError> {
    let mut progress = Progress::new("Audit trail");
    progress.show(|| "reading every record".to_owned());
    let answer = control.call(Call::get("/v1/audit/verify")).await?;
    drop(progress);
    report(global, &answer)
}

/// Verifies an exported trail.
fn verify_file(global: &Global, path: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read {}: {error}", path.display()));
    let check = if path.as_os_str() == "-" {
        walk(std::io::stdin().lock())
    } else {
        walk(BufReader::new(File::open(path).map_err(failed)?))
    };
    let (records, broken) = check.map_err(failed)?;
    let (first_broken, why) = broken.unzip();
    let why = why.map(str::to_owned);
    report(global, &Received::of(&ChainAnswer { records, intact: why.is_none(), first_broken, why }))
}

/// Follows the chain through an export. Returns how many records hold together, and the number of the first one
/// that does not belong there, with the reason.
fn walk(mut export: impl BufRead) -> std::io::Result<(u64, Option<(u64, &'static str)>)> {
    let mut head = ChainHead::genesis();
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut export).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok((head.seq, None));
        }
        let why = match record(&line) {
            Some(record) if record.follows(&head) => {
                head = ChainHead { seq: record.seq, hash: record.hash };
                continue;
            }
            Some(record) if record.seq != head.seq + 1 => "it is missing, or another one is in its place",
            Some(_) => "it does not continue the chain",
            None => "it cannot be read",
        };
        return Ok((head.seq, Some((head.seq + 1, why))));
    }
}

/// The record on a line; `None` when the line is anything else, or has more in it than the hash covers.
fn record(line: &[u8]) -> Option<AuditRecord> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let record = AuditRecord::deserialize(&line).ok()?;
    // Without names, an export has an empty object where the hashed record has none.
    let as_hashed = serde_json::to_value(&record).ok()?;
    let as_exported = serde_json::to_value(AuditItem::deserialize(&line).ok()?).ok()?;
    (line == as_hashed || line == as_exported).then_some(record)
}

/// Tells what came of a verification.
fn report(global: &Global, answer: &Received) -> Result<(), CliError> {
    if global.json {
        print_json(&answer.raw)?;
    }
    let chain: ChainAnswer = answer.read()?;
    if !chain.intact {
        let why = chain.why.unwrap_or_default();
        let text = match chain.first_broken {
            None => format!("the audit trail is broken: {why}"),
            Some(seq) => format!("the audit trail is broken at record {seq}: {why}"),
        };
        return Err(
            CliError::new(text).hint("compare with an earlier 'muster audit export', and restore a backup")
        );
    }
    if !global.json {
        print(&format!("The audit trail is intact: {} records.\n", chain.records))?;
    }
    Ok(())
}

async fn export(global: &Global, control: &Control, path: &Path) -> Result<(), CliError> {
    let call = Call::get("/v1/audit").query("order", Some("oldest"));
    let mut records: u64 = 0;
    let mut progress = Progress::new("Audit trail");
    if path.as_os_str() == "-" {
        let written = control.pages(call, usize::MAX, |page| {
            records += page.len() as u64;
            print_whole(lines(&page)?.as_bytes())
        });
        written.await?;
        return Ok(());
    }
    let failed = |error: std::io::Error| CliError::cannot_write(path, &error);
    let mut file = Unfinished::begin_replacing(path).map_err(failed)?;
    let written = control.pages(call, usize::MAX, |page| {
        records += page.len() as u64;
        progress.show(|| format!("{records} records"));
        file.write_all(lines(&page)?.as_bytes()).map_err(failed)
    });
    written.await?;
    file.finish().map_err(failed)?;
    drop(progress);
    if global.json {
        return print_json(&json!({ "path": path, "records": records }));
    }
    print(&format!("{records} records in {}\n", path.display()))
}

/// Records as lines of an export. Those who see one tenant get no hashes, and without them it would prove nothing.
fn lines(records: &[Value]) -> Result<String, CliError> {
    let hidden = |record: &Value| AuditItem::deserialize(record).is_ok_and(|record| record.hash.is_none());
    if records.iter().any(hidden) {
        let text = "an export is the chain of all tenants, and you see the records of one";
        return Err(CliError::new(text).hint(
            "use an API token that belongs to no tenant, or run it as the local operator; \
             'muster audit list' shows what you may see",
        ));
    }
    Ok(records.iter().map(|record| format!("{record}\n")).collect())
}
