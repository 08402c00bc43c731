//! `muster agent install` and `uninstall`: the agent as a service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::agent_contact::{ContactArgs, Plan};
use super::error::CliError;
use super::output::print;
use crate::agent::boot::chain;
use crate::agent::credential_source::{CredentialSource, Place, SecretText};
use crate::agent::install::{
    self, InstallError, Installed, Order, Target, Uninstalled, Vouched, checked_ca_file,
};
use crate::agent::unit::{DEFAULT_DIR, NAME};
use crate::domain::credential::CredentialKind;
use crate::shell::quoted;
use crate::tls::first_contact::Trust;

#[derive(Debug, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    contact: ContactArgs,

    /// An enrollment secret. Other users of this machine may see it while the command runs; --secret-file keeps it from them
    #[arg(long, value_name = "SECRET", group = "credential", conflicts_with = "join_link")]
    enrollment_secret: Option<SecretText>,

    /// Where the identity is kept, below /var/lib
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,

    /// The file tree of an image to install into; nothing is run, and the credential may come later
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Enable the service without starting it
    #[arg(long)]
    no_start: bool,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// The file tree of an image
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl InstallArgs {
    pub fn run(self, json: bool) -> Result<ExitCode, CliError> {
        let Plan { server, trust, mut credential } = self.contact.plan()?;
        if let Some(secret) = self.enrollment_secret {
            let source =
                CredentialSource { kind: CredentialKind::EnrollmentSecret, place: Place::Given(secret) };
            credential = Some(source.read().map_err(|error| CliError::new(chain(&error)))?);
        }
        let vouched = match trust {
            Trust::Pin(pin) => Vouched::Pin(pin),
            Trust::SystemRoots => Vouched::SystemRoots,
            Trust::CaFile(file) => Vouched::Certificates(
                checked_ca_file(&file)
                    .map_err(|error| CliError::new(chain(&error)).hint("give PEM certificates of a CA"))?,
            ),
        };
        let target = match (self.root, self.no_start) {
            (Some(root), _) => Target::Image(root),
            (None, true) => Target::HereLater,
            (None, false) => Target::Here,
        };
        let order = Order { server, vouched, credential, dir: self.dir, target };
        let installed = install::install(&order).map_err(|error| refused(&error))?;
        if json {
            print(&format!("{}\n", as_json(&installed)))?;
        } else {
            print(&told(&order, &installed))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl UninstallArgs {
    pub fn run(self, json: bool) -> Result<ExitCode, CliError> {
        let Uninstalled { files, identity, kept } =
            install::uninstall(self.root.as_deref()).map_err(|error| refused(&error))?;
        if json {
            let document = json!({"removed": files, "identity": identity, "kept": kept});
            print(&format!("{document}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = listed("Removed", &files);
        if files.is_empty() {
            text.push_str("There was nothing to remove.\n");
        }
        if let Some(kept) = kept {
            text.push_str(&format!("{} stays: it was not written by `install`.\n", kept.display()));
        }
        if let Some(dir) = identity {
            text.push_str(&format!(
                "The identity stays in {}. To end it, revoke it on the server, then remove that directory.\n",
                dir.display()
            ));
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn refused(error: &InstallError) -> CliError {
    CliError::new(chain(error)).hint(error.hint())
}

fn as_json(installed: &Installed) -> serde_json::Value {
    json!({
        "files": installed.files,
        "kept_identity": installed.kept_identity,
        "credential": installed.credential,
        "missing_program": installed.missing_program,
        "service": NAME,
        "started": installed.started,
    })
}

fn told(order: &Order, installed: &Installed) -> String {
    let mut text = listed("Written", &installed.files);
    if let Some(spiffe_id) = &installed.kept_identity {
        text.push_str(&format!("This machine goes on as {spiffe_id}; no credential was written.\n"));
    } else if installed.credential.is_none() {
        text.push_str("No credential was given: put a join token into /etc/credstore/muster-join-token (0600) before the service starts.\n");
    }
    if let Some(program) = &installed.missing_program {
        text.push_str(&format!("The image has no {} yet; put the program there.\n", program.display()));
    }
    let dir = quoted(&order.dir);
    text.push_str(&match (&order.target, installed.started) {
        (Target::Image(_), _) => "The service is enabled and starts with the image.\n".to_owned(),
        (_, false) => format!("The service is enabled. Start it with: systemctl start {NAME}\n"),
        (_, true) => format!("The agent runs. How it is: muster agent status --dir {dir}\n"),
    });
    text
}

fn listed(what: &str, files: &[PathBuf]) -> String {
    let line = |file: &PathBuf| format!("{what} {}\n", Path::display(file));
    files.iter().map(line).collect()
}
