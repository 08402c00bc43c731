//! `muster backup`

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::keep::backup::verify::{VerifiedBackup, VerifyError, verify};
use crate::ca::envelope::Envelope;
use crate::ca::seal::Unauthenticated;

use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::stdout::is_terminal;
use crate::cli::output::values::{Progress, print, print_json, print_whole};
use crate::cli::upkeep::restore::{DAMAGED, Watched, for_envelope, open};
use crate::durable::Unfinished;
use crate::server::{self, StartError};

/// Write everything the server knows into one sealed file, while it serves or not
///
/// The file holds the store as it is at this moment (hosts, certificates, users, tokens, the audit trail and the agent CA
/// with its sealed keys), the revocation journal and the server's own certificate and key under tls/. It is sealed and
/// signed with the envelope: the envelope key and this file are all that a restore on another machine needs. Keep a copy
/// of that key, in another place than the backup.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "muster backup [OPTIONS] <PATH>\n       muster backup verify [OPTIONS] <FILE>",
    disable_help_subcommand = true,
    subcommand_help_heading = "Or"
)]
pub(crate) struct BackupCommand {
    /// The file to write, which must not exist yet; its directory must. '-' is stdout
    #[arg(required = true)]
    path: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<BackupAction>,
}

const EXAMPLES: &str = "Examples:
  muster backup /backup/muster-$(date +%F).age
  muster backup - | ssh nas 'cat > muster.age'
  muster backup verify /backup/muster-2026-11-22.age";

#[derive(Debug, Subcommand)]
enum BackupAction {
    /// Read all of a backup and say what it is of, without a server and without restoring it
    ///
    /// Whether it opens with the envelope and was sealed with it, whether every row reads and the audit chain holds. Exit
    /// status 0: it could be restored.
    #[command(after_help = "Examples:\n  muster backup verify /backup/muster-2026-11-22.age
  MUSTER_ENVELOPE_KEY_FILE=recovery.key muster backup verify muster.age --json")]
    Verify {
        /// The backup, as 'muster backup' wrote it
        file: PathBuf,
        /// Read one of 0.1.0, too, which anybody could have made who knows the envelope's public key
        #[arg(long)]
        accept_unauthenticated: bool,
    },
}

impl BackupCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        match (self.action, self.path) {
            (Some(BackupAction::Verify { file, accept_unauthenticated }), _) => {
                verify_file(global, file, accept_unauthenticated).await
            }
            (None, Some(path)) if path.as_os_str() == "-" => to_stdout(global).await,
            (None, Some(path)) => to_file(global, &path).await,
            (None, None) => Err(CliError::usage("a backup needs the name of its file")),
        }
    }
}

async fn to_file(global: &Global, path: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CliError::new(format!("{} exists already; a backup replaces nothing", path.display()))
                .hint("choose another name")
        }
        _ => CliError::cannot_write(path, &error),
    };
    let mut file = Unfinished::begin(path).map_err(failed)?;
    let control = Control::open_local(global).await?;
    let mut progress = Progress::new("Backup");
    let mut octets = 0;
    let written = control.stream(Call::post("/local/backup"), |part| {
        octets += part.len() as u64;
        progress.show_octets(octets);
        file.write_all(part).map_err(failed)
    });
    written.await?;
    drop(progress);
    file.finish().map_err(failed)?;
    if global.json {
        return print_json(&json!({ "path": path, "bytes": octets }));
    }
    eprintln!("Backup: {} ({octets} bytes)", path.display());
    eprintln!("  Only the envelope opens it. Key and backup should not be kept in one place.");
    Ok(())
}

async fn to_stdout(global: &Global) -> Result<(), CliError> {
    if is_terminal() {
        return Err(
            CliError::new("a backup is no text for a terminal").hint("name a file, or pipe it somewhere")
        );
    }
    Control::open_local(global).await?.stream(Call::post("/local/backup"), print_whole).await?;
    Ok(())
}

async fn verify_file(global: &Global, path: PathBuf, accept_unauthenticated: bool) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log_if_asked()?;
    let file = open(&path)?;
    let envelope = Envelope::find(&server::envelope_settings(&config))?
        .ok_or_else(|| CliError::from(StartError::NoEnvelope).hint(server::FIND_THE_ENVELOPE))?;
    let unauthenticated =
        if accept_unauthenticated { Unauthenticated::Accept } else { Unauthenticated::Refuse };
    let verifying = tokio::task::spawn_blocking(move || {
        verify(BufReader::new(Watched::new(file, "Verify")), &envelope, unauthenticated)
    });
    let verified = verifying.await?.map_err(|error| {
        let said = CliError::new(format!("{}: {}", path.display(), CliError::caused(&error).message));
        match &error {
            VerifyError::Envelope(error) => match for_envelope(error) {
                Some(hint) => said.hint(hint),
                None => said,
            },
            VerifyError::Content(_) => said.hint(DAMAGED),
            VerifyError::AgentCa(_) => said.hint("take a backup that was made with this envelope in use"),
        }
    })?;
    if global.json {
        return print_json(&document(&path, &verified));
    }
    print(&told(&path, &verified))
}

fn document(path: &Path, verified: &VerifiedBackup) -> serde_json::Value {
    json!({
        "path": path,
        "backup_of": verified.created_at,
        "made_by": verified.made_by,
        "authenticated": verified.authenticated,
        "trust_domain": verified.trust_domain,
        "roots": verified.roots,
        "rows": verified.rows,
        "hosts": verified.hosts,
        "certificates_denied": verified.certificates_denied,
        "identities_denied": verified.identities_denied,
        "audit_records": verified.audit_records,
        "journal": verified.journal,
        "server_pin": verified.server_pin,
    })
}

fn told(path: &Path, verified: &VerifiedBackup) -> String {
    let VerifiedBackup { created_at, rows, hosts, certificates_denied, identities_denied, .. } = verified;
    let of = verified.trust_domain.as_deref().unwrap_or("a deployment without an agent CA");
    let roots = if verified.roots.is_empty() { "none".to_owned() } else { verified.roots.join(", ") };
    let sealed = match verified.authenticated {
        true => "with this envelope, or with one that its key's file names",
        false => "NOT AUTHENTICATED: whoever knows the envelope's public key could have made it",
    };
    let server = verified.server_pin.as_deref().unwrap_or("not in it");
    let journal = if verified.journal { "in it" } else { "not in it" };
    format!(
        "{} is whole: {rows} rows can be read, and the audit chain of {} records holds.\n\n  \
         Of               {of}, {created_at:.0}\n  \
         Root (SHA-256)   {roots}\n  \
         Sealed           {sealed}\n  \
         Hosts            {hosts}\n  \
         Revoked          {certificates_denied} certificates, {identities_denied} identities\n  \
         Journal          {journal}\n  \
         Server pin       {server}\n",
        path.display(),
        verified.audit_records,
    )
}
