//! `muster restore`

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::app::access::caller::{Caller, LocalVia};
use crate::app::keep::restore::{InCharge, RestoreError, Restored, restore};
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::output::error::CliError;
use crate::cli::output::values::{Progress, print_json};
use crate::clock::{Clock, SystemClock};
use crate::server::{self, StartError};
use crate::store;

/// Put a backup in the place of a store that was lost
///
/// The data directory must be without a store; whatever else is in it stays. Nobody comes back who was revoked
/// since the backup: the revocation journal beside the lost store is applied if it is still there, and so is a
/// newer revocation list given with --crl. Join tokens that were open are voided and people sign in again.
/// Certificates issued since the backup are unknown afterwards: their hosts must enroll again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreCommand {
    /// The backup, as 'muster backup' wrote it
    path: PathBuf,
    /// A revocation list newer than the backup, DER, as it was served at /agent-ca.crl
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Take a backup of 0.1.0, which anybody could have made who knows the envelope's public key; shows first whom
    /// it puts in charge
    #[arg(long)]
    accept_unauthenticated: bool,
}

const EXAMPLES: &str = "Examples:
  systemctl stop muster
  mv /var/lib/muster/muster.redb /var/lib/muster/muster.redb.lost     # revocations.log stays where it is
  muster restore /backup/muster-2026-11-22.age
  systemctl start muster";

/// Longest revocation list that is read, in octets: a million entries.
const LIST_MAX: u64 = 64 << 20;

impl RestoreCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let config = global.local_config()?;
        global.log(Some(&config))?;
        store::Restoring::vacant(&config.data_dir).map_err(|error| {
            CliError::caused(&error)
                .hint("stop the server and move muster.redb away; keep revocations.log where it is")
        })?;
        let backup = open(&self.path)?;
        let list = self.crl.as_deref().map(read_list).transpose()?;
        let envelope = Envelope::find(&server::envelope_settings(&config))?
            .ok_or_else(|| CliError::from(StartError::NoEnvelope).hint(server::FIND_THE_ENVELOPE))?;
        server::prepare_data_dir(&config.data_dir)?;
        let _custody = Custody::of(&config.data_dir);
        let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
        let accept_unauthenticated = self.accept_unauthenticated;
        let restoring = tokio::task::spawn_blocking(move || {
            let sealed =
                BufReader::new(Watched { file: backup, octets: 0, progress: Progress::new("Restore") });
            let accept: Option<fn(&InCharge)> = if accept_unauthenticated { Some(show) } else { None };
            restore(&config.data_dir, sealed, &envelope, accept, list.as_deref(), &caller, SystemClock.now())
        });
        let restored = restoring.await?;
        let restored = restored.map_err(|error| refused(&error))?;
        report(&restored);
        if global.json { print_json(&document(&restored)) } else { Ok(()) }
    }
}

fn open(path: &Path) -> Result<File, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        return Ok(file);
    }
    Err(CliError::new(format!("{} is not a regular file", path.display())))
}

fn read_list(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut list = Vec::new();
    open(path)?
        .take(LIST_MAX)
        .read_to_end(&mut list)
        .map_err(|error| CliError::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(list)
}

fn show(InCharge { roots, administrators }: &InCharge) {
    eprintln!(
        "WARNING: THIS BACKUP IS NOT AUTHENTICATED. Whoever knows the envelope's public key could have made it."
    );
    eprintln!(
        "  Compare before the server is started; if one of these is not yours, remove the store again:"
    );
    eprintln!("  Root (SHA-256):  {}", listed(roots));
    eprintln!("  Administrators:  {}", listed(administrators));
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn refused(error: &RestoreError) -> CliError {
    let said = CliError::caused(error);
    match error {
        RestoreError::Envelope(EnvelopeError::Unauthenticated) => {
            said.hint("backups of 0.1.0 are like that: --accept-unauthenticated takes one of which you know where it comes from")
        }
        RestoreError::Envelope(EnvelopeError::OtherEnvelope) => {
            said.hint("a backup opens only with the envelope that the server had when it was made")
        }
        RestoreError::Envelope(_) | RestoreError::Store(store::SnapshotReadError::Backup(_)) => {
            said.hint("the backup is cut short or damaged; nothing was restored")
        }
        RestoreError::OlderList { .. } => {
            said.hint("leave --crl out, or give a list fetched after the backup")
        }
        _ => said,
    }
}

/// Says what an operator must know now, loudest what they must not overlook.
fn report(restored: &Restored) {
    let Restored { created_at, rows, certificates_denied, identities_denied, .. } = restored;
    eprintln!("Restored the backup of {created_at}: {rows} rows.");
    if !restored.journal && !restored.list {
        eprintln!(
            "WARNING: NO REVOCATION JOURNAL AND NO --crl. WHOEVER WAS REVOKED AFTER THE BACKUP IS BACK."
        );
        eprintln!(
            "  Revoke them again before the server is started: muster revoke-agent, muster host decommission."
        );
    } else {
        let source = match (restored.journal, restored.list) {
            (true, true) => "the revocation journal and the revocation list",
            (true, false) => "the revocation journal",
            _ => "the revocation list",
        };
        eprintln!(
            "  From {source}: {certificates_denied} more certificates and {identities_denied} more identities are \
             denied."
        );
    }
    if restored.intermediates_revoked > 0 {
        eprintln!(
            "WARNING: {} INTERMEDIATES OF THE AGENT CA WERE REVOKED AFTER THE BACKUP, AND ARE REVOKED AGAIN.",
            restored.intermediates_revoked
        );
        eprintln!(
            "  The root's revocation list lacks them until the root signs another one; have it signed for each that 'muster agent-ca \
             show' lists as revoked: muster agent-ca revoke-intermediate ID --now"
        );
    } else if !restored.journal {
        eprintln!(
            "  An intermediate of the agent CA that was revoked after the backup issues again: revoke it again (muster agent-ca \
             revoke-intermediate)."
        );
    }
    eprintln!(
        "  {} open join tokens were voided and {} sessions ended.",
        restored.tokens_voided, restored.sessions_ended
    );
    eprintln!(
        "  Enrollment secrets count only the uses that the backup knows of; what was revoked or deleted since"
    );
    eprintln!("  among secrets, API tokens and users is back: look through them.");
    if let Some(missing) = &restored.missing {
        eprintln!("  Of the audit trail, {missing}. It goes on from there.");
    }
    eprintln!("  Certificates issued after the backup are unknown now; their hosts must enroll again.");
}

fn document(restored: &Restored) -> serde_json::Value {
    json!({
        "backup_of": restored.created_at,
        "rows": restored.rows,
        "authenticated": restored.authenticated,
        "journal_applied": restored.journal,
        "crl_applied": restored.list,
        "certificates_denied": restored.certificates_denied,
        "identities_denied": restored.identities_denied,
        "intermediates_revoked": restored.intermediates_revoked,
        "tokens_voided": restored.tokens_voided,
        "sessions_ended": restored.sessions_ended,
    })
}

/// The backup's file, with an eye on how much of it has been read.
struct Watched {
    file: File,
    octets: u64,
    progress: Progress,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.octets += read as u64;
        self.progress.show_octets(self.octets);
        Ok(read)
    }
}
