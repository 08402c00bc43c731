//! DNS names in SVIDs, for workloads that serve ordinary TLS clients: the agent id below a suffix of its tenant's.

use std::str::FromStr;

use crate::domain::identity::spiffe::{AgentId, SpiffeId};
use crate::domain::ids::TenantId;
use crate::domain::people::tenant::Tenant;
use crate::domain::text::debug_as_text;

/// Longest DNS name in text, and longest label (RFC 1035 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A DNS name in lower case, without a dot at either end.
#[derive(Clone, PartialEq, Eq)]
pub struct DnsSuffix(String);

/// The suffixes of tenants: each has one at most, and no two share one, or one tenant's agents could serve under another
/// one's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsSuffixes(Vec<(SuffixOf, DnsSuffix)>);

/// Whose suffix it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SuffixOf {
    Default,
    Id(TenantId),
    /// A name that is no id: a tenant can't take another one's suffix by being called like its id.
    Named(String),
}

/// Why a text gives no suffixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDnsSuffixes {
    /// One is no name that a certificate may have.
    #[error("a suffix is not a DNS name in lower case, such as agents.example.org")]
    Suffix,
    /// There is no tenant in front of one of several.
    #[error("of several suffixes, each has its tenant in front: TENANT=SUFFIX")]
    Tenant,
    /// A tenant has two, or two tenants have the same.
    #[error("a tenant or a suffix stands there twice")]
    Twice,
    /// Programs that go by the end of a name would take the one tenant's agents for the other's.
    #[error("a suffix is below another tenant's; give each one that is not the end of another")]
    Below,
}

fn is_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let inside = !text.starts_with('-') && !text.ends_with('-');
    (1..=LABEL_MAX).contains(&text.len()) && inside && text.bytes().all(legal)
}

impl DnsSuffix {
    fn is_below(&self, other: &Self) -> bool {
        self.0.strip_suffix(&other.0).is_some_and(|rest| rest.ends_with('.'))
    }

    /// The name of an agent, if its id is a label of a DNS name: an id with dots would stand below another one's name.
    pub fn name_of(&self, agent: &AgentId) -> Option<String> {
        let name = format!("{agent}.{}", self.0);
        (is_label(agent.as_str()) && name.len() <= NAME_MAX).then_some(name)
    }
}

/// Whether a DNS name is one that an SVID with this id may have: its agent id below some suffix.
pub fn is_name_of(name: &str, id: &SpiffeId) -> bool {
    let suffix = name.strip_prefix(id.agent.as_str()).and_then(|rest| rest.strip_prefix('.'));
    let suffix = suffix.and_then(|suffix| suffix.parse::<DnsSuffix>().ok());
    suffix.and_then(|suffix| suffix.name_of(&id.agent)).is_some()
}

impl FromStr for DnsSuffix {
    type Err = NotDnsSuffixes;

    fn from_str(text: &str) -> Result<Self, NotDnsSuffixes> {
        let last_is_numeric = text.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        let is_name = text.len() <= NAME_MAX && text.split('.').all(is_label) && !last_is_numeric;
        if is_name { Ok(Self(text.to_owned())) } else { Err(NotDnsSuffixes::Suffix) }
    }
}

impl std::fmt::Display for DnsSuffix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

debug_as_text!(DnsSuffix);

impl DnsSuffixes {
    /// Whether no SVID gets a DNS name.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The suffix of a tenant. Where it stands there by its id and by its name, the id's.
    pub fn of(&self, tenant: &Tenant, default: TenantId) -> Option<&DnsSuffix> {
        let by_id = |of: &SuffixOf| match of {
            SuffixOf::Default => tenant.id == default,
            SuffixOf::Id(id) => tenant.id == *id,
            SuffixOf::Named(_) => false,
        };
        let by_name = |of: &SuffixOf| matches!(of, SuffixOf::Named(name) if *name == tenant.name.as_str());
        let found = self.0.iter().find(|(of, _)| by_id(of));
        found.or_else(|| self.0.iter().find(|(of, _)| by_name(of))).map(|(_, suffix)| suffix)
    }

    /// What stands there as a tenant and is none of these.
    pub fn unknown_among(&self, tenants: &[Tenant]) -> Vec<String> {
        let unknown = self.0.iter().filter_map(|(of, _)| match of {
            SuffixOf::Default => None,
            SuffixOf::Id(id) => tenants.iter().all(|tenant| tenant.id != *id).then(|| id.to_string()),
            SuffixOf::Named(name) => {
                tenants.iter().all(|tenant| tenant.name.as_str() != name).then(|| name.clone())
            }
        });
        unknown.collect()
    }
}

impl FromStr for DnsSuffixes {
    type Err = NotDnsSuffixes;

    fn from_str(text: &str) -> Result<Self, NotDnsSuffixes> {
        let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        if let [suffix] = items[..]
            && !suffix.contains('=')
        {
            return Ok(Self(vec![(SuffixOf::Default, suffix.parse()?)]));
        }
        let mut suffixes = Vec::<(SuffixOf, DnsSuffix)>::new();
        for item in items {
            // A tenant's name may have anything in it, a suffix has no '='.
            let (tenant, suffix) = item.rsplit_once('=').ok_or(NotDnsSuffixes::Tenant)?;
            let tenant = tenant.trim();
            let of = tenant.parse().map_or_else(|_| SuffixOf::Named(tenant.to_owned()), SuffixOf::Id);
            let suffix: DnsSuffix = suffix.trim().parse()?;
            if tenant.is_empty() {
                return Err(NotDnsSuffixes::Tenant);
            }
            if suffixes.iter().any(|(other, taken)| *other == of || *taken == suffix) {
                return Err(NotDnsSuffixes::Twice);
            }
            if suffixes.iter().any(|(_, taken)| taken.is_below(&suffix) || suffix.is_below(taken)) {
                return Err(NotDnsSuffixes::Below);
            }
            suffixes.push((of, suffix));
        }
        Ok(Self(suffixes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_a_name_if_its_id_is_a_label() {
        let suffix: DnsSuffix = "agents.example.org".parse().unwrap();
        let name = |agent: &str| suffix.name_of(&agent.parse().unwrap());
        assert_eq!(name("web-1").as_deref(), Some("web-1.agents.example.org"));
        assert_eq!(name("7").as_deref(), Some("7.agents.example.org"));
        assert!(name(&"a".repeat(63)).is_some());
        for none in ["Web-1", "web_1", "web.1", "-a", "a-", "...", &"a".repeat(64)] {
            assert_eq!(name(none), None, "{none}");
        }
        let id: SpiffeId =
            "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1".parse().unwrap();
        for (name, is) in [
            ("web-1.example.org", true),
            ("web-1.local", true),
            ("web-1", false),
            ("web-1.", false),
            ("web-2.example.org", false),
            ("a.web-1.example.org", false),
            ("web-1.Example.org", false),
            ("web-1.*.org", false),
            ("*.example.org", false),
            ("web-1.example.org.", false),
            ("web-1.10", false),
        ] {
            assert_eq!(is_name_of(name, &id), is, "{name}");
        }
    }

    #[test]
    fn each_tenant_has_a_suffix_of_its_own() {
        let refused = |text: &str| text.parse::<DnsSuffixes>().unwrap_err();
        assert!("".parse::<DnsSuffixes>().unwrap().is_empty());
        assert!("a.example".parse::<DnsSuffixes>().unwrap().unknown_among(&[]).is_empty());
        let two: DnsSuffixes = "shop=shop.example, the bank=bank.example".parse().unwrap();
        assert_eq!(two.unknown_among(&[]), ["shop", "the bank"]);
        for bad in ["Example.org", "*.example.org", ".a", "a.", "a..b", "a b", "10.0.0.1", "a=", "x=A.b"] {
            assert_eq!(refused(bad), NotDnsSuffixes::Suffix, "{bad}");
        }
        for bad in ["a.b,c.d", "=a.b", "x=a.b,c.d"] {
            assert_eq!(refused(bad), NotDnsSuffixes::Tenant, "{bad}");
        }
        for bad in ["x=a.b,y=a.b", "x=a.b,x=c.d"] {
            assert_eq!(refused(bad), NotDnsSuffixes::Twice, "{bad}");
        }
        for bad in ["x=a.b,y=c.a.b", "x=c.a.b,y=a.b"] {
            assert_eq!(refused(bad), NotDnsSuffixes::Below, "{bad}");
        }
        assert!("x=a.b,y=ca.b".parse::<DnsSuffixes>().is_ok());
    }

    #[test]
    fn a_tenant_called_like_another_one_s_id_has_no_part_in_its_suffix() {
        let tenant = |id: &str, name: &str| Tenant {
            id: id.parse().unwrap(),
            name: name.parse().unwrap(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let (first, second) =
            ("01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002");
        let (shop, posing) = (tenant(first, "shop"), tenant(second, first));
        let suffixes: DnsSuffixes = format!("shop=a.example,{first}=b.example").parse().unwrap();
        let default = "01890000-0000-7000-8000-000000000003".parse().unwrap();
        let of = |tenant| suffixes.of(tenant, default).map(ToString::to_string);
        assert_eq!((of(&shop).as_deref(), of(&posing)), (Some("b.example"), None));
        assert!(suffixes.unknown_among(&[shop]).is_empty());
        assert_eq!(suffixes.unknown_among(&[posing]), ["shop", first]);
    }
}
