//! `agent.yml` and the environment variables that go with it.
//!
//! A mistake is reported with its key and line, and never with a value: the value next to a mistake may be the
//! secret that was put in the wrong place.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Deserializer};
use yaml_serde::Value;

use super::facts::Subject;
use super::identity::{IdentityDir, IdentityError};
use super::workload::{PER_USER, PER_USER_USUAL};
use crate::agent::connect::dial::Dialer;
use crate::agent::connect::proxy::ProxySettings;
use crate::agent::connect::server_url::{NotAServerUrl, ServerUrl};
use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
use crate::agent::relying_party::settings::{RelyingPartyError, RelyingPartySection, RelyingPartySettings};
use crate::agent::state_file::AgentState;
use crate::domain::enroll::credential::CredentialKind;
use crate::domain::network::host_port::{HostPort, NotAHostPort};
use crate::domain::network::pin::{NotAPin, Pin};
use crate::tls::server_verifier::Trust;

/// A join token itself. Wins over every file.
pub const JOIN_TOKEN: &str = "MUSTER_AGENT_JOIN_TOKEN";
/// An enrollment secret itself.
pub const ENROLLMENT_SECRET: &str = "MUSTER_AGENT_ENROLLMENT_SECRET";
/// A file with a join token.
pub const TOKEN_FILE: &str = "MUSTER_AGENT_ENROLL_TOKEN_FILE";
/// A file with an enrollment secret.
pub const SECRET_FILE: &str = "MUSTER_AGENT_ENROLL_SECRET_FILE";
/// Where to enroll.
pub const SERVER: &str = "MUSTER_AGENT_ENROLL_SERVER";
/// The pin for first contact.
pub const CA_PIN: &str = "MUSTER_AGENT_ENROLL_CA_PIN";
const GRPC_ADDR: &str = "MUSTER_AGENT_CONTROL_PLANE_GRPC_ADDR";
const CERT_FILE: &str = "MUSTER_AGENT_TLS_CERT_FILE";
const KEY_FILE: &str = "MUSTER_AGENT_TLS_KEY_FILE";
const CA_FILE: &str = "MUSTER_AGENT_TLS_CA_FILE";
const IDENTITY_SERVER: &str = "MUSTER_AGENT_IDENTITY_SERVER";
const WORKLOAD_SOCKET: &str = "MUSTER_AGENT_WORKLOAD_API_SOCKET";
const RELYING_PARTY_LISTEN: &str = "MUSTER_AGENT_RELYING_PARTY_LISTEN";
const RELYING_PARTY_MODE: &str = "MUSTER_AGENT_RELYING_PARTY_MODE";
const RELYING_PARTY_GROUP: &str = "MUSTER_AGENT_RELYING_PARTY_GROUP";
const RELYING_PARTY_TENANTS: &str = "MUSTER_AGENT_RELYING_PARTY_TENANTS";
const RELYING_PARTY_HEADER: &str = "MUSTER_AGENT_RELYING_PARTY_HEADER";
const RELYING_PARTY_MAX_AGE: &str = "MUSTER_AGENT_RELYING_PARTY_MAX_AGE";
const WORKLOAD_CONNECTIONS: &str = "MUSTER_AGENT_WORKLOAD_API_CONNECTIONS_PER_USER";

/// How an agent is set up.
#[derive(Debug)]
pub struct AgentConfig {
    pub identity: IdentityDir,
    /// What vouches for the server. Without it, what first contact verified, else the system's roots.
    pub server_ca: Option<PathBuf>,
    /// Without it, what the server told at enrollment.
    pub grpc_addr: Option<HostPort>,
    /// Without it, where the agent enrolled.
    pub server: Option<ServerUrl>,
    pub enroll: EnrollConfig,
    /// The socket of the Workload API, if it is to be served.
    pub workload_socket: Option<PathBuf>,
    /// Most connections to it that one user's programs hold.
    pub workload_connections_per_user: usize,
    /// How relying parties on this machine are answered, if they are.
    pub relying_party: Option<RelyingPartySettings>,
    pub subject: Subject,
    /// How the server is reached.
    pub dialer: Arc<Dialer>,
}

/// How an agent without an identity gets one.
#[derive(Debug, Default)]
pub struct EnrollConfig {
    pub credential: Option<CredentialSource>,
    pub server: Option<ServerUrl>,
    pub pin: Option<Pin>,
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum AgentConfigError {
    #[error("the agent's settings {} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{}, line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{0} is refused")]
    Server(&'static str, #[source] NotAServerUrl),
    #[error("{0} is refused")]
    Pin(&'static str, #[source] NotAPin),
    #[error("{0} is refused")]
    HostPort(&'static str, #[source] NotAHostPort),
    #[error("{0} is no number from {min} to {max}", min = PER_USER.start(), max = PER_USER.end())]
    Connections(&'static str),
    #[error("{0} is refused")]
    RelyingParty(&'static str, #[source] RelyingPartyError),
    #[error("{}: {key} is missing", path.display())]
    Missing { path: PathBuf, key: &'static str },
    #[error("{0} and {1} are both set, and only one of them can be meant")]
    Both(&'static str, &'static str),
    #[error("{} is not UTF-8, and settings are", .0.display())]
    NotUtf8(PathBuf),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl AgentConfigError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(..) => {
                "check the path and the rights; `muster agent enroll` writes an agent.yml beside the identity"
            }
            Self::Line { .. } | Self::File { .. } => {
                "correct that line; the keys are control_plane.grpc_addr, tls.cert_file, tls.key_file, tls.ca_file, identity.server, enroll.token_file, enroll.secret_file, enroll.server, enroll.ca_pin, workload_api.socket, workload_api.connections_per_user, relying_party.listen, relying_party.mode, relying_party.group, relying_party.tenants, relying_party.header and relying_party.max_age"
            }
            Self::Missing { .. } => {
                "set tls.cert_file and tls.key_file, or MUSTER_AGENT_TLS_CERT_FILE and MUSTER_AGENT_TLS_KEY_FILE"
            }
            Self::HostPort(..) => "write it as HOST:PORT",
            Self::Connections(_) => "64 is usual",
            Self::RelyingParty(..) => "correct the variable of the environment",
            Self::Server(..) => "write it as https://HOST:PORT",
            Self::Pin(..) => "copy the pin again from where the server's operator sees it",
            Self::Both(..) => "remove one of the two",
            Self::NotUtf8(_) => "choose another --dir",
            Self::Identity(error) => error.hint(),
        }
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    control_plane: Option<ControlPlane>,
    #[serde(default)]
    tls: TlsFiles,
    identity: Option<IdentityServer>,
    enroll: Option<Enroll>,
    workload_api: Option<WorkloadApi>,
    relying_party: Option<RelyingPartySection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkloadApi {
    socket: Option<PathBuf>,
    connections_per_user: Option<ConnectionsPerUser>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlPlane {
    grpc_addr: GrpcAddr,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFiles {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityServer {
    server: Server,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Enroll {
    token_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    server: Option<Server>,
    ca_pin: Option<CaPin>,
}

/// Values that are texts with a form of their own. Their mistakes name the key; the reader knows its section.
macro_rules! value {
    ($name:ident, $value:ty, $key:literal) => {
        #[derive(Debug)]
        struct $name($value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let refused = |error| serde::de::Error::custom(format_args!("{}: {error}", $key));
                text.parse().map(Self).map_err(refused)
            }
        }
    };
}

value!(GrpcAddr, HostPort, "grpc_addr");
value!(Server, ServerUrl, "server");
value!(CaPin, Pin, "ca_pin");

/// A number within [`PER_USER`].
#[derive(Debug, Deserialize)]
#[serde(try_from = "i64")]
struct ConnectionsPerUser(usize);

impl TryFrom<i64> for ConnectionsPerUser {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let number = usize::try_from(number).ok().filter(|number| PER_USER.contains(number));
        let (min, max) = (PER_USER.start(), PER_USER.end());
        number
            .map(Self)
            .ok_or_else(|| format!("connections_per_user: a number from {min} to {max} is wanted"))
    }
}

impl FromStr for ConnectionsPerUser {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse::<i64>().map_err(drop)?.try_into().map_err(drop)
    }
}

/// A dialer that goes through the proxy which the environment names.
pub fn dialer(env: AgentEnvironment<'_>) -> Arc<Dialer> {
    Arc::new(Dialer::new(ProxySettings::from_environment(env)))
}

/// How a variable of the environment is looked up.
pub type AgentEnvironment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment. A variable set to nothing counts as not set.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl AgentConfig {
    /// Reads `agent.yml` and the environment.
    pub fn load(path: &Path, env: AgentEnvironment<'_>) -> Result<Self, AgentConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| AgentConfigError::Unreadable(path.to_owned(), error))?;
        Self::parse(path, &text, env)
    }

    pub(crate) fn parse(
        path: &Path,
        text: &str,
        env: AgentEnvironment<'_>,
    ) -> Result<Self, AgentConfigError> {
        let file: File = match text.trim() {
            "" => File::default(),
            _ => yaml_serde::from_str(text).map_err(|error| in_file(path, &error))?,
        };
        let missing = |key| AgentConfigError::Missing { path: path.to_owned(), key };
        let cert = path_in(env, CERT_FILE).or_else(|| file.tls.cert_file.clone());
        let key = path_in(env, KEY_FILE).or_else(|| file.tls.key_file.clone());
        let cert = cert.ok_or_else(|| missing("tls.cert_file"))?;
        let key = key.ok_or_else(|| missing("tls.key_file"))?;
        Self::assemble(IdentityDir::of_files(&cert, &key)?, file, env)
    }

    /// An agent that was enrolled into a directory and knows everything else from there and the environment.
    pub fn of_directory(dir: &Path, env: AgentEnvironment<'_>) -> Result<Self, AgentConfigError> {
        Self::assemble(IdentityDir::new(dir), File::default(), env)
    }

    fn assemble(
        identity: IdentityDir,
        file: File,
        env: AgentEnvironment<'_>,
    ) -> Result<Self, AgentConfigError> {
        let enroll = file.enroll.unwrap_or_default();
        let from_file = one_of(
            ("enroll.token_file", enroll.token_file.map(CredentialPlace::File)),
            ("enroll.secret_file", enroll.secret_file.map(CredentialPlace::File)),
        )?;
        let from_env = EnrollConfig::from_environment(env)?;
        let server = parsed(env, IDENTITY_SERVER, AgentConfigError::Server)?;
        let server = server.or(file.identity.map(|identity| identity.server.0));
        let grpc_addr = parsed(env, GRPC_ADDR, AgentConfigError::HostPort)?;
        let workload = file.workload_api.unwrap_or_default();
        let connections = parsed(env, WORKLOAD_CONNECTIONS, |name, ()| AgentConfigError::Connections(name))?;
        let connections: Option<ConnectionsPerUser> = connections.or(workload.connections_per_user);
        Ok(Self {
            identity,
            server_ca: path_in(env, CA_FILE).or(file.tls.ca_file),
            grpc_addr: grpc_addr.or(file.control_plane.map(|control_plane| control_plane.grpc_addr.0)),
            enroll: EnrollConfig {
                credential: from_env.credential.or(from_file),
                server: from_env.server.or(enroll.server.map(|server| server.0)).or_else(|| server.clone()),
                pin: from_env.pin.or(enroll.ca_pin.map(|pin| pin.0)),
            },
            server,
            workload_socket: path_in(env, WORKLOAD_SOCKET).or(workload.socket),
            relying_party: relying_party(file.relying_party.unwrap_or_default(), env)?.settings(),
            workload_connections_per_user: connections.map_or(PER_USER_USUAL, |connections| connections.0),
            subject: Subject::ThisMachine,
            dialer: dialer(env),
        })
    }

    /// What vouches for the server at first contact: the pin, else the CA file, else the system's roots.
    pub fn first_trust(&self) -> Trust {
        match (self.enroll.pin, &self.server_ca) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(file)) => Trust::CaFile(file.clone()),
            (None, None) => Trust::SystemRoots,
        }
    }

    /// What vouches for the server from then on. The pin was for first contact only.
    pub fn later_trust(&self) -> Trust {
        let kept = self.identity.server_ca();
        match &self.server_ca {
            Some(file) => Trust::CaFile(file.clone()),
            None if kept.exists() => Trust::CaFile(kept),
            None => Trust::SystemRoots,
        }
    }

    /// Whether that is a file which the agent itself keeps, and not one that an operator has put there.
    pub fn keeps_server_ca(&self) -> bool {
        let kept = self.identity.server_ca();
        let absolute = |path: &Path| std::path::absolute(path).ok();
        let in_use = self.server_ca.as_ref().is_none_or(|file| absolute(file) == absolute(&kept));
        in_use && fs::symlink_metadata(kept).is_ok_and(|kept| kept.is_file())
    }
}

/// The section, with what the environment says in its place.
fn relying_party(
    file: RelyingPartySection,
    env: AgentEnvironment<'_>,
) -> Result<RelyingPartySection, AgentConfigError> {
    let refused = AgentConfigError::RelyingParty;
    Ok(RelyingPartySection {
        listen: parsed(env, RELYING_PARTY_LISTEN, refused)?.or(file.listen),
        mode: parsed(env, RELYING_PARTY_MODE, refused)?.or(file.mode),
        group: parsed(env, RELYING_PARTY_GROUP, refused)?.or(file.group),
        tenants: parsed(env, RELYING_PARTY_TENANTS, refused)?.or(file.tenants),
        header: parsed(env, RELYING_PARTY_HEADER, refused)?.or(file.header),
        max_age: parsed(env, RELYING_PARTY_MAX_AGE, refused)?.or(file.max_age),
    })
}

impl EnrollConfig {
    pub fn from_environment(env: AgentEnvironment<'_>) -> Result<Self, AgentConfigError> {
        let given = |name| (name, env(name).map(|text| CredentialPlace::Given(SecretText::new(&text))));
        let file = |name| (name, path_in(env, name).map(CredentialPlace::File));
        let credential = match one_of(given(JOIN_TOKEN), given(ENROLLMENT_SECRET))? {
            None => one_of(file(TOKEN_FILE), file(SECRET_FILE))?,
            given => given,
        };
        Ok(Self {
            credential,
            server: parsed(env, SERVER, AgentConfigError::Server)?,
            pin: parsed(env, CA_PIN, AgentConfigError::Pin)?,
        })
    }
}

fn path_in(env: AgentEnvironment<'_>, name: &str) -> Option<PathBuf> {
    env(name).map(|path| PathBuf::from(path.trim()))
}

fn parsed<T: FromStr>(
    env: AgentEnvironment<'_>,
    name: &'static str,
    refused: fn(&'static str, T::Err) -> AgentConfigError,
) -> Result<Option<T>, AgentConfigError> {
    env(name).map(|text| text.trim().parse()).transpose().map_err(|error| refused(name, error))
}

/// What a credential comes from, of which at most one can be meant: a join token, or an enrollment secret.
fn one_of(
    (token_name, token): (&'static str, Option<CredentialPlace>),
    (secret_name, secret): (&'static str, Option<CredentialPlace>),
) -> Result<Option<CredentialSource>, AgentConfigError> {
    let (kind, place) = match (token, secret) {
        (Some(_), Some(_)) => return Err(AgentConfigError::Both(token_name, secret_name)),
        (Some(place), None) => (CredentialKind::JoinToken, place),
        (None, Some(place)) => (CredentialKind::EnrollmentSecret, place),
        (None, None) => return Ok(None),
    };
    Ok(Some(CredentialSource { kind, place }))
}

/// An `agent.yml` for an identity that has been enrolled. The addresses in it are what the agent falls back on;
/// what the server names later comes first.
pub fn ready_made(identity: &IdentityDir, notes: &AgentState) -> Result<String, AgentConfigError> {
    let server_ca = Some(identity.server_ca()).filter(|file| file.exists());
    let yaml = written([
        ("control_plane", "grpc_addr", notes.grpc_addr.as_ref().map(ToString::to_string)),
        ("tls", "cert_file", Some(as_text(identity.cert())?)),
        ("tls", "key_file", Some(as_text(identity.key())?)),
        ("tls", "ca_file", server_ca.as_deref().map(as_text).transpose()?),
        ("identity", "server", notes.server.as_ref().map(ToString::to_string)),
    ]);
    Ok(format!(
        "# Written by `muster agent enroll`; start the agent with `muster agent run --config` and this file.\n{yaml}"
    ))
}

/// A file with these values of sections and keys, in this order. A value that is nothing is left out.
pub fn written(settings: impl IntoIterator<Item = (&'static str, &'static str, Option<String>)>) -> String {
    let mut file = Value::Null;
    for (section, key, value) in settings {
        if let Some(value) = value {
            file[section][key] = value.into();
        }
    }
    yaml_serde::to_string(&file).expect("texts always become YAML")
}

/// A path for the file, which is UTF-8. One that isn't has no place in it.
pub fn as_text(path: &Path) -> Result<String, AgentConfigError> {
    path.to_str().map(str::to_owned).ok_or_else(|| AgentConfigError::NotUtf8(path.to_owned()))
}

fn in_file(path: &Path, error: &yaml_serde::Error) -> AgentConfigError {
    let path = path.to_owned();
    match place_and_problem(error) {
        (Some(line), problem) => AgentConfigError::Line { path, line, problem },
        (None, problem) => AgentConfigError::File { path, problem },
    }
}

/// The line of a mistake, where it has one, and what it is without the values beside it.
pub(crate) fn place_and_problem(error: &yaml_serde::Error) -> (Option<usize>, String) {
    let text = error.to_string();
    // The reader's own account of the place is replaced by ours.
    let problem = without_values(text.split(" at line ").next().unwrap_or_default());
    (error.location().map(|location| location.line()), problem)
}

/// A message of the YAML reader without the values it quotes.
fn without_values(message: &str) -> String {
    let mut kept = String::new();
    let mut quoted = false;
    let mut escaped = false;
    for c in message.chars() {
        match c {
            '"' if !escaped => {
                quoted = !quoted;
                kept.push_str(if quoted { "\"…" } else { "\"" });
            }
            _ if !quoted => kept.push(c),
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    // A credential where a key belongs stands between back-quotes, and so do the keys that are known.
    kept.split(' ').map(|word| if is_secret(word) { "`…`" } else { word }).collect::<Vec<_>>().join(" ")
}

fn is_secret(word: &str) -> bool {
    ["mjt_", "mes_", "mat_"].iter().any(|prefix| word.contains(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::relying_party::settings::VouchAddress;

    /// Every setting, and the variable of the environment that wins over it. The settings, the reference and the
    /// hints are held against this list.
    const SETTINGS: [(&str, &str); 17] = [
        ("control_plane.grpc_addr", GRPC_ADDR),
        ("tls.cert_file", CERT_FILE),
        ("tls.key_file", KEY_FILE),
        ("tls.ca_file", CA_FILE),
        ("identity.server", IDENTITY_SERVER),
        ("enroll.token_file", TOKEN_FILE),
        ("enroll.secret_file", SECRET_FILE),
        ("enroll.server", SERVER),
        ("enroll.ca_pin", CA_PIN),
        ("workload_api.socket", WORKLOAD_SOCKET),
        ("workload_api.connections_per_user", WORKLOAD_CONNECTIONS),
        ("relying_party.listen", RELYING_PARTY_LISTEN),
        ("relying_party.mode", RELYING_PARTY_MODE),
        ("relying_party.group", RELYING_PARTY_GROUP),
        ("relying_party.tenants", RELYING_PARTY_TENANTS),
        ("relying_party.header", RELYING_PARTY_HEADER),
        ("relying_party.max_age", RELYING_PARTY_MAX_AGE),
    ];

    const FILES: &str = "tls: {cert_file: /d/cert.pem, key_file: /d/key.pem}\n";

    fn parse(text: &str, env: &[(&str, &str)]) -> Result<AgentConfig, String> {
        let lookup =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        AgentConfig::parse(Path::new("agent.yml"), text, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_there_is_to_set() {
        let text = "
control_plane: {grpc_addr: \"control.example:9443\"}
tls:
  cert_file: /d/cert.pem   # leaf + intermediate
  key_file:  /d/key.pem
  ca_file:   /d/server-ca.pem
identity: {server: \"https://control.example:8443\"}
enroll:
  token_file: /run/secrets/join-token
  server: https://first.example:8443
  ca_pin: 0000000000000000000000000000000000000000000000000000000000000000
workload_api: {socket: /run/muster-agent/workload.sock, connections_per_user: 200}
";
        let config = parse(text, &[]).unwrap();
        assert_eq!(config.identity, IdentityDir::new("/d"));
        assert_eq!(config.grpc_addr.as_ref().unwrap().to_string(), "control.example:9443");
        assert_eq!(config.server.as_ref().unwrap().to_string(), "https://control.example:8443");
        assert_eq!(config.enroll.server.as_ref().unwrap().to_string(), "https://first.example:8443");
        assert_eq!(config.first_trust(), Trust::Pin(Pin::from_bytes([0; 32])));
        assert_eq!(config.later_trust(), Trust::CaFile("/d/server-ca.pem".into()));
        assert_eq!(config.workload_socket.as_deref(), Some(Path::new("/run/muster-agent/workload.sock")));
        assert_eq!(config.workload_connections_per_user, 200);
        let source = config.enroll.credential.unwrap();
        assert_eq!(source.kind, CredentialKind::JoinToken);
        assert!(
            matches!(source.place, CredentialPlace::File(path) if path == Path::new("/run/secrets/join-token"))
        );
    }

    #[test]
    fn little_is_needed() {
        let config = parse(&format!("{FILES}enroll:\n"), &[]).unwrap();
        assert!(config.enroll.credential.is_none());
        assert_eq!((config.first_trust(), config.later_trust()), (Trust::SystemRoots, Trust::SystemRoots));
        let config = parse(&format!("{FILES}identity: {{server: \"https://a:1\"}}"), &[]).unwrap();
        assert_eq!(config.enroll.server, config.server);
    }

    #[test]
    fn the_environment_wins() {
        let text = format!(
            "{FILES}enroll: {{secret_file: /s, server: \"https://a:1\", ca_pin: {}}}",
            "ab".repeat(32)
        );
        let pin = "cd".repeat(32);
        let config = parse(
            &text,
            &[(JOIN_TOKEN, " mjt_x\n"), (TOKEN_FILE, "/t"), (SERVER, "https://b:2"), (CA_PIN, &pin)],
        )
        .unwrap();
        let source = config.enroll.credential.unwrap();
        assert_eq!(source.kind, CredentialKind::JoinToken);
        assert!(matches!(source.place, CredentialPlace::Given(text) if text.reveal() == "mjt_x"));
        assert_eq!(config.enroll.server.unwrap().to_string(), "https://b:2");
        assert_eq!(config.enroll.pin.unwrap().to_string(), pin);

        let config = parse(&text, &[(TOKEN_FILE, "/t")]).unwrap();
        assert!(
            matches!(config.enroll.credential.unwrap().place, CredentialPlace::File(path) if path == Path::new("/t"))
        );
        let config = parse(&text, &[(ENROLLMENT_SECRET, "mes_x")]).unwrap();
        assert_eq!(config.enroll.credential.unwrap().kind, CredentialKind::EnrollmentSecret);
    }

    /// A setting as it came out, as text.
    fn chosen(config: &AgentConfig, key: &str) -> String {
        let file = |kind: CredentialKind| match &config.enroll.credential {
            Some(CredentialSource { kind: found, place: CredentialPlace::File(path) }) if *found == kind => {
                path.display().to_string()
            }
            other => panic!("{key}: {other:?}"),
        };
        match key {
            "control_plane.grpc_addr" => config.grpc_addr.as_ref().unwrap().to_string(),
            "tls.cert_file" => config.identity.cert().display().to_string(),
            "tls.key_file" => config.identity.key().display().to_string(),
            "tls.ca_file" => config.server_ca.as_ref().unwrap().display().to_string(),
            "identity.server" => config.server.as_ref().unwrap().to_string(),
            "enroll.token_file" => file(CredentialKind::JoinToken),
            "enroll.secret_file" => file(CredentialKind::EnrollmentSecret),
            "enroll.server" => config.enroll.server.as_ref().unwrap().to_string(),
            "enroll.ca_pin" => config.enroll.pin.unwrap().to_string(),
            "workload_api.socket" => config.workload_socket.as_ref().unwrap().display().to_string(),
            "workload_api.connections_per_user" => config.workload_connections_per_user.to_string(),
            _ if key.starts_with("relying_party.") => vouching(config.relying_party.as_ref().unwrap(), key),
            _ => panic!("{key} is not looked at by this test"),
        }
    }

    fn vouching(settings: &RelyingPartySettings, key: &str) -> String {
        match key {
            "relying_party.listen" => match &settings.listen {
                VouchAddress::Unix(path) => format!("unix:{}", path.display()),
                VouchAddress::Loopback(address) => address.to_string(),
            },
            "relying_party.mode" => format!("{:04o}", settings.mode.bits()),
            "relying_party.group" => settings.group.clone().unwrap(),
            "relying_party.tenants" if settings.tenants.own => "own".to_owned(),
            "relying_party.tenants" => settings.tenants.others[0].to_string(),
            "relying_party.header" => settings.header.canonical().to_owned(),
            "relying_party.max_age" => format!("{}s", settings.max_age.unwrap().as_secs()),
            _ => panic!("{key} is not looked at by this test"),
        }
    }

    #[test]
    fn every_setting_has_a_variable_that_wins_and_a_line_in_the_reference() {
        let reference = include_str!("../../config/agent.yml");
        let hint = AgentConfigError::File { path: PathBuf::new(), problem: String::new() }.hint();
        for (key, variable) in SETTINGS {
            let (section, name) = key.split_once('.').unwrap();
            assert_eq!(variable, format!("MUSTER_AGENT_{}_{}", section.to_uppercase(), name.to_uppercase()));
            assert!(reference.contains(variable), "config/agent.yml does not name {variable}");
            assert!(hint.contains(key), "the hint does not name {key}");
            let (first, second) = match name {
                "grpc_addr" => ("a:1", "b:2"),
                "server" => ("https://a:1", "https://b:2"),
                "ca_pin" => (&*"ab".repeat(32), &*"cd".repeat(32)),
                "connections_per_user" => ("7", "9"),
                "listen" => ("unix:/d/first", "127.0.0.1:9444"),
                "mode" => ("0600", "0640"),
                "group" => ("first", "33"),
                "tenants" => ("01890000-0000-7000-8000-000000000000", "own"),
                "header" => ("X-SSL-Client-Cert", "X-Forwarded-Client-Cert"),
                "max_age" => ("60s", "90s"),
                _ => ("/d/first", "/d/second"),
            };
            let files = match name {
                "cert_file" => "key_file: /d/key.pem, ",
                "key_file" => "cert_file: /d/cert.pem, ",
                _ => "cert_file: /d/cert.pem, key_file: /d/key.pem",
            };
            let text = match section {
                "tls" => format!(
                    "tls: {{{files}{}{name}: \"{first}\"}}",
                    if files.ends_with(", ") { "" } else { ", " }
                ),
                "relying_party" if name == "listen" => format!("{FILES}{section}: {{{name}: \"{first}\"}}"),
                "relying_party" if name == "tenants" => {
                    format!("{FILES}{section}: {{listen: \"unix:/l\", {name}: [\"{first}\"]}}")
                }
                "relying_party" => format!("{FILES}{section}: {{listen: \"unix:/l\", {name}: \"{first}\"}}"),
                _ if first.parse::<u32>().is_ok() => format!("{FILES}{section}: {{{name}: {first}}}"),
                _ => format!("{FILES}{section}: {{{name}: \"{first}\"}}"),
            };
            assert_eq!(chosen(&parse(&text, &[]).unwrap(), key), first, "{text}");
            let padded = format!(" {second}\n");
            assert_eq!(chosen(&parse(&text, &[(variable, &padded)]).unwrap(), key), second, "{variable}");
        }
        // The file may leave everything to the environment.
        let config = parse("", &[(CERT_FILE, "/e/c"), (KEY_FILE, "/e/k"), (SECRET_FILE, "/s")]).unwrap();
        assert_eq!(chosen(&config, "enroll.secret_file"), "/s");
        let both = parse(FILES, &[(TOKEN_FILE, "/t"), (SECRET_FILE, "/s")]).unwrap_err();
        assert!(both.contains(TOKEN_FILE) && both.contains(SECRET_FILE), "{both}");
        for (variable, bad) in
            [(GRPC_ADDR, "hunter2"), (IDENTITY_SERVER, "hunter2"), (WORKLOAD_CONNECTIONS, "0")]
        {
            let error = parse(FILES, &[(variable, bad)]).unwrap_err();
            assert!(error.contains(variable) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn mistakes_name_key_and_line_and_no_value() {
        let check = |text: &str, says: &[&str]| {
            let error = parse(text, &[]).unwrap_err();
            for part in says {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        };
        check("", &["agent.yml", "tls"]);
        check(&format!("{FILES}workload_api: {{sockets: /x}}"), &["line 2", "workload_api", "sockets"]);
        check(&format!("{FILES}enroll: mjt_hunter2"), &["line 2", "enroll"]);
        check(&format!("{FILES}enroll: \"say \\\"hunter2\\\" hunter2\""), &["line 2", "enroll"]);
        check(
            &format!("{FILES}enroll:\n  token: mjt_hunter2"),
            &["line 3", "unknown field `token`", "token_file"],
        );
        check(&format!("{FILES}enroll:\n  mjt_hunter2: x"), &["line 3", "unknown field"]);
        check(&format!("{FILES}enroll:\n  ca_pin: hunter2"), &["line 3", "enroll: ca_pin", "64 hex digits"]);
        check(
            &format!("{FILES}enroll:\n  server: http://hunter2"),
            &["line 3", "enroll: server", "https://"],
        );
        check(&format!("{FILES}control_plane: {{grpc_addr: hunter2}}"), &["line 2", "grpc_addr", "port"]);
        check(&format!("{FILES}enroll:\n  token_file: [hunter2]"), &["line 3", "token_file"]);
        check(&format!("{FILES}tls: {{}}"), &["line", "duplicate"]);
        check("tls: {cert_file: /d/c}", &["agent.yml", "tls.key_file"]);
        check(
            &format!("{FILES}workload_api: {{connections_per_user: 0}}"),
            &["line 2", "connections_per_user"],
        );
        check("tls: {cert_file: /a/c, key_file: /b/k}", &["one directory"]);
        check(&format!("{FILES}enroll: {{token_file: /a, secret_file: /b}}"), &["only one"]);
        check(&format!("{FILES}enroll: [hunter2"), &["agent.yml"]);
        check(&format!("{FILES}\tenroll: hunter2"), &["agent.yml"]);
        let both = parse(FILES, &[(JOIN_TOKEN, "hunter2"), (ENROLLMENT_SECRET, "hunter2")]).unwrap_err();
        assert!(both.contains(JOIN_TOKEN) && both.contains(ENROLLMENT_SECRET) && !both.contains("hunter2"));
        assert!(parse(FILES, &[(CA_PIN, "hunter2")]).unwrap_err().contains(CA_PIN));
        assert!(parse(FILES, &[(SERVER, "hunter2")]).unwrap_err().contains(SERVER));
    }

    #[test]
    fn the_ready_made_file_is_one_we_read() {
        let place = IdentityDir::new("/d: x/#\"y\"");
        let notes = AgentState {
            server: Some("https://a:1".parse().unwrap()),
            grpc_addr: Some("[::1]:2".parse().unwrap()),
            ..AgentState::default()
        };
        let config = parse(&ready_made(&place, &notes).unwrap(), &[]).unwrap();
        assert_eq!(config.identity, place);
        assert_eq!((config.server, config.grpc_addr), (notes.server, notes.grpc_addr));
    }
}
