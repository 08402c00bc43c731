//! Which hosts are asked for, in which order, and where a page of them begins.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;

use crate::domain::host::tag::Tag;
use crate::domain::host::{HostFlag, HostState};
use crate::domain::ids::{CredentialId, HostId};
use crate::domain::version::VersionRange;

/// Which hosts are wanted. Decommissioned ones are, if they are asked for, or named exactly.
#[derive(Debug, Clone, Default)]
pub struct HostQuery {
    /// Words, each a part of a hostname, an address or an operating system, whatever the case.
    pub text: Option<String>,
    /// Hosts that the text names by their own id or by their agent's, whatever their facts.
    pub named: Vec<HostId>,
    /// Only those that are online, or only those that are not.
    pub online: Option<bool>,
    /// Decommissioned hosts, and only those.
    pub decommissioned: bool,
    /// Only those that stand like this.
    pub state: Option<HostState>,
    /// Only those that have it.
    pub flag: Option<HostFlag>,
    /// The credential that let it in.
    pub let_in_by: Option<CredentialId>,
    /// Part of an operating system, whatever the case.
    pub os: Option<String>,
    /// Of the agent; one that states no version counts as older than all that do.
    pub version: Option<VersionRange>,
    /// Only those that have this very tag.
    pub tag: Option<Tag>,
    /// Last heard of, or enrolled, before this.
    pub silent_before: Option<Timestamp>,
    /// Only those that are overdue now: in service, heard of within a day, and past the point at which a certificate is
    /// renewed without a new one.
    pub overdue_at: Option<Timestamp>,
    /// How they are sorted.
    pub order: HostOrder,
    /// Only those behind this place, which must be one of the same order ([`HostOrder::has`]).
    pub after: Option<HostCursor>,
}

impl HostQuery {
    /// Whether decommissioned hosts are wanted, and only those.
    pub(crate) fn of_the_decommissioned(&self) -> bool {
        self.decommissioned || self.state == Some(HostState::Decommissioned)
    }

    /// Whether the answer is all hosts in service or all decommissioned ones, perhaps of one status.
    pub(crate) const fn asks_by_status_alone(&self) -> bool {
        matches!(
            self,
            Self {
                text: None,
                state: None | Some(HostState::Decommissioned),
                flag: None,
                let_in_by: None,
                os: None,
                version: None,
                tag: None,
                silent_before: None,
                overdue_at: None,
                ..
            }
        )
    }
}

/// By what hosts are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostSortKey {
    /// The newest first.
    #[default]
    Enrolled,
    /// From A to Z, whatever the case; a host without a hostname goes by its agent id.
    Hostname,
    /// The latest first; those that never reported last.
    LastSeen,
    /// The SVID that ends first, first.
    Expires,
}

/// How hosts are sorted: as text `enrolled`, `hostname`, `last_seen` or `expires`, with a `-` in front turned
/// round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostOrder {
    /// What decides; hosts that are equal in it follow each other by id.
    pub by: HostSortKey,
    /// Turned round.
    pub reversed: bool,
}

impl HostOrder {
    /// Whether lower keys come first.
    pub(crate) const fn ascends(self) -> bool {
        let ascends = matches!(self.by, HostSortKey::Hostname | HostSortKey::Expires);
        ascends != self.reversed
    }

    /// Whether a place belongs to a list in this order.
    pub const fn has(self, place: &HostCursor) -> bool {
        matches!(
            (self.by, &place.key),
            (HostSortKey::Enrolled, Key::Enrolled)
                | (HostSortKey::Hostname, Key::Hostname(_))
                | (HostSortKey::LastSeen, Key::LastSeen(_))
                | (HostSortKey::Expires, Key::Expires(_))
        )
    }
}

/// The text names no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an order: enrolled, hostname, last_seen or expires, with a '-' in front turned round")]
pub struct NotAnOrder;

impl FromStr for HostOrder {
    type Err = NotAnOrder;

    fn from_str(text: &str) -> Result<Self, NotAnOrder> {
        let (name, reversed) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let by = match name {
            "enrolled" => HostSortKey::Enrolled,
            "hostname" => HostSortKey::Hostname,
            "last_seen" => HostSortKey::LastSeen,
            "expires" => HostSortKey::Expires,
            _ => return Err(NotAnOrder),
        };
        Ok(Self { by, reversed })
    }
}

/// Where a host stands in a sorted list. It says so by itself, so it stays good when that host changes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCursor {
    pub(crate) key: Key<'static>,
    pub(crate) id: HostId,
}

/// Its place among the hosts, by what they are sorted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'c> {
    Enrolled,
    Hostname(Cow<'c, str>),
    LastSeen(Option<Timestamp>),
    Expires(Timestamp),
}

impl Key<'_> {
    pub(crate) fn into_owned(self) -> Key<'static> {
        match self {
            Self::Enrolled => Key::Enrolled,
            Self::Hostname(name) => Key::Hostname(Cow::Owned(name.into_owned())),
            Self::LastSeen(at) => Key::LastSeen(at),
            Self::Expires(at) => Key::Expires(at),
        }
    }
}

/// How two hosts follow each other.
pub(crate) fn compare(order: HostOrder, one: (&Key<'_>, HostId), other: (&Key<'_>, HostId)) -> Ordering {
    if order.ascends() { one.cmp(&other) } else { other.cmp(&one) }
}

impl fmt::Display for HostCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Key::Enrolled => write!(f, "{}", self.id),
            Key::Hostname(name) => write!(f, "h.{}.{}", BASE64URL_NOPAD.encode(name.as_bytes()), self.id),
            Key::LastSeen(None) => write!(f, "s..{}", self.id),
            Key::LastSeen(Some(at)) => write!(f, "s.{}.{}", at.as_millisecond(), self.id),
            Key::Expires(at) => write!(f, "e.{}.{}", at.as_millisecond(), self.id),
        }
    }
}

/// The text is no place in a list of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPlace;

impl FromStr for HostCursor {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let Some((kind, rest)) = text.split_once('.') else {
            let id = text.parse().map_err(|_| NotAPlace)?;
            return Ok(Self { key: Key::Enrolled, id });
        };
        let (key, id) = rest.rsplit_once('.').ok_or(NotAPlace)?;
        let moment = || {
            let millis = key.parse().map_err(|_| NotAPlace)?;
            Timestamp::from_millisecond(millis).map_err(|_| NotAPlace)
        };
        let key = match kind {
            "h" => {
                let name = BASE64URL_NOPAD.decode(key.as_bytes()).map_err(|_| NotAPlace)?;
                Key::Hostname(String::from_utf8(name).map_err(|_| NotAPlace)?.into())
            }
            "s" if key.is_empty() => Key::LastSeen(None),
            "s" => Key::LastSeen(Some(moment()?)),
            "e" => Key::Expires(moment()?),
            _ => return Err(NotAPlace),
        };
        Ok(Self { key, id: id.parse().map_err(|_| NotAPlace)? })
    }
}
