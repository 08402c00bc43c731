//! The server's settings: `muster.yml`, each overridden by its environment variable, each overridden by its
//! flag. Unknown keys are errors, so a typo can't quietly leave a default in force.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::domain::host::ClonePolicy;
use crate::domain::networks::Networks;

/// Everything a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub grpc_listen: SocketAddr,
    /// Where agents are told to find the gRPC listener; derived when absent.
    pub grpc_addr: Option<String>,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
    /// Replaces the stored agent CA bundle as the anchor of the gRPC listener.
    pub agent_tls_ca_file: Option<PathBuf>,
    pub envelope_key_file: Option<PathBuf>,
    pub envelope_passphrase_file: Option<PathBuf>,
    pub trusted_proxies: Networks,
    pub svid_ttl: SignedDuration,
    pub svid_server_auth: bool,
    pub rotation_grace: SignedDuration,
    pub clone_policy: ClonePolicy,
    pub readmit_decommissioned: bool,
    pub log: String,
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
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration {} is not usable: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("'{key}' ({variable}) is not usable: {reason}")]
    Setting { key: &'static str, variable: &'static str, reason: String },
}

/// Shortest and longest life of an SVID.
const SVID_TTL: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(10)..=SignedDuration::from_hours(7 * 24);
/// Longest grace after expiry.
const GRACE_MAX: SignedDuration = SignedDuration::from_hours(90 * 24);

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

macro_rules! settings {
    ($($(#[$doc:meta])* $key:ident = $variable:literal,)*) => {
        /// `muster.yml`, before defaults. Every value is text here and judged in one place.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            $($(#[$doc])* #[serde(default)] $key: Option<Scalar>,)*
        }

        /// Every key of `muster.yml` with its environment variable.
        pub const SETTINGS: &[(&str, &str)] = &[$((stringify!($key), $variable),)*];

        impl File {
            /// What is set, the environment first.
            fn get(&self, key: &str, environment: Environment<'_>) -> Option<String> {
                let (variable, value) = match key {
                    $(stringify!($key) => ($variable, &self.$key),)*
                    _ => return None,
                };
                let set = environment(variable).filter(|value| !value.is_empty());
                set.or_else(|| value.as_ref().map(Scalar::text))
            }
        }
    };
}

settings! {
    data_dir = "MUSTER_DATA_DIR",
    listen = "MUSTER_LISTEN",
    grpc_listen = "MUSTER_GRPC_LISTEN",
    grpc_addr = "MUSTER_GRPC_ADDR",
    tls_cert_file = "MUSTER_TLS_CERT_FILE",
    tls_key_file = "MUSTER_TLS_KEY_FILE",
    agent_tls_ca_file = "MUSTER_AGENT_TLS_CA_FILE",
    envelope_key_file = "MUSTER_ENVELOPE_KEY_FILE",
    envelope_passphrase_file = "MUSTER_ENVELOPE_PASSPHRASE_FILE",
    trusted_proxies = "MUSTER_TRUSTED_PROXIES",
    svid_ttl = "MUSTER_SVID_TTL",
    svid_server_auth = "MUSTER_SVID_SERVER_AUTH",
    rotation_grace = "MUSTER_ROTATION_GRACE",
    clone_policy = "MUSTER_CLONE_POLICY",
    readmit_decommissioned = "MUSTER_READMIT_DECOMMISSIONED",
    log = "MUSTER_LOG",
    log_format = "MUSTER_LOG_FORMAT",
}

/// A value in YAML: text, a truth value, or a list of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Text(String),
    List(Vec<String>),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Text(value) => value.clone(),
            Self::List(values) => values.join(","),
        }
    }
}

impl Config {
    /// Settings from flags, environment, file and defaults, in that order of weight.
    pub fn load(
        file: Option<&Path>,
        overrides: Overrides,
        environment: Environment<'_>,
        listen_ip: Ipv4Addr,
    ) -> Result<Self, ConfigError> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        let text = |key: &str| file.get(key, environment);
        let data_dir = match overrides.data_dir.or_else(|| text("data_dir").map(PathBuf::from)) {
            Some(directory) => directory,
            None => default_data_dir(environment).ok_or_else(|| {
                setting("data_dir", "there is no home directory to put it in; set it".to_owned())
            })?,
        };
        let path = |key: &str| text(key).map(PathBuf::from);
        let tls = data_dir.join("tls");
        let svid_ttl = duration("svid_ttl", text("svid_ttl"), SignedDuration::from_hours(24))?;
        if !SVID_TTL.contains(&svid_ttl) {
            return Err(setting("svid_ttl", "an SVID lives between 10s and 7d".to_owned()));
        }
        let rotation_grace = duration("rotation_grace", text("rotation_grace"), SignedDuration::ZERO)?;
        if rotation_grace > GRACE_MAX {
            return Err(setting("rotation_grace", "the grace is at most 90d".to_owned()));
        }
        Ok(Self {
            listen: parsed(
                "listen",
                overrides.listen,
                text("listen"),
                SocketAddr::new(IpAddr::V4(listen_ip), 8443),
            )?,
            grpc_listen: parsed(
                "grpc_listen",
                overrides.grpc_listen,
                text("grpc_listen"),
                SocketAddr::new(IpAddr::V4(listen_ip), 9443),
            )?,
            grpc_addr: text("grpc_addr"),
            tls_cert_file: path("tls_cert_file").unwrap_or_else(|| tls.join("server.crt")),
            tls_key_file: path("tls_key_file").unwrap_or_else(|| tls.join("server.key")),
            agent_tls_ca_file: path("agent_tls_ca_file"),
            envelope_key_file: path("envelope_key_file"),
            envelope_passphrase_file: path("envelope_passphrase_file"),
            trusted_proxies: parsed("trusted_proxies", None, text("trusted_proxies"), Networks::default())?,
            svid_ttl,
            svid_server_auth: parsed("svid_server_auth", None, text("svid_server_auth"), false)?,
            rotation_grace,
            clone_policy: parsed("clone_policy", None, text("clone_policy"), ClonePolicy::default())?,
            readmit_decommissioned: parsed(
                "readmit_decommissioned",
                None,
                text("readmit_decommissioned"),
                false,
            )?,
            log: text("log").unwrap_or_else(|| "info".to_owned()),
            log_format: parsed("log_format", None, text("log_format"), LogFormat::Text)?,
            data_dir,
        })
    }
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

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.len() > FILE_OCTETS_MAX {
        let reason = format!("it is longer than {} KiB", FILE_OCTETS_MAX / 1024);
        return Err(ConfigError::Parse { path: path.to_owned(), reason });
    }
    let parsed = yaml_serde::from_str::<Option<File>>(&text);
    let file =
        parsed.map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })?;
    Ok(file.unwrap_or_default())
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(
    key: &'static str,
    flag: Option<T>,
    text: Option<String>,
    default: T,
) -> Result<T, ConfigError> {
    match (flag, text) {
        (Some(value), _) => Ok(value),
        (None, Some(text)) => text.trim().parse().map_err(|error: T::Err| setting(key, error.to_string())),
        (None, None) => Ok(default),
    }
}

fn duration(
    key: &'static str,
    text: Option<String>,
    default: SignedDuration,
) -> Result<SignedDuration, ConfigError> {
    let Some(text) = text else {
        return Ok(default);
    };
    let parsed = humantime::parse_duration(text.trim()).map_err(|error| setting(key, error.to_string()))?;
    SignedDuration::try_from(parsed).map_err(|error| setting(key, error.to_string()))
}

fn setting(key: &'static str, reason: String) -> ConfigError {
    let variable = SETTINGS.iter().find(|(name, _)| *name == key).map_or("", |(_, variable)| variable);
    ConfigError::Setting { key, variable, reason }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is 'text' or 'json'"),
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
            ("log_format: xml", "log_format"),
            ("listen: a\nlisten: b", "duplicate"),
        ];
        for (yaml, expected) in cases {
            let error = load(yaml, &[]).expect_err(yaml).to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        assert!(load("", &[]).is_ok(), "an empty file changes nothing");
        assert!(load("trusted_proxies: [10.0.0.0/8]\nsvid_server_auth: true", &[]).is_ok());
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
