//! The server's settings: `muster.yml`, each overridden by its environment variable, each overridden by its
//! flag. Unknown keys are errors, so a typo can't quietly leave a default in force.

mod kind;
mod log_filter;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::SignedDuration;
pub use kind::SettingKind;
use kind::SettingValue;
pub use log_filter::LogFilter;
use serde::Deserialize;

use crate::domain::backups::BackupSchedule;
use crate::domain::duration;
use crate::domain::host::ClonePolicy;
use crate::domain::identity::dns_suffix::DnsSuffixes;
use crate::domain::identity::jwt_issuer::JwtIssuer;
use crate::domain::identity::jwt_keys::JwtAlg;
use crate::domain::identity::reserved_ids::ReservedIds;
use crate::domain::insight::retention::Retention;
use crate::domain::network::crl_base::CrlBase;
use crate::domain::network::host_port::{HostName, HostPort, NotAHostPort};
use crate::domain::network::networks::Networks;
use crate::domain::network::public_url::PublicUrls;
use crate::domain::replicas::ReplicaSettings;

/// Everything a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub grpc_listen: SocketAddr,
    /// By what agents and people reach this server; empty: by the name that an agent came by.
    pub public_url: PublicUrls,
    /// Where agents are told to find the gRPC listener; derived when absent.
    pub grpc_addr: Option<HostPort>,
    /// Names for a certificate that the server makes for itself, beside those in `public_url`.
    pub cert_names: Vec<HostName>,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
    /// Replaces the stored agent CA bundle as the anchor of the gRPC listener.
    pub agent_tls_ca_file: Option<PathBuf>,
    pub envelope_key_file: Option<PathBuf>,
    pub envelope_passphrase_file: Option<PathBuf>,
    pub trusted_proxies: Networks,
    pub svid_ttl: SignedDuration,
    pub svid_server_auth: bool,
    /// Which agents' SVIDs have a DNS name beside their id.
    pub svid_dns_suffix: DnsSuffixes,
    /// Where certificates say that revocation lists are.
    pub crl_url: Option<CrlBase>,
    /// Where revocation lists and the agent CA are served without TLS.
    pub crl_listen: Option<SocketAddr>,
    pub rotation_grace: SignedDuration,
    pub jwt_svid_alg: JwtAlg,
    pub jwt_svid_ttl: SignedDuration,
    /// What JWT-SVIDs name as their issuer.
    pub jwt_issuer: Option<JwtIssuer>,
    pub clone_policy: ClonePolicy,
    pub readmit_decommissioned: bool,
    /// Changes per second that one person or API token may make in the long run.
    pub write_pace: u32,
    /// Join tokens of one tenant that may be open at once.
    pub max_open_join_tokens: usize,
    /// Agent ids that no join token may name.
    pub reserved_agent_ids: ReservedIds,
    /// How long history is kept that nothing is decided by.
    pub retention: Retention,
    /// How often the server backs up by itself; `None`: it does not.
    pub backup: Option<BackupSchedule>,
    /// Where every change goes, too.
    pub replicas: Vec<ReplicaSettings>,
    pub log: LogFilter,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A setting that cannot be used. Values are not repeated: some are secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration {} is not usable: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("{}'{key}' ({variable}) is not usable: {reason}", in_file(file.as_ref()))]
    Setting {
        key: &'static str,
        variable: &'static str,
        /// The file and the line of it, unless the value comes from elsewhere.
        file: Option<(PathBuf, usize)>,
        reason: String,
    },
}

fn in_file(file: Option<&(PathBuf, usize)>) -> String {
    file.map(|(path, line)| format!("{}, line {line}: ", path.display())).unwrap_or_default()
}

/// Shortest and longest life of an SVID.
const SVID_TTL: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(10)..=SignedDuration::from_hours(7 * 24);
/// Shortest and longest life of a JWT-SVID.
const JWT_SVID_TTL: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(10)..=SignedDuration::from_hours(1);
const JWT_SVID_TTL_DEFAULT: SignedDuration = SignedDuration::from_mins(5);
/// Longest grace after expiry.
const GRACE_MAX: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Changes per second of one person or API token.
const WRITE_PACE: std::ops::RangeInclusive<u32> = 1..=10_000;
const WRITE_PACE_DEFAULT: u32 = 50;
/// Open join tokens of one tenant.
const OPEN_JOIN_TOKENS: std::ops::RangeInclusive<usize> = 1..=1_000_000;
const OPEN_JOIN_TOKENS_DEFAULT: usize = 10_000;

/// More than all settings with all their comments take, in octets. The time that reading YAML takes grows faster than
/// its length.
const FILE_OCTETS_MAX: usize = 64 * 1024;

/// What the environment says; a function, so that tests bring their own.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Settings given on the command line.
#[derive(Debug, Default)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub grpc_listen: Option<SocketAddr>,
}

/// One of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub variable: &'static str,
    pub kind: SettingKind,
}

macro_rules! settings {
    ($($key:ident = $variable:literal: $kind:ident,)*) => {
        /// `muster.yml`, before defaults. What each value is, is judged by its kind.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            $(#[serde(default)] $key: Option<SettingValue>,)*
        }

        /// Every key of `muster.yml` with its environment variable.
        pub const SETTINGS: &[Setting] =
            &[$(Setting { key: stringify!($key), variable: $variable, kind: SettingKind::$kind },)*];

        impl File {
            fn value(&self, key: &str) -> Option<&SettingValue> {
                match key {
                    $(stringify!($key) => self.$key.as_ref(),)*
                    _ => None,
                }
            }
        }
    };
}

settings! {
    data_dir = "MUSTER_DATA_DIR": Path,
    listen = "MUSTER_LISTEN": Socket,
    grpc_listen = "MUSTER_GRPC_LISTEN": Socket,
    public_url = "MUSTER_PUBLIC_URL": Urls,
    grpc_addr = "MUSTER_GRPC_ADDR": HostPort,
    trusted_proxies = "MUSTER_TRUSTED_PROXIES": Networks,
    tls_cert_file = "MUSTER_TLS_CERT_FILE": Path,
    tls_key_file = "MUSTER_TLS_KEY_FILE": Path,
    cert_names = "MUSTER_CERT_NAMES": Names,
    agent_tls_ca_file = "MUSTER_AGENT_TLS_CA_FILE": Path,
    svid_ttl = "MUSTER_SVID_TTL": Duration,
    svid_server_auth = "MUSTER_SVID_SERVER_AUTH": Truth,
    svid_dns_suffix = "MUSTER_SVID_DNS_SUFFIX": DnsSuffixes,
    crl_url = "MUSTER_CRL_URL": CrlUrl,
    crl_listen = "MUSTER_CRL_LISTEN": Socket,
    rotation_grace = "MUSTER_ROTATION_GRACE": Duration,
    jwt_svid_alg = "MUSTER_JWT_SVID_ALG": JwtAlg,
    jwt_svid_ttl = "MUSTER_JWT_SVID_TTL": Duration,
    jwt_issuer = "MUSTER_JWT_ISSUER": Issuer,
    clone_policy = "MUSTER_CLONE_POLICY": ClonePolicy,
    readmit_decommissioned = "MUSTER_READMIT_DECOMMISSIONED": Truth,
    write_pace = "MUSTER_WRITE_PACE": Number,
    max_open_join_tokens = "MUSTER_MAX_OPEN_JOIN_TOKENS": Number,
    reserved_agent_ids = "MUSTER_RESERVED_AGENT_IDS": AgentIds,
    retention = "MUSTER_RETENTION": Retention,
    envelope_key_file = "MUSTER_ENVELOPE_KEY_FILE": Path,
    envelope_passphrase_file = "MUSTER_ENVELOPE_PASSPHRASE_FILE": Path,
    backup = "MUSTER_BACKUP": Backup,
    replicas = "MUSTER_REPLICAS": Replicas,
    log = "MUSTER_LOG": LogFilter,
    log_format = "MUSTER_LOG_FORMAT": LogFormat,
}

/// What is set, the environment before the file.
struct Source<'e> {
    file: File,
    /// The file with its text, to name lines.
    text: Option<(PathBuf, String)>,
    environment: Environment<'e>,
}

/// A setting's text, and where it comes from.
struct Given {
    setting: &'static Setting,
    file: Option<(PathBuf, usize)>,
    text: String,
}

impl Source<'_> {
    /// What is set, if its kind is right. A variable that is empty is not set, as templates leave them.
    fn get(&self, key: &'static str) -> Result<Option<Given>, ConfigError> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let setting =
            setting.unwrap_or_else(|| unreachable!("'{key}' is read and is no line of `settings!`"));
        let from_environment = (self.environment)(setting.variable).filter(|value| !value.is_empty());
        let (value, file) = match (from_environment, self.file.value(key)) {
            (Some(text), _) => (&SettingValue::Text(text), None),
            (None, Some(value)) => (value, self.line_of(key)),
            (None, None) => return Ok(None),
        };
        match setting.kind.text(value) {
            Ok(text) => Ok(Some(Given { setting, file, text })),
            Err(what) => Err(setting.unusable(file, what)),
        }
    }

    fn line_of(&self, key: &str) -> Option<(PathBuf, usize)> {
        self.text.as_ref().map(|(path, text)| (path.clone(), line_of(text, key)))
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &'static str,
        flag: Option<T>,
        default: T,
    ) -> Result<T, ConfigError> {
        match flag {
            Some(value) => Ok(value),
            None => Ok(self.optional(key, str::parse)?.unwrap_or(default)),
        }
    }

    fn optional<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(given) = self.get(key)? else { return Ok(None) };
        read(given.text.trim()).map(Some).map_err(|error| given.setting.unusable(given.file, error))
    }

    /// A path is taken as it is, blanks included.
    fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.get(key)?.map(|given| PathBuf::from(given.text)))
    }
}

impl Setting {
    fn unusable(&self, file: Option<(PathBuf, usize)>, what: impl std::fmt::Display) -> ConfigError {
        let reason = format!("{what}; wanted is {}", self.kind.wanted());
        ConfigError::Setting { key: self.key, variable: self.variable, file, reason }
    }
}

/// The line on which a key of the outermost mapping stands. The file has been read before, so there is one.
fn line_of(text: &str, key: &str) -> usize {
    let starts = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || "{?\u{feff}\"'".contains(c));
        let rest = line.strip_prefix(key).map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        rest.is_some_and(|rest| rest.starts_with(':') || rest.is_empty())
    };
    // In flow style, `{a: 1, b: 2}`, several keys may share a line.
    let shares = |line: &str| line.split(',').any(starts);
    let lines = || text.lines().zip(1..);
    let found = lines().find(|(line, _)| starts(line)).or_else(|| lines().find(|(line, _)| shares(line)));
    found.map_or(1, |(_, number)| number)
}

impl Config {
    /// Settings from flags, environment, file and defaults, in that order of weight.
    pub fn load(
        file: Option<&Path>,
        overrides: Overrides,
        environment: Environment<'_>,
        listen_ip: Ipv4Addr,
    ) -> Result<Self, ConfigError> {
        let source = match file {
            Some(path) => read(path, environment)?,
            None => Source { file: File::default(), text: None, environment },
        };
        let data_dir = match (overrides.data_dir, source.path("data_dir")?) {
            (Some(directory), _) | (None, Some(directory)) => directory,
            (None, None) => default_data_dir(environment).ok_or_else(|| ConfigError::Setting {
                key: "data_dir",
                variable: "MUSTER_DATA_DIR",
                file: None,
                reason: "there is no home directory to put it in; set it".to_owned(),
            })?,
        };
        let tls = data_dir.join("tls");
        let socket = |port| SocketAddr::new(IpAddr::V4(listen_ip), port);
        Ok(Self {
            listen: source.parsed("listen", overrides.listen, socket(8443))?,
            grpc_listen: source.parsed("grpc_listen", overrides.grpc_listen, socket(9443))?,
            public_url: source.parsed("public_url", None, PublicUrls::default())?,
            grpc_addr: source.optional("grpc_addr", to_dial)?,
            cert_names: source.optional("cert_names", names)?.unwrap_or_default(),
            tls_cert_file: source.path("tls_cert_file")?.unwrap_or_else(|| tls.join("server.crt")),
            tls_key_file: source.path("tls_key_file")?.unwrap_or_else(|| tls.join("server.key")),
            agent_tls_ca_file: source.path("agent_tls_ca_file")?,
            envelope_key_file: source.path("envelope_key_file")?,
            envelope_passphrase_file: source.path("envelope_passphrase_file")?,
            trusted_proxies: source.parsed("trusted_proxies", None, Networks::default())?,
            svid_ttl: source.optional("svid_ttl", svid_ttl)?.unwrap_or(SignedDuration::from_hours(24)),
            svid_server_auth: source.parsed("svid_server_auth", None, false)?,
            svid_dns_suffix: source.parsed("svid_dns_suffix", None, DnsSuffixes::default())?,
            crl_url: source.optional("crl_url", str::parse)?,
            crl_listen: source.optional("crl_listen", str::parse)?,
            rotation_grace: source.optional("rotation_grace", rotation_grace)?.unwrap_or_default(),
            jwt_svid_alg: source.optional("jwt_svid_alg", jwt_svid_alg)?.unwrap_or(JwtAlg::Es256),
            jwt_svid_ttl: source.optional("jwt_svid_ttl", jwt_svid_ttl)?.unwrap_or(JWT_SVID_TTL_DEFAULT),
            jwt_issuer: source.optional("jwt_issuer", str::parse::<JwtIssuer>)?,
            clone_policy: source.parsed("clone_policy", None, ClonePolicy::default())?,
            readmit_decommissioned: source.parsed("readmit_decommissioned", None, false)?,
            write_pace: source.optional("write_pace", write_pace)?.unwrap_or(WRITE_PACE_DEFAULT),
            max_open_join_tokens: source
                .optional("max_open_join_tokens", max_open_join_tokens)?
                .unwrap_or(OPEN_JOIN_TOKENS_DEFAULT),
            reserved_agent_ids: source.parsed("reserved_agent_ids", None, ReservedIds::default())?,
            retention: source.optional("retention", Retention::read)?.unwrap_or_default(),
            backup: source
                .optional("backup", BackupSchedule::read)?
                .unwrap_or_else(|| Some(BackupSchedule::default())),
            replicas: source.optional("replicas", ReplicaSettings::read)?.unwrap_or_default(),
            log: source.parsed("log", None, LogFilter::default())?,
            log_format: source.parsed("log_format", None, LogFormat::Text)?,
            data_dir,
        })
    }
}

/// An address that others are told to dial, so it must name a machine.
fn to_dial(text: &str) -> Result<HostPort, String> {
    let address: HostPort = text.parse().map_err(|error: NotAHostPort| error.to_string())?;
    if address.host.is_unspecified() {
        return Err("an address that means every interface names no machine".to_owned());
    }
    Ok(address)
}

fn names(text: &str) -> Result<Vec<HostName>, String> {
    let name = |text: &str| match text.parse::<IpAddr>() {
        Ok(address) => Ok(HostName::Ip(address)),
        Err(_) => text.to_ascii_lowercase().parse().map_err(|_| "one of the names is none".to_owned()),
    };
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(name).collect()
}

fn svid_ttl(text: &str) -> Result<SignedDuration, String> {
    let ttl = duration::parse(text).map_err(|error| error.to_string())?;
    if SVID_TTL.contains(&ttl) { Ok(ttl) } else { Err("an SVID lives between 10s and 7d".to_owned()) }
}

fn rotation_grace(text: &str) -> Result<SignedDuration, String> {
    let grace = duration::parse(text).map_err(|error| error.to_string())?;
    if grace > GRACE_MAX { Err("the grace is at most 90d".to_owned()) } else { Ok(grace) }
}

fn jwt_svid_alg(text: &str) -> Result<JwtAlg, &'static str> {
    text.parse().map_err(|_| "it is neither")
}

fn jwt_svid_ttl(text: &str) -> Result<SignedDuration, String> {
    let ttl = duration::parse(text).map_err(|error| error.to_string())?;
    if JWT_SVID_TTL.contains(&ttl) { Ok(ttl) } else { Err("a JWT-SVID lives between 10s and 1h".to_owned()) }
}

fn write_pace(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|pace| WRITE_PACE.contains(pace)).ok_or_else(|| {
        format!("the pace is from {} to {} changes a second", WRITE_PACE.start(), WRITE_PACE.end())
    })
}

fn max_open_join_tokens(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|most| OPEN_JOIN_TOKENS.contains(most)).ok_or_else(|| {
        format!("a tenant may have {} to {} open", OPEN_JOIN_TOKENS.start(), OPEN_JOIN_TOKENS.end())
    })
}

/// `/var/lib/muster` for root, else the XDG data directory.
fn default_data_dir(environment: Environment<'_>) -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/muster"));
    }
    let set = |name: &str| environment(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("muster"))
}

fn read<'e>(path: &Path, environment: Environment<'e>) -> Result<Source<'e>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.len() > FILE_OCTETS_MAX {
        let reason = format!("it is longer than {} KiB", FILE_OCTETS_MAX / 1024);
        return Err(ConfigError::Parse { path: path.to_owned(), reason });
    }
    let parsed = yaml_serde::from_str::<Option<File>>(&text);
    let file =
        parsed.map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Source { file: file.unwrap_or_default(), text: Some((path.to_owned(), text)), environment })
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is neither"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::Dice;

    fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let lookup = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let overrides = Overrides { data_dir: Some("/data".into()), ..Overrides::default() };
        Config::load(Some(file.path()), overrides, &lookup, Ipv4Addr::UNSPECIFIED)
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let config = load("svid_ttl: 12h\nlisten: 127.0.0.1:1\n", &[("MUSTER_SVID_TTL", "60s")]).unwrap();
        assert_eq!(config.svid_ttl, SignedDuration::from_secs(60));
        assert_eq!(config.listen.to_string(), "127.0.0.1:1");
        assert_eq!(config.grpc_listen.to_string(), "0.0.0.0:9443");
        assert_eq!(config.tls_key_file, Path::new("/data/tls/server.key"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("svid_tll: 12h", "svid_tll"),
            ("svid_ttl: 9s", "MUSTER_SVID_TTL"),
            ("svid_ttl: 8d", "7d"),
            ("svid_ttl: soon", "svid_ttl"),
            ("listen: nowhere", "MUSTER_LISTEN"),
            ("trusted_proxies: [10.0.0.0/8, example]", "trusted_proxies"),
            ("svid_server_auth: maybe", "svid_server_auth"),
            ("clone_policy: forgive", "MUSTER_CLONE_POLICY"),
            ("readmit_decommissioned: maybe", "readmit_decommissioned"),
            ("jwt_svid_alg: HS256", "ES256 or RS256"),
            ("jwt_svid_ttl: 2h", "1h"),
            ("jwt_issuer: http://a.example", "https://HOST"),
            ("jwt_issuer: https://a.example/", "slash"),
            ("log_format: xml", "log_format"),
            ("log: verbose", "a log level in it is none"),
            ("listen: a\nlisten: b", "duplicate"),
        ];
        for (yaml, expected) in cases {
            let error = load(yaml, &[]).expect_err(yaml).to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        assert!(load("", &[]).is_ok(), "an empty file changes nothing");
        assert!(load("trusted_proxies: [10.0.0.0/8]\nsvid_server_auth: true", &[]).is_ok());
    }

    /// A value that is right for settings of a kind.
    const fn right(kind: SettingKind) -> &'static str {
        match kind {
            SettingKind::Path => "/a/path",
            SettingKind::Socket => "127.0.0.1:0",
            SettingKind::HostPort => "muster.example.org:9443",
            SettingKind::Urls => "[https://a.example, https://b.example:8443]",
            SettingKind::Names => "muster.example.org, 192.0.2.1, 2001:db8::1",
            SettingKind::Networks => "[10.0.0.0/8]",
            SettingKind::Duration => "1h",
            SettingKind::Truth => "true",
            SettingKind::Number => "50",
            SettingKind::AgentIds => "[root, web-1]",
            SettingKind::DnsSuffixes => "[shop=shop.example.org, bank=bank.example.org]",
            SettingKind::CrlUrl => "http://pki.example.org/muster",
            SettingKind::ClonePolicy => "revoke",
            SettingKind::JwtAlg => "RS256",
            SettingKind::Issuer => "https://muster.example.org",
            SettingKind::Retention => "{enrollments: 30d, events: 100d}",
            SettingKind::Backup => "{every: 12h, keep: 3, dir: /mnt/nas}",
            SettingKind::Replicas => {
                "[{url: 's3://bucket/muster', every: 2s, synchronous: [revocations, enrollments]}, {url: file:///mnt/nas/muster}]"
            }
            SettingKind::LogFilter => "info,muster::http=debug",
            SettingKind::LogFormat => "json",
        }
    }

    /// What is said of a value that is wrong for a setting.
    #[track_caller]
    fn refused(key: &str, yaml: &str, environment: &[(&str, &str)]) -> String {
        match load(yaml, environment) {
            Err(error) => error.to_string(),
            Ok(_) => {
                panic!("{key}: {yaml:?} {environment:?} is taken: is it read in `Config::load`, by its kind?")
            }
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_key_its_line_and_what_is_wanted() {
        for Setting { key, variable, kind } in SETTINGS {
            load(&format!("{key}: {}", right(*kind)), &[]).unwrap_or_else(|error| panic!("{key}: {error}"));
            load(&format!("{key}: null"), &[]).unwrap_or_else(|error| panic!("{key}: {error}"));
            let number = (*kind != SettingKind::Number).then_some("86400");
            let wrong = ["-1", "1.5", "{}", "{a: b}", "[[a]]", "[1]", "[null]", "[true]", "['']"];
            let truth = (*kind != SettingKind::Truth).then_some("true");
            let no_list = (!kind.is_list()).then_some(["''", "'  '", "[]", "[a, b]"]).into_iter().flatten();
            for value in wrong.into_iter().chain(number).chain(truth).chain(no_list) {
                let yaml = format!("# A comment.\n\n{key}: {value}\n");
                let error = refused(key, &yaml, &[]);
                assert!(error.contains(&format!("line 3: '{key}' ({variable})")), "{yaml}: {error}");
                assert!(error.contains(kind.wanted()), "{yaml}: {error}");
            }
            // A kind that takes any text stands here, too.
            if *kind != SettingKind::Path {
                let error = refused(key, "", &[(variable, "a b:c")]);
                assert!(error.contains(variable) && error.contains(kind.wanted()), "{key}: {error}");
                assert!(!error.contains("line"), "{error}");
            }
            assert!(load("", &[(variable, "")]).is_ok(), "{variable}: an empty variable is not set");
        }
    }

    #[test]
    fn an_address_that_agents_could_not_dial_is_refused() {
        for bad in [
            "https://muster.example.org:9443",
            "muster.example.org",
            "'[::1]'",
            "':9443'",
            "muster.example.org:99999",
            "muster.example.org:0",
            "muster example:9443",
            "'*.example.org:9443'",
            "0.0.0.0:9443",
            "'[::]:9443'",
            "2001:db8::1:9443",
            "a:9443,b:9443",
        ] {
            let error = load(&format!("log: info\ngrpc_addr: {bad}"), &[]).expect_err(bad).to_string();
            assert!(error.contains("line 2: 'grpc_addr'") && error.contains("HOST:PORT"), "{bad}: {error}");
        }
        let config = load("grpc_addr: ' [2001:db8::1]:9443 '", &[]).unwrap();
        assert_eq!(config.grpc_addr.unwrap().to_string(), "[2001:db8::1]:9443");
    }

    #[test]
    fn lists_may_be_written_either_way() {
        let urls = |config: Config| config.public_url.as_slice().iter().map(ToString::to_string).collect();
        let expected: Vec<String> = vec!["https://a.example:443".into(), "https://b.example:8443".into()];
        let read: Vec<String> =
            urls(load("public_url: [https://a.example, https://b.example:8443]", &[]).unwrap());
        assert_eq!(read, expected);
        let variable = [("MUSTER_PUBLIC_URL", "https://a.example,https://b.example:8443/")];
        let read: Vec<String> = urls(load("public_url: https://c.example", &variable).unwrap());
        assert_eq!(read, expected);
        assert_eq!(load("cert_names: []\npublic_url: ''", &[]).unwrap().public_url, PublicUrls::default());
        for (yaml, wanted) in [
            ("public_url: http://a.example", "https://"),
            ("public_url: https://a.example/muster", "nothing after it"),
            ("public_url: [https://a.example, muster]", "https://"),
            ("cert_names: muster.example.org:8443", "without a port"),
            ("cert_names: '*.example.org'", "names"),
        ] {
            let error = load(yaml, &[]).expect_err(yaml).to_string();
            assert!(error.contains("line 1: '") && error.contains(wanted), "{yaml}: {error}");
        }
    }

    #[test]
    fn lines_are_found_however_the_file_is_written() {
        assert_eq!(line_of("# log: a\nlog_format: b\nlog: c", "log"), 3);
        assert_eq!(line_of("\u{feff}log: a", "log"), 1);
        assert_eq!(line_of("{listen: a,\n log_format: x, 'log' : c}", "log"), 2);
        assert_eq!(line_of("a: b\n? log\n: c", "log"), 2);
    }

    #[test]
    fn no_configuration_does_harm() {
        let reference = include_str!("../config/muster.reference.yml");
        let open: String =
            reference.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
        let mut dice = Dice::new(20_261_126);
        for original in [reference, &open, "svid_ttl: 12h\ntrusted_proxies: [10.0.0.0/8]\nlog: info\n"] {
            // What is asked of a file is an answer, yes or no.
            for _ in 0..1_000_000 / original.len() {
                drop(yaml_serde::from_str::<Option<File>>(&dice.mutate_text(original)));
            }
        }
        let nested = "[".repeat(2_000);
        let laughing: String =
            (1..30).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1)).collect();
        for bomb in [
            nested.clone(),
            format!("listen: {nested}"),
            "{a: ".repeat(2_000),
            "- ".repeat(5_000),
            format!("a0: &a0 [x, x, x]\n{laughing}"),
            "listen: &a [*a]".to_owned(),
            format!("log: {}", "x".repeat(FILE_OCTETS_MAX)),
        ] {
            assert!(load(&bomb, &[]).is_err(), "{bomb:.40}");
        }
    }
}
