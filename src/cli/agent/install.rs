//! `muster agent install` and `uninstall`: the agent as a service.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::json;

use crate::agent::config::{CA_PIN, ENROLLMENT_SECRET, JOIN_TOKEN, SECRET_FILE, SERVER, TOKEN_FILE};
use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
use crate::agent::install::service;
use crate::agent::install::service::{
    InstallOrder, Installed, Target, Uninstalled, Vouched, checked_ca_file,
};
use crate::agent::install::unit::{DEFAULT_DIR, NAME, OWN_PROGRAM};
use crate::cli::agent::contact::{ContactArgs, Plan, no_credential};
use crate::cli::output::error::CliError;
use crate::cli::output::values::print;
use crate::cli::received::Received;
use crate::domain::enroll::credential::CredentialKind;
use crate::shell::quoted;
use crate::tls::server_verifier::Trust;

/// What of the environment the command reads, and takes along when it becomes root.
const ENVIRONMENT: [&str; 6] = [JOIN_TOKEN, ENROLLMENT_SECRET, TOKEN_FILE, SECRET_FILE, SERVER, CA_PIN];

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

    /// The group whose programs, such as a web server's www-data, may ask this agent whom to let in
    #[arg(long, value_name = "GROUP")]
    relying_party: Option<String>,

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
    pub fn run(self, json: bool) -> Result<(), CliError> {
        if self.root.is_none() && !rustix::process::geteuid().is_root() {
            return Err(through_sudo());
        }
        let Plan { server, trust, mut credential } = self.contact.plan()?;
        if let Some(secret) = self.enrollment_secret {
            let (kind, place) = (CredentialKind::EnrollmentSecret, CredentialPlace::Given(secret));
            credential = Some(CredentialSource { kind, place }.read()?);
        }
        let vouched = match trust {
            Trust::Pin(pin) => Vouched::Pin(pin),
            Trust::SystemRoots => Vouched::SystemRoots,
            Trust::CaFile(file) => Vouched::Certificates(
                checked_ca_file(&file)
                    .map_err(|error| CliError::caused(&error).hint("give PEM certificates of a CA"))?,
            ),
        };
        let target = match (self.root, self.no_start) {
            (Some(root), _) => Target::Image(root),
            (None, true) => Target::HereLater,
            (None, false) => Target::Here,
        };
        if credential.is_none() && matches!(target, Target::Here) && !service::has_identity(&self.dir) {
            return Err(no_credential());
        }
        let order = InstallOrder {
            server,
            vouched,
            credential,
            dir: self.dir,
            relying_party: self.relying_party,
            target,
        };
        let installed = service::install(&order)?;
        if json {
            return print(&format!("{}\n", Received::of(&installed).raw));
        }
        print(&told(&order, &installed))
    }
}

/// Starts the same command as root. Returns only when that can't be done; then nothing has happened.
fn through_sudo() -> CliError {
    let failed = |why: String| CliError::new(why).hint("run it as root");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            return failed(format!("a service needs root, and this program's file can't be found: {error}"));
        }
    };
    let mut sudo = Command::new("sudo");
    let kept: Vec<_> = ENVIRONMENT.iter().copied().filter(|name| std::env::var_os(name).is_some()).collect();
    if !kept.is_empty() {
        sudo.arg(format!("--preserve-env={}", kept.join(",")));
    }
    // Standard input goes along, so a link or secret that comes that way does, too.
    let error = sudo.arg("--").arg(program).args(std::env::args_os().skip(1)).exec();
    match error.kind() {
        std::io::ErrorKind::NotFound => failed("a service needs root, and there is no sudo here".to_owned()),
        _ => failed(format!("a service needs root, and sudo can't be started: {error}")),
    }
}

impl UninstallArgs {
    pub fn run(self, json: bool) -> Result<(), CliError> {
        let Uninstalled { files, identity, kept } = service::uninstall(self.root.as_deref())?;
        if json {
            let document = json!({"removed": files, "identity": identity, "kept": kept});
            return print(&format!("{document}\n"));
        }
        let mut text = listed("Removed", &files);
        if files.is_empty() {
            text.push_str("There was nothing to remove.\n");
        }
        if let Some(kept) = kept {
            text.push_str(&format!("{} stays: it was not written by `install`.\n", kept.display()));
        }
        text.push_str(&format!("The program stays: {OWN_PROGRAM}, if it was put there.\n"));
        if let Some(dir) = identity {
            text.push_str(&format!(
                "The identity stays in {}. To end it, revoke it on the server, then remove that directory.\n",
                dir.display()
            ));
        }
        print(&text)
    }
}

fn told(order: &InstallOrder, installed: &Installed) -> String {
    let mut text = listed("Written", &installed.files);
    if let Some(spiffe_id) = &installed.kept_identity {
        text.push_str(&format!("This machine goes on as {spiffe_id}; no credential was written.\n"));
    } else if installed.credential.is_none() {
        text.push_str("No credential was given: put a join token into /etc/credstore/muster-join-token (0600) before the service starts.\n");
    }
    if !installed.program_written {
        text.push_str(&format!(
            "The service runs {}, which was there already.\n",
            installed.program.display()
        ));
    }
    let dir = quoted(&order.dir);
    text.push_str(&match (&order.target, installed.started) {
        (Target::Image(_), _) => "The service is enabled and starts with the image.\n".to_owned(),
        (_, false) => format!("The service is enabled. Start it with: systemctl start {NAME}\n"),
        (_, true) => format!(
            "The agent runs and has reported to {}. How it is: muster agent status --dir {dir}\n",
            order.server
        ),
    });
    text
}

fn listed(what: &str, files: &[PathBuf]) -> String {
    let line = |file: &PathBuf| format!("{what} {}\n", Path::display(file));
    files.iter().map(line).collect()
}
