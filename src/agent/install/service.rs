//! Puts an agent on a machine as a systemd service, or into the file tree of an image, and takes it away again.
//!
//! What is written is worked out first, so that a refusal leaves nothing behind. An identity is never touched,
//! and neither are settings that somebody else wrote. The credential goes into a file that only root may read,
//! and from there to the service through systemd; it is in no argument and in no setting.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::agent::config::{AgentConfig, AgentConfigError, as_text, process_environment, written};
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::identity::{IdentityDir, IdentityError};
use crate::agent::install::program::ProgramKind;
use crate::agent::install::unit::{CONFIG, NotForAUnit, OWN_PROGRAM, PACKAGED_PROGRAM};
use crate::agent::install::{program, unit};
use crate::clock::{self, Clock, SystemClock};
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::network::pin::Pin;
use crate::domain::version::AgentVersion;
use crate::durable::{self, OWNER_ONLY, WORLD_READABLE};
use crate::pem;
use crate::tls::pem::certificates;
use crate::tls::server_verifier::{FirstContact, Trust, TrustError};

/// Begins every `agent.yml` that was written here. Others are left alone.
const SIGNATURE: &str = "# Written by `muster agent install`";
/// The operator's copy of `--ca-file`.
const SERVER_CA: &str = "/etc/muster/agent-server-ca.pem";
const UNIT: &str = "/etc/systemd/system/muster-agent.service";
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
/// By their paths, because somebody else may have set the search path.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// Where relying parties ask, unless somebody has set another place.
const VOUCH_SOCKET: &str = "/run/muster-agent/vouch.sock";
/// Exists where systemd runs as the first process (sd_booted).
const BOOTED: &str = "/run/systemd/system";
/// How long the first report of a started agent is waited for, and how often it is looked for.
const REPORT_WITHIN: Duration = Duration::from_secs(30);
const LOOK_FOR_REPORT: Duration = Duration::from_millis(100);

/// What to install.
#[derive(Debug)]
pub struct InstallOrder {
    pub server: ServerUrl,
    pub vouched: Vouched,
    /// None where it will be put into the credential store later.
    pub credential: Option<Credential>,
    /// Where the identity will be kept.
    pub dir: PathBuf,
    /// The group whose programs may ask whom to let in.
    pub relying_party: Option<String>,
    pub target: Target,
}

/// What vouches for the server at first contact.
#[derive(Debug)]
pub enum Vouched {
    Pin(Pin),
    /// PEM.
    Certificates(String),
    SystemRoots,
}

/// Where to install.
#[derive(Debug, Clone)]
pub enum Target {
    /// This machine, whose service is enabled and started.
    Here,
    /// This machine; the service is enabled and starts with the next boot.
    HereLater,
    /// A file tree that will be a machine. Nothing is run.
    Image(PathBuf),
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Installed {
    /// The unit.
    pub service: &'static str,
    pub files: Vec<PathBuf>,
    /// The identity was there already, so no credential was written.
    pub kept_identity: Option<String>,
    pub credential: Option<PathBuf>,
    /// What the service runs.
    pub program: PathBuf,
    /// The running program was put there.
    pub program_written: bool,
    pub started: bool,
}

/// What was taken away, and what stays.
#[derive(Debug)]
pub struct Uninstalled {
    pub files: Vec<PathBuf>,
    pub identity: Option<PathBuf>,
    /// Settings that somebody else wrote.
    pub kept: Option<PathBuf>,
}

/// Why nothing was installed, or not everything taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Unit(#[from] NotForAUnit),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Settings(#[from] AgentConfigError),
    #[error("this machine already has the identity {spiffe_id} from {server}")]
    OtherServer { spiffe_id: String, server: ServerUrl },
    #[error("{} was not written by `muster agent install`", .0.display())]
    ForeignSettings(PathBuf),
    #[error("there is no join token and no enrollment secret to enroll with")]
    NoCredential,
    #[error("systemd does not run here")]
    NoSystemd,
    #[error("{} is another program, which is not replaced", .0.display())]
    ForeignProgram(PathBuf),
    #[error("{} can't be looked at", .0.display())]
    UnreadableProgram(PathBuf, #[source] io::Error),
    #[error("the service runs, but the server has not answered a report of it within {} s", .0.as_secs())]
    NoReport(Duration),
    #[error("{} is a symbolic link, which may lead out of the image", .0.display())]
    Link(PathBuf),
    #[error("{} can't be written", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
    #[error("{} can't be removed", .0.display())]
    Unremovable(PathBuf, #[source] io::Error),
    #[error("systemctl {0} could not be run")]
    Unrunnable(String, #[source] io::Error),
    #[error("systemctl {call} failed: {said}")]
    Systemctl { call: String, said: String },
}

impl InstallError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unit(NotForAUnit::NotState(_)) => {
                "choose a directory below /var/lib, or copy systemd/muster-agent.service and adapt it"
            }
            Self::Unit(NotForAUnit::Group) => "--relying-party takes the name or number of a group",
            Self::Unit(_) => "--dir takes plain paths below /var/lib",
            Self::ForeignProgram(_) => "nothing was changed; move it aside, and install again",
            Self::NoReport(_) => {
                "everything is in place and it goes on trying; journalctl -u muster-agent has the reason, and muster agent status --dir the state"
            }
            Self::Identity(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            Self::OtherServer { .. } => {
                "nothing was changed; decommission the host there, run `muster agent uninstall`, move the identity directory aside, and install again"
            }
            Self::ForeignSettings(_) => {
                "nothing was changed; move that file aside, or edit it and start the service with systemctl"
            }
            Self::NoCredential => {
                "give --secret-file FILE, --token-file FILE or a join link; '-' reads standard input"
            }
            Self::NoSystemd => {
                "use --root DIR to stage into an image; elsewhere `muster agent enroll` and `muster agent run` do without systemd"
            }
            Self::Link(_) => "replace the link by what it points to",
            Self::Unwritable(..) | Self::Unremovable(..) | Self::UnreadableProgram(..)
                if rustix::process::geteuid().is_root() =>
            {
                "is the file system mounted read-only, or is the file immutable?"
            }
            Self::Unwritable(..) | Self::Unremovable(..) | Self::UnreadableProgram(..) => {
                "run it as root, and check that the place is not read-only"
            }
            Self::Unrunnable(..) => "systemctl is expected in /usr/bin or /bin",
            Self::Systemctl { .. } => {
                "journalctl -u muster-agent has the reason; everything is in place, so systemctl restart muster-agent tries again"
            }
        }
    }
}

/// A file to be written.
struct Planned {
    path: &'static str,
    mode: u32,
    content: Zeroizing<Vec<u8>>,
}

/// Writes settings, credential and unit, and starts the service where the target says so.
pub fn install(order: &InstallOrder) -> Result<Installed, InstallError> {
    let root = order.target.root();
    if root.is_none() && !Path::new(BOOTED).exists() {
        return Err(InstallError::NoSystemd);
    }
    let (program, to_write) = service_program(root)?;
    let unit = unit::render(program, &order.dir, order.relying_party.as_deref())?;
    let kept_identity = existing_identity(order)?;
    check_settings(root)?;
    let credential = order.credential.as_ref().filter(|_| kept_identity.is_none());
    if credential.is_none() && kept_identity.is_none() && matches!(order.target, Target::Here) {
        return Err(InstallError::NoCredential);
    }
    let mut planned = vec![Planned::readable(CONFIG, settings(order)?), Planned::readable(UNIT, unit)];
    if let Vouched::Certificates(pem) = &order.vouched {
        planned.push(Planned::readable(SERVER_CA, pem.clone()));
    }
    planned.extend(credential.map(Planned::credential));
    // Every path is looked at before the first is written.
    let places = planned.iter().map(|file| place(root, Path::new(file.path)));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let enabled = place(root, &Path::new(WANTS).join(unit::NAME))?;
    // A service that is replaced while its program is missing could not be started again, so that comes first.
    if let Some(to) = &to_write {
        let failed = |error| InstallError::Unwritable(to.clone(), error);
        directories(to.parent().unwrap_or(to), 0o755).map_err(failed)?;
        program::copy_running(to).map_err(failed)?;
    }
    for (file, path) in planned.iter().zip(&places) {
        file.write(path)?;
    }
    if root.is_some() {
        enable(&enabled)?;
    } else {
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", unit::NAME])?;
    }
    let started = matches!(order.target, Target::Here);
    if started {
        let begun = SystemClock.now();
        systemctl(&["restart", unit::NAME])?;
        wait_for_report(&order.dir, begun)?;
    }
    let credential = credential.map(|credential| PathBuf::from(credential_file(credential.kind())));
    let program_written = to_write.is_some();
    let files = to_write.into_iter().chain(places).collect();
    let program = program.to_owned();
    Ok(Installed { service: unit::NAME, files, kept_identity, credential, program, program_written, started })
}

/// The certificates of a file that can vouch for a server, as PEM.
pub fn checked_ca_file(file: &Path) -> Result<String, TrustError> {
    FirstContact::new(&Trust::CaFile(file.to_owned()))?;
    let text = fs::read(file).map_err(|error| TrustError::Unreadable(file.to_owned(), error))?;
    let certificates = certificates(&text).map_err(|error| TrustError::NotPem(file.to_owned(), error))?;
    Ok(certificates.iter().map(|certificate| pem::certificate(certificate)).collect())
}

/// Stops the service and removes what [`install`] has written. The identity stays.
pub fn uninstall(root: Option<&Path>) -> Result<Uninstalled, InstallError> {
    let config = place(root, Path::new(CONFIG))?;
    let identity = AgentConfig::load(&config, &process_environment).ok();
    let identity = identity.map(|config| config.identity.path().to_owned());
    let identity = identity.filter(|dir| place(root, dir).is_ok_and(|dir| dir.exists()));
    let foreign = check_settings(root).is_err();
    let mut paths = vec![place(root, Path::new(UNIT))?];
    if root.is_none() && Path::new(BOOTED).exists() && paths.iter().all(|unit| unit.exists()) {
        systemctl(&["disable", "--now", unit::NAME])?;
    }
    paths.push(place(root, &Path::new(WANTS).join(unit::NAME))?);
    for kind in [CredentialKind::JoinToken, CredentialKind::EnrollmentSecret] {
        paths.push(place(root, Path::new(credential_file(kind)))?);
    }
    if !foreign {
        paths.push(place(root, Path::new(SERVER_CA))?);
        paths.push(config.clone());
    }
    let mut files = Vec::new();
    for path in paths {
        match fs::remove_file(&path) {
            Ok(()) => files.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(InstallError::Unremovable(path, error)),
        }
    }
    if root.is_none() && Path::new(BOOTED).exists() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(Uninstalled { files, identity, kept: foreign.then_some(config) })
}

impl Target {
    fn root(&self) -> Option<&Path> {
        match self {
            Self::Image(root) => Some(root),
            Self::Here | Self::HereLater => None,
        }
    }
}

impl Planned {
    fn readable(path: &'static str, content: String) -> Self {
        Self { path, mode: WORLD_READABLE, content: Zeroizing::new(content.into_bytes()) }
    }

    fn credential(credential: &Credential) -> Self {
        let mut content = Zeroizing::new(credential.reveal().as_bytes().to_vec());
        content.push(b'\n');
        Self { path: credential_file(credential.kind()), mode: OWNER_ONLY, content }
    }

    fn write(&self, path: &Path) -> Result<(), InstallError> {
        let failed = |error| InstallError::Unwritable(path.to_owned(), error);
        let directory_mode = if self.mode == OWNER_ONLY { 0o700 } else { 0o755 };
        directories(path.parent().unwrap_or(path), directory_mode).map_err(failed)?;
        durable::replace(path, self.mode, &self.content).map_err(failed)
    }
}

/// Where systemd looks for the credentials that the unit loads (systemd.exec, `LoadCredential=`).
const fn credential_file(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::EnrollmentSecret => "/etc/credstore/muster-enrollment-secret",
        CredentialKind::JoinToken | CredentialKind::ApiToken => "/etc/credstore/muster-join-token",
    }
}

/// The program that the service starts, and where the running one has to be put for that, if it has to: a package's
/// program is its package's to replace, and ours stays where it is as new as the one that runs.
fn service_program(root: Option<&Path>) -> Result<(&'static Path, Option<PathBuf>), InstallError> {
    let (packaged, own) = (Path::new(PACKAGED_PROGRAM), Path::new(OWN_PROGRAM));
    if place(root, packaged)?.is_file() {
        return Ok((packaged, None));
    }
    let at = place(root, own)?;
    if root.is_none() && program::is_running(&at) {
        return Ok((own, None));
    }
    match program::kind_of(&at) {
        Ok(ProgramKind::Muster(version)) if version >= AgentVersion::own() => Ok((own, None)),
        Ok(ProgramKind::Muster(_)) => Ok((own, Some(at))),
        Ok(ProgramKind::Other) => Err(InstallError::ForeignProgram(at)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((own, Some(at))),
        Err(error) => Err(InstallError::UnreadableProgram(at, error)),
    }
}

/// Whether this machine has an identity there, or something that is perhaps one.
pub fn has_identity(dir: &Path) -> bool {
    !matches!(IdentityDir::new(dir).read(), Ok(None))
}

/// Waits until the server has answered a report of the agent that was just started.
fn wait_for_report(dir: &Path, begun: Timestamp) -> Result<(), InstallError> {
    let place = IdentityDir::new(dir);
    let deadline = clock::monotonic() + REPORT_WITHIN;
    while place.notes().reported_at.is_none_or(|at| at < begun) {
        if clock::monotonic() >= deadline {
            return Err(InstallError::NoReport(REPORT_WITHIN));
        }
        std::thread::sleep(LOOK_FOR_REPORT);
    }
    Ok(())
}

/// The identity that is there already and will go on being used.
fn existing_identity(order: &InstallOrder) -> Result<Option<String>, InstallError> {
    let dir = match order.target.root() {
        // On a running machine systemd makes a link of it, which is followed.
        None => order.dir.clone(),
        Some(root) => place(Some(root), &order.dir)?,
    };
    let identity_dir = IdentityDir::new(dir);
    let Some(identity) = identity_dir.read()? else {
        return Ok(None);
    };
    let spiffe_id = identity.svid.spiffe_id.to_string();
    match identity_dir.notes().server {
        Some(server) if server != order.server => Err(InstallError::OtherServer { spiffe_id, server }),
        _ => Ok(Some(spiffe_id)),
    }
}

/// Refuses to replace settings that were not written here.
fn check_settings(root: Option<&Path>) -> Result<(), InstallError> {
    let path = place(root, Path::new(CONFIG))?;
    match fs::read(&path) {
        Ok(text) if !text.starts_with(SIGNATURE.as_bytes()) => Err(InstallError::ForeignSettings(path)),
        _ => Ok(()),
    }
}

fn settings(order: &InstallOrder) -> Result<String, AgentConfigError> {
    let kind = order.credential.as_ref().map_or(CredentialKind::JoinToken, Credential::kind);
    let (key, name) = match kind {
        CredentialKind::EnrollmentSecret => ("secret_file", "enrollment-secret"),
        CredentialKind::JoinToken | CredentialKind::ApiToken => ("token_file", "join-token"),
    };
    let (pin, server_ca) = match &order.vouched {
        Vouched::Pin(pin) => (Some(pin.to_string()), None),
        Vouched::Certificates(_) => (None, Some(SERVER_CA.to_owned())),
        Vouched::SystemRoots => (None, None),
    };
    let identity = IdentityDir::new(&order.dir);
    let yaml = written([
        ("tls", "cert_file", Some(as_text(identity.cert())?)),
        ("tls", "key_file", Some(as_text(identity.key())?)),
        ("tls", "ca_file", server_ca),
        ("identity", "server", Some(order.server.to_string())),
        ("enroll", key, Some(format!("/run/credentials/{}/{name}", unit::NAME))),
        ("enroll", "ca_pin", pin),
        ("relying_party", "listen", order.relying_party.as_ref().map(|_| format!("unix:{VOUCH_SOCKET}"))),
        ("relying_party", "group", order.relying_party.clone()),
    ]);
    Ok(format!("{SIGNATURE}, and written anew by it. Remove this line to keep changes of your own.\n{yaml}"))
}

/// A path on the machine as it is found in the image. A link on the way could lead to the machine that builds it.
fn place(root: Option<&Path>, path: &Path) -> Result<PathBuf, InstallError> {
    let Some(root) = root else {
        return Ok(path.to_owned());
    };
    let mut place = root.to_owned();
    for part in path.components() {
        if let Component::Normal(part) = part {
            if fs::symlink_metadata(&place).is_ok_and(|parent| parent.is_symlink()) && place != root {
                return Err(InstallError::Link(place));
            }
            place.push(part);
        }
    }
    Ok(place)
}

/// Makes the directories that are missing, with this mode whatever the umask is.
fn directories(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        directories(parent, 0o755)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

/// What `systemctl enable` does, for a machine that does not run.
fn enable(link: &Path) -> Result<(), InstallError> {
    let failed = |error| InstallError::Unwritable(link.to_owned(), error);
    directories(link.parent().unwrap_or(link), 0o755).map_err(failed)?;
    match symlink(Path::new("..").join(unit::NAME), link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

fn systemctl(args: &[&str]) -> Result<(), InstallError> {
    let call = args.join(" ");
    let [usual, other] = SYSTEMCTL;
    let program = if Path::new(usual).exists() { usual } else { other };
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .output()
        .map_err(|error| InstallError::Unrunnable(call.clone(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it gave no reason").to_owned();
    Err(InstallError::Systemctl { call, said })
}
