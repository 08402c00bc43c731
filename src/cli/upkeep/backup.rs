//! `muster backup`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::stdout::is_terminal;
use crate::cli::output::values::{Progress, print_json, print_whole};
use crate::durable::Unfinished;

/// Write everything the server knows into one sealed file, while it serves or not
///
/// The file holds the store as it is at this moment: hosts, certificates, users, tokens, the audit trail and the
/// agent CA with its sealed keys. It is sealed with the envelope, and only the envelope opens it: keep a copy of
/// the envelope key, in another place than the backup. The server's own certificate under tls/ is not in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster backup /backup/muster-$(date +%F).age")]
pub(crate) struct BackupCommand {
    /// The file to write, which must not exist yet; its directory must. '-' is stdout
    path: PathBuf,
}

impl BackupCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let path = &self.path;
        if path.as_os_str() == "-" {
            return to_stdout(global).await;
        }
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
