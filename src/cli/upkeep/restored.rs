//! `muster restore declare` and `muster restore confirm`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use serde_json::json;

use crate::api::local::{ConfirmBody, ConfirmedAnswer, DeclareBody, EpochAnswer, SuspendedItem};
use crate::app::keep::restore::LIST_MAX;
use crate::app::keep::restore::confirm::SuspendedKind;
use crate::app::keep::restore::declare::{DECLARED_JOURNAL, DECLARED_LIST};
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, print_table};
use crate::cli::output::values::print_json;
use crate::durable;

/// What follows a restore, or does for a store that is older than it was what a restore would have done.
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreStep {
    /// Let agents come back that rotated in a time that the store has lost, while the server runs or not
    ///
    /// For a virtual machine that was set back and files that were copied back: 'muster check' and the overview say
    /// rolled_back once an agent has shown a certificate that tells of it. Begins the restore epoch that a restore would have
    /// begun: nobody comes back who was revoked in that time, as the journal or list of before tells.
    #[command(after_help = "Examples:\n  muster restore declare --journal /backup/revocations.log")]
    Declare {
        /// When the server of before was lost, where no journal tells
        #[arg(long, value_name = "TIME")]
        lost_at: Option<Timestamp>,
        /// The revocation journal of before: revocations.log as it was when the time was lost
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
        /// A revocation list that was fetched in the time that was lost, DER
        #[arg(long, value_name = "FILE")]
        crl: Option<PathBuf>,
        /// Let no agent come back with a certificate that is on no record
        #[arg(long)]
        strict: bool,
        /// Begin it although nothing says who was revoked in the time that was lost
        #[arg(long)]
        accept_revocation_loss: bool,
    },
    /// Let secrets, API tokens or passwords count again that were suspended after a restore without a journal
    ///
    /// Look through them first: what was revoked, deleted or changed in the time that was lost is among them.
    #[command(
        after_help = "Examples:\n  muster restore confirm people alice bob\n  muster restore confirm secrets"
    )]
    Confirm {
        /// What to confirm
        #[arg(value_parser = PossibleValuesParser::new(SuspendedKind::ALL.iter().map(|word| word.as_str())).try_map(|word| word.parse::<SuspendedKind>()))]
        kind: SuspendedKind,
        /// Their ids, or names of people [default: all that wait]
        ids: Vec<String>,
        /// Show what waits, and confirm nothing
        #[arg(long, conflicts_with = "ids")]
        list: bool,
    },
}

const DECLARE: &str = "/local/restore/declare";
const CONFIRM: &str = "/local/restore/confirm";

impl RestoreStep {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Declare { lost_at, journal, crl, strict, accept_revocation_loss } => {
                let body = DeclareBody {
                    journal: journal.is_some(),
                    crl: crl.is_some(),
                    lost_at,
                    strict,
                    accept_revocation_loss,
                };
                declare(global, body, journal.as_deref(), crl.as_deref()).await
            }
            Self::Confirm { kind, list: true, .. } => list(global, kind).await,
            Self::Confirm { kind, ids, .. } => confirm(global, kind, ids).await,
        }
    }
}

/// Files beside the store, for the server to compare; gone when this is.
struct Lent(Vec<PathBuf>);

impl Drop for Lent {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A server that runs as another user reads no file of the operator's, so it gets copies.
fn lend(data_dir: &Path, given: [(Option<&Path>, &str); 2]) -> Result<Lent, CliError> {
    let _custody = Custody::of(data_dir);
    let mut lent = Lent(Vec::new());
    for (from, name) in given {
        let Some(from) = from else { continue };
        let mut content = Vec::new();
        File::open(from)
            .and_then(|file| file.take(LIST_MAX).read_to_end(&mut content))
            .map_err(|error| CliError::new(format!("cannot read {}: {error}", from.display())))?;
        let to = data_dir.join(name);
        durable::replace(&to, durable::OWNER_ONLY, &content)
            .map_err(|error| CliError::cannot_write(&to, &error))?;
        lent.0.push(to);
    }
    Ok(lent)
}

async fn declare(
    global: &Global,
    body: DeclareBody,
    journal: Option<&Path>,
    crl: Option<&Path>,
) -> Result<(), CliError> {
    let config = global.local_config()?;
    let control = Control::open_local(global).await?;
    let _lent = lend(&config.data_dir, [(journal, DECLARED_JOURNAL), (crl, DECLARED_LIST)])?;
    let answer = control.call(Call::post(DECLARE).body(&body)).await.map_err(advised)?;
    if global.json {
        return print_json(&answer.raw);
    }
    say(&answer.read()?);
    Ok(())
}

/// What helps where nothing was begun.
fn advised(error: CliError) -> CliError {
    let loss = error.message.contains("neither a revocation journal");
    if !loss {
        return error;
    }
    error.hint(
        "give the revocations.log of before with --journal, or a revocation list that was fetched from the server of before with \
         --crl; --accept-revocation-loss goes on without: whoever was revoked in that time is back then",
    )
}

fn say(begun: &EpochAnswer) {
    let EpochAnswer { backup_of, lost_at, certificates_denied, identities_denied, hosts_in_service, .. } =
        begun;
    eprintln!("The store lacks what happened between {backup_of:.0} and {lost_at:.0}.");
    eprintln!(
        "  {certificates_denied} more certificates and {identities_denied} more identities are denied."
    );
    for (name, count) in begun.withdrawn.iter().filter(|(_, count)| **count > 0) {
        eprintln!("  Taken away in that time, and again now: {count} {}.", super::restore::words(name));
    }
    let (tokens, sessions) = (begun.tokens_voided, begun.sessions_ended);
    eprintln!("  {tokens} open join tokens were voided and {sessions} sessions ended.");
    eprintln!("What will happen:");
    eprintln!(
        "  {hosts_in_service} hosts are in service; those that have not rotated in that time go on as before."
    );
    match begun.comes_back_until {
        Some(until) => eprintln!(
            "  Agents that enrolled or rotated in that time come back by themselves, without a token, until {until:.0}. Each is flagged: \
             muster host list --flag recovered"
        ),
        None => eprintln!(
            "  Agents that enrolled or rotated in that time must enroll again, because of --strict."
        ),
    }
    if begun.suspended.values().any(|count| *count > 0) {
        eprintln!(
            "  Enrollment secrets, API tokens and passwords count for nothing until you confirm them: muster restore confirm secrets, \
             muster restore confirm api-tokens, muster restore confirm people"
        );
    }
}

async fn list(global: &Global, kind: SuspendedKind) -> Result<(), CliError> {
    global.local_config()?;
    let control = Control::open_local(global).await?;
    let all: Vec<SuspendedItem> = control.call(Call::get(CONFIRM)).await?.read()?;
    let waiting: Vec<_> = all.into_iter().filter(|item| item.kind == kind.as_str()).collect();
    if global.json {
        return print_json(&json!({ "items": waiting }));
    }
    let columns = [
        column("ID", |item: &SuspendedItem| &item.id),
        column("NAME", |item| &item.name),
        column("SINCE", |item| &item.since),
    ];
    print_table(&waiting, &columns, "Of these nothing waits to be confirmed.")
}

async fn confirm(global: &Global, kind: SuspendedKind, ids: Vec<String>) -> Result<(), CliError> {
    global.local_config()?;
    let control = Control::open_local(global).await?;
    let body = ConfirmBody { kind: kind.to_string(), ids };
    let answer = control.call(Call::post(CONFIRM).body(&body)).await?;
    let ConfirmedAnswer { confirmed, unknown } = answer.read()?;
    if let Some(unknown) = unknown.first() {
        return Err(CliError::new(format!(
            "nothing of these waits to be confirmed that is called '{unknown}'; nothing was done"
        ))
        .hint("'muster restore confirm' without ids takes all that wait"));
    }
    if global.json {
        return print_json(&answer.raw);
    }
    if confirmed.is_empty() {
        eprintln!("Of these nothing waits to be confirmed.");
    }
    for SuspendedItem { id, name, .. } in confirmed {
        eprintln!("Counts again: {name} ({id})");
    }
    Ok(())
}
