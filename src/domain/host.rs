//! Hosts: the registry's rows for machines. They outlive their certificates.

pub mod tag;

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::ids::{HostId, TenantId};
use crate::domain::enroll::enrollment::LetInBy;
use crate::domain::host::tag::HostMarks;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::hierarchy::BundleDigest;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::printable::printable;
use crate::domain::vocabulary::vocabulary;

/// One machine, as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Of the row; the agent's id is another matter.
    pub id: HostId,
    /// The tenant that it is in.
    pub tenant: TenantId,
    /// The name in its SPIFFE ID.
    pub agent: AgentId,
    /// What the machine said of itself last.
    pub facts: HostFacts,
    /// When the row was made.
    pub first_enrolled_at: Timestamp,
    /// When the host last reported, as of the last flush of presence; memory may know better.
    pub last_seen: Option<Timestamp>,
    /// The newest SVID that the host has shown, as of the same flush.
    pub newest_shown: Option<Serial>,
    /// Whom it has reported to trust, as of the same flush.
    pub trust: HostTrust,
    /// Since when it is out of service.
    pub decommissioned_at: Option<Timestamp>,
    /// Since when its identity is denied. The store knows, whatever is written here when a host is put.
    pub revoked_at: Option<Timestamp>,
    /// The credential of its latest enrollment; none for a host of a store that did not tell.
    pub let_in_by: Option<LetInBy>,
    /// The newest SVID issued to the host: what may come back after expiry, and what a clone is measured by.
    pub newest_serial: Serial,
    /// The end of its newest certificate.
    pub svid_not_after: Timestamp,
    /// What a person should look at.
    pub flags: BTreeSet<HostFlag>,
    /// What people say of it.
    pub marks: HostMarks,
}

/// Whom a host says that it trusts. What it does not say is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTrust {
    /// The roots that it lets other agents in by.
    pub bundle: Option<BundleDigest>,
    /// Whether it knows the server by its very certificate, and would refuse another key.
    pub leaf_alone: Option<bool>,
}

impl HostTrust {
    /// What this one does not say, as the other one says it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { bundle: self.bundle.or(other.bundle), leaf_alone: self.leaf_alone.or(other.leaf_alone) }
    }
}

vocabulary! {
    /// How a host stands: the first that fits.
    wire pub enum HostState {
        Decommissioned = "decommissioned",
        /// Its identity is revoked.
        Revoked = "revoked",
        /// It has enrolled and never reported.
        NeverReported = "never_reported",
        InService = "in_service",
    }
}

impl HostState {
    /// The first that fits.
    pub const fn of(decommissioned: bool, revoked: bool, reported: bool) -> Self {
        match (decommissioned, revoked, reported) {
            (true, _, _) => Self::Decommissioned,
            (false, true, _) => Self::Revoked,
            (false, false, false) => Self::NeverReported,
            (false, false, true) => Self::InService,
        }
    }
}

impl Host {
    /// Who it is to its peers.
    pub fn identity(&self) -> AgentRef {
        AgentRef { tenant: self.tenant, agent: self.agent.clone() }
    }

    /// How it stands: the first state that fits.
    pub const fn state(&self) -> HostState {
        HostState::of(self.decommissioned_at.is_some(), self.revoked_at.is_some(), self.last_seen.is_some())
    }
}

vocabulary! {
    /// Something about a host that a person should look at.
    wire pub enum HostFlag {
        /// An older SVID was used after a newer one: two machines may share one identity.
        PossibleClone = "possible_clone",
        /// Another host of the tenant reports the same machine id.
        PossibleDuplicate = "possible_duplicate",
        /// It came back after a restore with a certificate that was on no record.
        Recovered = "recovered",
    }
}

/// What becomes of an identity that two machines seem to share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClonePolicy {
    /// Its host is flagged, and people decide.
    #[default]
    Flag,
    /// It is revoked, whichever machine it is.
    Revoke,
}

impl std::str::FromStr for ClonePolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "flag" => Ok(Self::Flag),
            "revoke" => Ok(Self::Revoke),
            _ => Err("it is 'flag' or 'revoke'"),
        }
    }
}

/// What a machine says of itself. Data, never authority: nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// As the machine calls itself.
    pub hostname: Option<String>,
    /// Such as `Debian 12`.
    pub os: Option<String>,
    /// Such as `x86_64`.
    pub arch: Option<String>,
    /// Its addresses, bounded in number.
    pub ips: Vec<IpAddr>,
    /// Of `/etc/machine-id`, 32 hex digits where it says something.
    pub machine_id: Option<String>,
    /// Of the program that speaks.
    pub agent_version: Option<String>,
}

/// Longest fact kept, in characters; longer ones are cut.
pub const FACT_CHARS_MAX: usize = 255;
/// Most addresses kept of one host.
pub const IPS_MAX: usize = 32;

/// One fact as it is kept: control characters dropped, cut at [`FACT_CHARS_MAX`], `None` when nothing is left.
pub fn fact(text: &str) -> Option<String> {
    let kept = printable(text, FACT_CHARS_MAX);
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Whether a machine id is one: 32 hex digits that are not all zero. An image that has not been started yet holds
/// `uninitialized` or nothing, and so do many machines at a time (machine-id(5)).
pub fn tells_machines_apart(machine_id: &str) -> bool {
    let hex = machine_id.len() == 32 && machine_id.bytes().all(|b| b.is_ascii_hexdigit());
    hex && machine_id.bytes().any(|b| b != b'0')
}

impl HostFacts {
    /// Builds facts from what a peer sent, within bounds.
    pub fn bounded(
        [hostname, os, arch, machine_id, agent_version]: [&str; 5],
        ips: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let mut kept = Vec::new();
        for ip in ips.into_iter().take(IPS_MAX * 4) {
            if kept.len() < IPS_MAX && !kept.contains(&ip) {
                kept.push(ip);
            }
        }
        Self {
            hostname: fact(hostname),
            os: fact(os),
            arch: fact(arch),
            ips: kept,
            machine_id: fact(machine_id),
            agent_version: fact(agent_version),
        }
    }

    /// The machine id, if it tells one machine from another.
    pub fn telling_machine_id(&self) -> Option<&str> {
        self.machine_id.as_deref().filter(|id| tells_machines_apart(id))
    }

    /// These facts, with what they leave out taken from `earlier`.
    pub fn or(self, earlier: &Self) -> Self {
        Self {
            hostname: self.hostname.or_else(|| earlier.hostname.clone()),
            os: self.os.or_else(|| earlier.os.clone()),
            arch: self.arch.or_else(|| earlier.arch.clone()),
            ips: if self.ips.is_empty() { earlier.ips.clone() } else { self.ips },
            machine_id: self.machine_id.or_else(|| earlier.machine_id.clone()),
            agent_version: self.agent_version.or_else(|| earlier.agent_version.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_that_many_machines_have_tells_nothing() {
        let told =
            |id: &str| HostFacts::bounded(["", "", "", id, ""], []).telling_machine_id().map(str::to_owned);
        for id in ["0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(told(id).as_deref(), Some(id));
        }
        for id in [
            "",
            "uninitialized",
            "00000000000000000000000000000000",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdefa",
            "01234567-89ab-cdef-0123-456789abcdef",
            "machine",
        ] {
            assert_eq!(told(id), None, "{id:?}");
        }
    }

    #[test]
    fn facts_are_bounded_and_printable() {
        let long = "x".repeat(1000);
        let facts = HostFacts::bounded(
            [&long, "a\nb\u{1b}[31m", " ", "\0", "1"],
            (0..10_000u32).map(|n| IpAddr::from(n.to_be_bytes())),
        );
        assert_eq!(facts.hostname.map(|h| h.len()), Some(FACT_CHARS_MAX));
        assert_eq!(facts.os.as_deref(), Some("ab[31m"));
        assert_eq!((facts.arch, facts.machine_id), (None, None));
        assert_eq!(facts.ips.len(), IPS_MAX);
    }
}
