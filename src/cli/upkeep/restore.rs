//! `muster restore`

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::app::access::caller::{Caller, LocalVia};
use crate::app::keep::backup::server_files::restore_server_files;
use crate::app::keep::restore::confirm::SuspendedCounts;
use crate::app::keep::restore::from_replica::{ReplicaSource, restore_from};
use crate::app::keep::restore::{
    InCharge, LIST_MAX, RestoreError, RestoreWishes, Restored, ServerFilesAfter, restore,
};
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::server::PutBackError;
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::output::error::CliError;
use crate::cli::output::values::{Progress, print_json};
use crate::cli::upkeep::replica;
use crate::cli::upkeep::restored::RestoreStep;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::identity::restore_epoch::{LostBy, RestoreEpoch};
use crate::domain::network::pin::Pin;
use crate::server::{self, StartError};
use crate::store::{self, SnapshotReadError};

/// Put a backup in the place of a store that was lost
///
/// The data directory must be without a store; whatever else is in it stays. The server's certificate (tls/) comes back with
/// the store, so on another machine the backup and the envelope key are enough. Nobody comes back who was revoked
/// since the backup: the revocation journal beside the lost store is applied if it is still there, and so is a
/// newer revocation list given with --crl. Without either, nothing is restored unless that loss is accepted. Agents that
/// enrolled or rotated since the backup come back by themselves, without a token. Join tokens that were open are voided and
/// people sign in again. Without a journal, enrollment secrets, API tokens and passwords count for nothing until they are
/// confirmed: 'muster restore confirm'.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RestoreCommand {
    #[command(subcommand)]
    step: Option<RestoreStep>,
    /// The backup, as 'muster backup' wrote it
    #[arg(required_unless_present = "from")]
    path: Option<PathBuf>,
    /// Restore from a replica: its address as in the settings (file:///mnt/nas/muster, s3://bucket/prefix), or all of its entry as in
    /// MUSTER_REPLICAS
    #[arg(long, value_name = "REPLICA", conflicts_with_all = ["path", "accept_unauthenticated", "only_tls"])]
    from: Option<String>,
    /// The store as it was at this moment; nobody comes back who was taken out later
    #[arg(long, value_name = "TIME", requires = "from")]
    at: Option<Timestamp>,
    /// A revocation list newer than the backup, DER, as it was served at /agent-ca.crl
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Take a backup of 0.1.0, which anybody could have made who knows the envelope's public key; shows first whom
    /// it puts in charge
    #[arg(long)]
    accept_unauthenticated: bool,
    /// Refuse a backup of another agent CA than the one with this root: the SHA-256 of its certificate, as any agent has it
    #[arg(long, value_name = "SHA256")]
    expect_root: Option<Pin>,
    /// Take a backup of another agent CA all the same
    #[arg(long)]
    accept_other_root: bool,
    /// Leave tls/ as it is, though the agents trust the server by what is in the backup
    #[arg(long)]
    keep_tls: bool,
    /// Bring back tls/ alone, where the store is well and the server's certificate is lost
    #[arg(long, conflicts_with_all = ["crl", "accept_unauthenticated", "expect_root", "accept_other_root", "keep_tls"])]
    only_tls: bool,
    /// Take the backup although nothing says who was revoked after it
    ///
    /// Whoever was revoked since the backup comes back, and secrets, API tokens and people's passwords count for nothing until
    /// they are confirmed: muster restore confirm.
    #[arg(long)]
    accept_revocation_loss: bool,
    /// When the server was lost, where no journal tells: agents whose certificates had run out by then must enroll again
    #[arg(long, value_name = "TIME")]
    lost_at: Option<Timestamp>,
    /// Let no agent come back with a certificate that was issued after the backup: each must enroll again
    #[arg(long)]
    strict: bool,
}

const EXAMPLES: &str = "Examples:
  systemctl stop muster
  mv /var/lib/muster/muster.redb /var/lib/muster/muster.redb.lost     # revocations.log stays where it is
  muster restore /backup/muster-2026-11-22.age
  systemctl start muster

On another machine, with the envelope key as envelope.key in the data directory:
  muster restore muster-2026-11-22.age

From a replica, to the last second, or as of a moment before a mistake:
  muster restore --from file:///mnt/nas/muster
  muster restore --from s3://bucket/muster --at 2026-11-22T09:30:00Z";

impl RestoreCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        if let Some(step) = self.step {
            return step.run(global).await;
        }
        let path = self.path.unwrap_or_default();
        let config = global.local_config()?;
        global.log(Some(&config))?;
        if self.only_tls {
            return only_tls(global, config, &path).await;
        }
        store::Restoring::vacant(&config.data_dir).map_err(|error| {
            CliError::caused(&error)
                .hint("stop the server and move muster.redb away; keep revocations.log where it is")
        })?;
        // A backup that is not there is told of before anything else.
        let backup = match self.from {
            Some(_) => None,
            None => Some(open(&path)?),
        };
        let list = self.crl.as_deref().map(read_list).transpose()?;
        let envelope = Envelope::find(&server::envelope_settings(&config))?
            .ok_or_else(|| CliError::from(StartError::NoEnvelope).hint(server::FIND_THE_ENVELOPE))?;
        server::prepare_data_dir(&config.data_dir)?;
        let _custody = Custody::of(&config.data_dir);
        let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
        let accept: Option<fn(&InCharge)> = if self.accept_unauthenticated { Some(show) } else { None };
        let wishes = RestoreWishes {
            accept_unauthenticated: accept,
            list,
            accept_revocation_loss: self.accept_revocation_loss,
            strict: self.strict,
            lost_at: self.lost_at,
            svid_ttl: config.svid_ttl,
            root: self.expect_root,
            accept_other_root: self.accept_other_root,
            keep_tls: self.keep_tls,
        };
        let envelope = std::sync::Arc::new(envelope);
        let source = match &self.from {
            Some(from) => Some(ReplicaSource {
                history: replica::history(from, &config, &envelope).await?,
                runtime: tokio::runtime::Handle::current(),
                at: self.at,
            }),
            None => None,
        };
        let restoring = tokio::task::spawn_blocking(move || {
            let now = SystemClock.now();
            match (backup, source) {
                (Some(backup), _) => {
                    let sealed = BufReader::new(Watched::new(backup, "Restore"));
                    restore(&config.data_dir, sealed, &envelope, &wishes, &caller, now)
                }
                (None, Some(source)) => {
                    restore_from(&config.data_dir, &source, &envelope, &wishes, &caller, now)
                }
                (None, None) => unreachable!("clap wants one of the two"),
            }
        });
        let restored = restoring.await?;
        let restored = restored.map_err(|error| refused(&error))?;
        report(&restored);
        if global.json { print_json(&document(&restored)) } else { Ok(()) }
    }
}

async fn only_tls(global: &Global, config: Config, path: &Path) -> Result<(), CliError> {
    let backup = open(path)?;
    let envelope = Envelope::find(&server::envelope_settings(&config))?
        .ok_or_else(|| CliError::from(StartError::NoEnvelope).hint(server::FIND_THE_ENVELOPE))?;
    server::prepare_data_dir(&config.data_dir)?;
    let _custody = Custody::of(&config.data_dir);
    let restoring = tokio::task::spawn_blocking(move || {
        let sealed = BufReader::new(Watched::new(backup, "Restore"));
        restore_server_files(&config.data_dir, sealed, &envelope)
    });
    let after = restoring.await?.map_err(|error| refused(&error))?;
    if after == ServerFilesAfter::NotInBackup {
        return Err(CliError::new("the backup has no server certificate")
            .hint("take another backup, or put back what tls_cert_file and tls_key_file name"));
    }
    say_server_files(after);
    if global.json { print_json(&json!({ "server_certificate": word_for(after) })) } else { Ok(()) }
}

pub(super) fn open(path: &Path) -> Result<File, CliError> {
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
        RestoreError::Envelope(error) => match for_envelope(error) {
            Some(hint) => said.hint(hint),
            None => said,
        },
        RestoreError::OtherRoot { .. } => said.hint(
            "it is another deployment's, or --expect-root is wrong; --accept-other-root takes it all the same",
        ),
        RestoreError::ServerFiles(PutBackError::Other { .. }) => said.hint(
            "move tls/ away, and the backup's takes its place; --keep-tls keeps it, and no agent trusts the server before it is told the new pin",
        ),
        RestoreError::Store(
            SnapshotReadError::Backup(_)
            | SnapshotReadError::Count { .. }
            | SnapshotReadError::Chain { .. }
            | SnapshotReadError::Read(_),
        ) => said.hint(DAMAGED),
        RestoreError::Replica(error) => match replica::advice(error) {
            Some(hint) => said.hint(hint),
            None => said,
        },
        RestoreError::OlderList { .. } => {
            said.hint("leave --crl out, or give a list fetched after the backup")
        }
        RestoreError::RevocationLoss => said.hint(
            "put revocations.log of the lost server into the data directory, or give a revocation list that was fetched from it \
             with --crl; --accept-revocation-loss restores without: whoever was revoked after the backup is back then",
        ),
        _ => said,
    }
}

pub(super) const DAMAGED: &str = "the backup is cut short or damaged, so nothing of it was used; take an older one, or another copy of this one";

/// What helps where a backup does not open, or nobody whom we know has sealed it.
pub(super) const fn for_envelope(error: &EnvelopeError) -> Option<&'static str> {
    match error {
        EnvelopeError::Unauthenticated => Some(
            "backups of 0.1.0 are like that: --accept-unauthenticated takes one of which you know where it comes from",
        ),
        EnvelopeError::OtherSealer { .. } => Some(
            "a recovery identity believes the envelope that its file names: put the line '# muster envelope: …' into it that \
             'muster envelope recovery add' printed. Without that line, --accept-unauthenticated takes a backup of which you \
             know where it comes from",
        ),
        EnvelopeError::OtherEnvelope => Some(
            "a backup opens with the envelope that the server had when it was made, and with the recovery identities of then",
        ),
        EnvelopeError::Damaged(_) => Some(DAMAGED),
        _ => None,
    }
}

/// Says what happened, what will happen, and to whom; loudest what must not be overlooked.
fn report(restored: &Restored) {
    let Restored { created_at, rows, certificates_denied, identities_denied, epoch, .. } = restored;
    match restored.replica {
        Some(end) if end > *created_at => eprintln!(
            "Restored from the replica, as of {created_at}. Whoever was taken out from then on until {end:.0} stays out."
        ),
        Some(_) => eprintln!("Restored from the replica, up to its last change at {created_at}."),
        None => eprintln!("Restored the backup of {created_at}: {rows} rows."),
    }
    say_server_files(restored.server_files);
    let by = match restored.lost_by {
        LostBy::Journal => "its last sign of life in the revocation journal",
        LostBy::Replica => "the last change in its replica",
        LostBy::Told => "as you say",
        LostBy::List => "when it signed the revocation list",
        LostBy::Backup => "the moment of the backup, because nothing tells more; --lost-at does",
    };
    eprintln!("  The server was lost at {:.0}: {by}.", epoch.lost_at);
    let from_replica = restored.replica.is_some();
    if from_replica && !restored.journal && !restored.list {
        eprintln!(
            "  The replica has every revocation up to its last change. What was answered after that is lost; the lost server's \
             revocations.log, if there is one, tells more: put it into the data directory before you restore."
        );
    } else if !restored.journal && !restored.list {
        eprintln!(
            "WARNING: NO REVOCATION JOURNAL AND NO --crl. WHOEVER WAS REVOKED AFTER THE BACKUP IS BACK."
        );
        if restored.older_journal {
            eprintln!("  The journal in the data directory does not reach beyond the backup.");
        }
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
    let taken: Vec<_> = restored.withdrawn.iter().filter(|(_, count)| *count > 0).collect();
    for (name, count) in taken {
        eprintln!("  Taken away after the backup, and again now: {count} {}.", words(name));
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
    } else if !restored.journal && !from_replica {
        eprintln!(
            "  An intermediate of the agent CA that was revoked after the backup issues again: revoke it again (muster agent-ca \
             revoke-intermediate)."
        );
    }
    eprintln!(
        "  {} open join tokens were voided and {} sessions ended.",
        restored.tokens_voided, restored.sessions_ended
    );
    if let Some(missing) = &restored.missing {
        eprintln!("  Of the audit trail, {missing}. It goes on from there.");
    }
    what_will_happen(restored);
}

fn what_will_happen(restored: &Restored) {
    let Restored { created_at, hosts, epoch, suspended, .. } = restored;
    eprintln!("What will happen when the server is started:");
    eprintln!(
        "  {hosts} hosts are in service in the backup; those that have not rotated since go on as before."
    );
    if epoch.strict {
        eprintln!(
            "  Agents that enrolled or rotated after {created_at:.0} must enroll again, because of --strict."
        );
    } else {
        eprintln!(
            "  Agents that enrolled or rotated after {created_at:.0} come back by themselves, without a token, until {:.0}; hosts that \
             the backup does not know are registered from their certificates. Each is flagged: muster host list --flag recovered",
            epoch.until
        );
        eprintln!(
            "  Agents whose certificates had run out by {:.0}, and everybody who was revoked or deleted, stay out.",
            epoch.lost_at
        );
    }
    if suspended.total() > 0 {
        let SuspendedCounts { secrets, api_tokens, people } = suspended;
        eprintln!(
            "  {secrets} enrollment secrets, {api_tokens} API tokens and the passwords of {people} people count for nothing until you \
             confirm them, because nobody knows which were revoked or changed: muster restore confirm secrets, muster restore \
             confirm api-tokens, muster restore confirm people"
        );
    }
}

/// A name of a record, in words.
pub(super) fn words(name: &str) -> &'static str {
    match name {
        "secrets_revoked" => "enrollment secrets",
        "secrets_used" => "capped enrollment secrets' used-up slots",
        "api_tokens_revoked" => "API tokens",
        "hosts_deleted" => "hosts that were deleted",
        "people_restricted" => "people's rights",
        _ => "passwords that were changed: set new ones with 'muster user set-password'",
    }
}

fn say_server_files(after: ServerFilesAfter) {
    eprintln!(
        "  {}",
        match after {
            ServerFilesAfter::Restored => {
                "tls/ is restored: agents trust this server as they trusted the one that was lost."
            }
            ServerFilesAfter::Kept => "tls/ was there and stays as it is.",
            ServerFilesAfter::NotInBackup => {
                "The backup has no server certificate. Before the server is started, put back the one that the agents \
                 trust: tls/, or what tls_cert_file and tls_key_file name."
            }
        }
    );
}

const fn word_for(after: ServerFilesAfter) -> &'static str {
    match after {
        ServerFilesAfter::Restored => "restored",
        ServerFilesAfter::Kept => "kept",
        ServerFilesAfter::NotInBackup => "not_in_backup",
    }
}

fn document(restored: &Restored) -> serde_json::Value {
    let RestoreEpoch { lost_at, restored_at, until, strict, .. } = restored.epoch;
    let counted = |counts: &[(&'static str, usize)]| {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
        serde_json::Value::Object(counts.collect())
    };
    json!({
        "backup_of": restored.created_at,
        "replica_until": restored.replica,
        "rows": restored.rows,
        "authenticated": restored.authenticated,
        "roots": restored.roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "server_certificate": word_for(restored.server_files),
        "lost_at": lost_at,
        "lost_at_by": restored.lost_by,
        "restored_at": restored_at,
        "comes_back_until": (!strict).then_some(until),
        "hosts_in_service": restored.hosts,
        "journal_applied": restored.journal,
        "crl_applied": restored.list,
        "certificates_denied": restored.certificates_denied,
        "identities_denied": restored.identities_denied,
        "intermediates_revoked": restored.intermediates_revoked,
        "withdrawn": counted(&restored.withdrawn),
        "suspended": counted(&restored.suspended.by_name()),
        "tokens_voided": restored.tokens_voided,
        "sessions_ended": restored.sessions_ended,
    })
}

/// The backup's file, with an eye on how much of it has been read.
pub(super) struct Watched {
    file: File,
    octets: u64,
    progress: Progress,
}

impl Watched {
    pub(super) fn new(file: File, what: &'static str) -> Self {
        Self { file, octets: 0, progress: Progress::new(what) }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.octets += read as u64;
        self.progress.show_octets(self.octets);
        Ok(read)
    }
}
