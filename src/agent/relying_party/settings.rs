//! `relying_party` in `agent.yml`: where programs on this machine ask, who may, and whose agents are let in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::domain::duration;
use crate::domain::ids::TenantId;
use crate::vouch::certificate_header::CertificateHeader;

/// For the user and the group that the agent runs as, or the group that is named.
const MODE_USUAL: u32 = 0o660;

/// How relying parties on this machine are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingPartySettings {
    /// Where.
    pub listen: VouchAddress,
    /// Of the socket.
    pub mode: SocketMode,
    /// The socket's, in place of the agent's own.
    pub group: Option<String>,
    /// Whose agents are let in.
    pub tenants: TenantChoices,
    /// In which header proxies pass their clients' certificates on.
    pub header: CertificateHeader,
    /// How long ago the server may have confirmed what is known; older knowledge lets nobody in.
    pub max_age: Option<Duration>,
}

/// An address that only this machine reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VouchAddress {
    /// Absolute.
    Unix(PathBuf),
    /// Of the loopback interface.
    Loopback(SocketAddr),
}

/// A value of `relying_party` that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelyingPartyError {
    /// Certificates come without the proof that whoever asks had a handshake with their owner, so nobody else may ask.
    #[error(
        "listen: unix:/an/absolute/path or a loopback address with a port, such as 127.0.0.1:9444, is wanted"
    )]
    Listen,
    /// YAML would read 0660 as another number.
    #[error("mode: the rights of the socket in octal, in quotes, such as \"0660\", are wanted")]
    Mode,
    /// Rights for everybody else are no rights.
    #[error("mode: everybody on this machine could ask; name a group instead")]
    Others,
    /// Neither a name nor a number.
    #[error("group: the name or number of a group is wanted")]
    Group,
    /// The agent knows no tenants' names.
    #[error("tenants: a list of own and tenant ids is wanted, and none stands for nobody")]
    Tenants,
    /// None of the four.
    #[error(
        "header: X-Client-Cert, X-SSL-Client-Cert, X-Forwarded-Tls-Client-Cert or X-Forwarded-Client-Cert is wanted"
    )]
    Header,
    /// No length of time.
    #[error("max_age: a time such as 1h is wanted, of 1 s at the least")]
    MaxAge,
}

impl fmt::Display for VouchAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => address.fmt(f),
        }
    }
}

impl FromStr for VouchAddress {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(RelyingPartyError::Listen) };
        }
        let address: SocketAddr = text.parse().map_err(|_| RelyingPartyError::Listen)?;
        let loopback = match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        if loopback { Ok(Self::Loopback(address)) } else { Err(RelyingPartyError::Listen) }
    }
}

/// Who may connect to a socket besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// As chmod takes it.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(MODE_USUAL)
    }
}

impl FromStr for SocketMode {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        let digits =
            (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
        match mode.ok_or(RelyingPartyError::Mode)? {
            open if open & 0o007 != 0 => Err(RelyingPartyError::Others),
            mode => Ok(Self(mode)),
        }
    }
}

/// Whose agents are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantChoices {
    /// The agent's own tenant.
    pub own: bool,
    /// By id.
    pub others: Vec<TenantId>,
}

impl Default for TenantChoices {
    fn default() -> Self {
        Self { own: true, others: Vec::new() }
    }
}

impl TenantChoices {
    /// Whether a tenant's agents are let in.
    pub fn include(&self, tenant: TenantId, own: TenantId) -> bool {
        (self.own && tenant == own) || self.others.contains(&tenant)
    }

    fn of<'t>(words: impl IntoIterator<Item = &'t str>) -> Result<Self, RelyingPartyError> {
        let mut choices = Self { own: false, others: Vec::new() };
        for word in words {
            match word.trim() {
                "own" => choices.own = true,
                id => choices.others.push(id.parse().map_err(|_| RelyingPartyError::Tenants)?),
            }
        }
        if choices.own || !choices.others.is_empty() { Ok(choices) } else { Err(RelyingPartyError::Tenants) }
    }
}

impl FromStr for TenantChoices {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        Self::of(text.split(','))
    }
}

/// The header, by its name in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedHeader(pub CertificateHeader);

impl FromStr for NamedHeader {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        CertificateHeader::named(text).map(Self).ok_or(RelyingPartyError::Header)
    }
}

/// How old the newest confirmation may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge(pub Duration);

impl FromStr for MaxAge {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        let age = duration::parse(text).ok().and_then(|age| Duration::try_from(age).ok());
        age.filter(|age| *age >= Duration::from_secs(1)).map(Self).ok_or(RelyingPartyError::MaxAge)
    }
}

/// A group's name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName(pub String);

impl FromStr for GroupName {
    type Err = RelyingPartyError;

    fn from_str(text: &str) -> Result<Self, RelyingPartyError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-$@".contains(c);
        let good = (1..=64).contains(&text.len()) && text.chars().all(legal) && !text.starts_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(RelyingPartyError::Group) }
    }
}

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RelyingPartySection {
    pub(crate) listen: Option<VouchAddress>,
    pub(crate) mode: Option<SocketMode>,
    pub(crate) group: Option<GroupName>,
    pub(crate) tenants: Option<TenantChoices>,
    pub(crate) header: Option<NamedHeader>,
    pub(crate) max_age: Option<MaxAge>,
}

macro_rules! from_text {
    ($($name:ident)*) => {
        $(
            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

from_text!(VouchAddress SocketMode GroupName NamedHeader MaxAge);

impl<'de> Deserialize<'de> for TenantChoices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Self::of(words.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}

impl RelyingPartySection {
    /// The settings, if it is said where to listen. Without that the other keys mean nothing.
    pub(crate) fn settings(self) -> Option<RelyingPartySettings> {
        Some(RelyingPartySettings {
            listen: self.listen?,
            mode: self.mode.unwrap_or_default(),
            group: self.group.map(|group| group.0),
            tenants: self.tenants.unwrap_or_default(),
            header: self.header.map_or(CertificateHeader::ClientCert, |header| header.0),
            max_age: self.max_age.map(|age| age.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_open_the_door_too_wide_are_refused() {
        use RelyingPartyError::{Listen, Mode, Others, Tenants};
        let listen = |text: &str| text.parse::<VouchAddress>().err();
        for good in ["unix:/run/muster-agent/vouch.sock", "127.0.0.1:9444", "[::1]:9444", "127.0.0.2:0"] {
            assert_eq!(listen(good), None, "{good}");
        }
        for bad in [
            "unix:vouch.sock",
            "/run/vouch.sock",
            "0.0.0.0:9444",
            "[::]:9444",
            "localhost:9444",
            "10.0.0.1:1",
        ] {
            assert_eq!(listen(bad), Some(Listen), "{bad}");
        }
        let mode = |text: &str| text.parse::<SocketMode>().map(SocketMode::bits);
        assert_eq!((mode("0660"), mode("600")), (Ok(0o660), Ok(0o600)));
        for (bad, error) in [
            ("0666", Others),
            ("661", Others),
            ("432", Others),
            ("66", Mode),
            ("0o660", Mode),
            ("4660", Mode),
            ("", Mode),
        ] {
            assert_eq!(mode(bad), Err(error), "{bad}");
        }
        let id = "01890000-0000-7000-8000-000000000000";
        let tenants: TenantChoices = format!("own, {id}").parse().unwrap();
        assert!(tenants.own && tenants.others.len() == 1);
        for bad in ["", "shop", "own,", "*"] {
            assert_eq!(bad.parse::<TenantChoices>(), Err(Tenants), "{bad}");
        }
    }
}
