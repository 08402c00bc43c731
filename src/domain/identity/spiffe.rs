//! SPIFFE ids (SPIFFE-ID 2): refused when malformed, never normalised.

use std::fmt;
use std::str::FromStr;

use crate::domain::ids::TenantId;
use crate::domain::text::{debug_as_text, held_text, serde_as_text};

/// Why a trust domain, agent id or SPIFFE id was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// No trust domain (SPIFFE-ID 2.1).
    #[error("a trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
    /// No agent id.
    #[error("an agent id is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and neither '.' nor '..'")]
    AgentId,
    /// No SPIFFE ID of ours.
    #[error("not a Muster SPIFFE id: spiffe://<trust domain>/tenant/<tenant id>/agent/<agent id>")]
    SpiffeId,
}

/// The name of a deployment's root of trust (SPIFFE-ID 2.1), lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The id of the trust domain itself, as signing certificates carry it.
    pub fn id(&self) -> String {
        format!("spiffe://{}", self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
        if (1..=255).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeError::TrustDomain)
        }
    }
}

/// The name of an agent inside its tenant. `A` and `a` are two agents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(String);

impl FromStr for AgentId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let dots = text == "." || text == "..";
        if (1..=64).contains(&text.len()) && !dots && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeError::AgentId)
        }
    }
}

/// `spiffe://<trust domain>/tenant/<tenant id>/agent/<agent id>`
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    /// The authority of the URI.
    pub trust_domain: TrustDomain,
    /// The second segment of its path.
    pub tenant: TenantId,
    /// The fourth segment of its path.
    pub agent: AgentId,
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/tenant/{}/agent/{}", self.trust_domain, self.tenant, self.agent)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeError::SpiffeId)?;
        let mut parts = rest.split('/');
        let parts: [Option<&str>; 6] = std::array::from_fn(|_| parts.next());
        let [Some(domain), Some("tenant"), Some(tenant), Some("agent"), Some(agent), None] = parts else {
            return Err(SpiffeError::SpiffeId);
        };
        Ok(Self {
            trust_domain: domain.parse()?,
            tenant: tenant.parse().map_err(|_| SpiffeError::SpiffeId)?,
            agent: agent.parse()?,
        })
    }
}

held_text! {
    /// In lower case, however it was given.
    TrustDomain,
    /// As it was given.
    AgentId,
}
debug_as_text!(TrustDomain, AgentId, SpiffeId);
serde_as_text!(TrustDomain, AgentId, SpiffeId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids() {
        let longest = "a".repeat(64);
        for good in ["a", "A", "web-1", "a.b_c-D", "...", longest.as_str()] {
            assert_eq!(good.parse::<AgentId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(65);
        for bad in ["", ".", "..", "a/b", "a%2fb", "a b", "ä", "a\0", " a", "a\n", too_long.as_str()] {
            assert_eq!(bad.parse::<AgentId>(), Err(SpiffeError::AgentId), "{bad:?}");
        }
    }

    #[test]
    fn trust_domains() {
        for good in ["muster", "example.org", "a_b-c.9"] {
            assert!(good.parse::<TrustDomain>().is_ok(), "{good}");
        }
        for bad in ["", "Muster", "a/b", "a:1", "ä", "user@host"] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spiffe_ids_parse_only_as_they_print() {
        let tenant = "01890000-0000-7000-8000-000000000000";
        let good = format!("spiffe://muster/tenant/{tenant}/agent/web-1");
        assert_eq!(good.parse::<SpiffeId>().unwrap().to_string(), good);
        for bad in [
            format!("{good}/"),
            format!("{good}/x"),
            good.replace("spiffe:", "SPIFFE:"),
            good.replace("//", "///"),
            good.replace("/agent/", "//agent/"),
            good.replace("web-1", ".."),
            good.replace("web-1", "%2e"),
            good.replace("muster", "Muster"),
            "spiffe://muster".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
