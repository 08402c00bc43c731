//! The kinds of settings: which values of YAML one may be, and in which words it is asked for.

use serde::Deserialize;
use yaml_serde::Value;

/// What a setting is. Every setting has one, so none can be read without its kind having been judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    Path,
    /// Where to listen.
    Socket,
    /// What others are told to dial.
    HostPort,
    Urls,
    Names,
    Networks,
    Duration,
    Truth,
    /// A whole number.
    Number,
    AgentIds,
    /// DNS suffixes of tenants.
    DnsSuffixes,
    /// Where relying parties fetch revocation lists.
    CrlUrl,
    ClonePolicy,
    JwtAlg,
    Issuer,
    /// How long history is kept.
    Retention,
    /// How often to back up, how many to keep, and where.
    Backup,
    /// Where the change log goes, too.
    Replicas,
    LogFilter,
    LogFormat,
}

impl SettingKind {
    /// What to write, in words that follow "wanted is".
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Path => "a path",
            Self::Socket => "an address and a port, such as 0.0.0.0:8443",
            Self::HostPort => "HOST:PORT without a scheme, such as muster.example.org:9443",
            Self::Urls => "https addresses without a path, such as https://muster.example.org:8443",
            Self::Names => "DNS names or IP addresses without a port, such as muster.example.org",
            Self::Networks => "networks, such as 10.0.0.0/8 or 2001:db8::/32",
            Self::Duration => "a duration with its unit, such as 24h or 90m",
            Self::Truth => "true or false",
            Self::Number => "a whole number, such as 50",
            Self::AgentIds => "agent ids, such as root, admin",
            Self::DnsSuffixes => {
                "a DNS name in lower case, such as agents.example.org, or one for each tenant, such as shop=shop.example.org"
            }
            Self::CrlUrl => "an http address without a query, such as http://pki.example.org",
            Self::ClonePolicy => "flag or revoke",
            Self::JwtAlg => "ES256 or RS256",
            Self::Issuer => "an https address that never changes, such as https://muster.example.org",
            Self::Retention => {
                "how long to keep what, such as {enrollments: 90d, events: 365d}; in the environment enrollments=90d,events=365d"
            }
            Self::Backup => {
                "off, or how often, how many and where, such as {every: 24h, keep: 14, dir: /mnt/nas/muster}; in the environment every=24h,keep=14,dir=/mnt/nas/muster"
            }
            Self::Replicas => {
                "a list such as [{url: file:///mnt/nas/muster, every: 1s}]; in the environment url=file:///mnt/nas/muster,every=1s with ; between two"
            }
            Self::LogFilter => {
                "off, error, warn, info, debug or trace, and the same for a part, such as info,muster::http=debug"
            }
            Self::LogFormat => "text or json",
        }
    }

    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::Urls | Self::Names | Self::Networks | Self::AgentIds | Self::DnsSuffixes)
    }

    /// The text of a value of this kind, or what is wrong with it.
    pub(crate) fn text(self, value: &SettingValue) -> Result<String, &'static str> {
        match value {
            SettingValue::Truth(value) if self == Self::Truth => Ok(value.to_string()),
            // In YAML of before 1.2 that is how `off` is written.
            SettingValue::Truth(false) if self == Self::Backup => Ok("off".to_owned()),
            SettingValue::Truth(_) => Err("a truth value stands there"),
            SettingValue::Text(text) if text.trim().is_empty() && !self.is_list() => {
                Err("nothing stands there")
            }
            SettingValue::Text(text) => Ok(text.clone()),
            SettingValue::List(items) if self.is_list() => {
                match items.iter().any(|item| item.trim().is_empty()) {
                    true => Err("an entry of the list is empty"),
                    false => Ok(items.join(",")),
                }
            }
            SettingValue::List(_) => Err("a list stands there"),
            SettingValue::Number(number) if self == Self::Number => Ok(number.clone()),
            SettingValue::Number(_) if self == Self::Duration => Err("a number without a unit stands there"),
            SettingValue::Number(_) => Err("a number stands there"),
            SettingValue::Mapping(parts) if self == Self::Retention && !parts.is_empty() => {
                Ok(parts.join(","))
            }
            SettingValue::Mapping(parts) if self == Self::Backup && !parts.is_empty() => {
                // A directory comes last: it may have commas in it.
                let (dirs, rest): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.starts_with("dir="));
                Ok(rest.into_iter().chain(dirs).cloned().collect::<Vec<_>>().join(","))
            }
            SettingValue::Mapping(_) => Err("a mapping stands there"),
            SettingValue::Mappings(entries) if self == Self::Replicas => Ok(entries.join(";")),
            SettingValue::Mappings(_) => Err("a list of mappings stands there"),
            SettingValue::Mixed => Err("a list of something other than texts stands there"),
        }
    }
}

/// A value in YAML, as far as settings may be one, or what else it is.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub(crate) enum SettingValue {
    Truth(bool),
    Text(String),
    List(Vec<String>),
    Number(String),
    /// Its entries, `key=value`; what is no scalar has no value.
    Mapping(Vec<String>),
    /// Several of these, the entries of each with commas between.
    Mappings(Vec<String>),
    /// A list with something in it that is no text.
    Mixed,
}

impl From<Value> for SettingValue {
    fn from(value: Value) -> Self {
        let text = |item| if let Value::String(text) = item { Some(text) } else { None };
        match value {
            Value::Bool(value) => Self::Truth(value),
            Value::String(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number.to_string()),
            Value::Sequence(items) if !items.is_empty() && items.iter().all(Value::is_mapping) => {
                let entries = |item| match Self::from(item) {
                    Self::Mapping(entries) => entries.join(","),
                    _ => String::new(),
                };
                Self::Mappings(items.into_iter().map(entries).collect())
            }
            Value::Sequence(items) => {
                items.into_iter().map(text).collect::<Option<_>>().map_or(Self::Mixed, Self::List)
            }
            Value::Mapping(entries) => {
                let text = |value: Value| match Self::from(value) {
                    Self::Text(text) | Self::Number(text) => text,
                    Self::List(items) => items.join("+"),
                    _ => String::new(),
                };
                let entries =
                    entries.into_iter().map(|(key, value)| format!("{}={}", text(key), text(value)));
                Self::Mapping(entries.collect())
            }
            Value::Tagged(_) | Value::Null => Self::Mapping(Vec::new()),
        }
    }
}
