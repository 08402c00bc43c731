//! Tenants: walls inside one deployment.

use jiff::Timestamp;

use crate::domain::ids::TenantId;
use crate::domain::label::Label;

/// A tenant's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it, unique.
    pub name: Label,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The name of the tenant that exists from the start.
pub const DEFAULT_TENANT: &str = "default";

/// The longest name that user names can end in as it is.
const SUFFIX_MAX: usize = 64;

impl Tenant {
    /// What the user names of this tenant's people end in, after an `@`: its name, or, where that can't stand in a
    /// user name or an older tenant's differs from it in case alone, what is left of it with a piece of its id.
    pub fn suffix<'t>(&self, all: impl IntoIterator<Item = &'t Self>) -> String {
        let name = self.name.as_str();
        let fits = name.len() <= SUFFIX_MAX && name.bytes().all(stands_in_user_names);
        let same = |other: &Self| other.id < self.id && other.name.as_str().eq_ignore_ascii_case(name);
        if fits && !all.into_iter().any(same) { name.to_owned() } else { self.unmistakable_suffix() }
    }

    /// The same with a piece of the id. The second `@` keeps it apart from every name of a tenant.
    pub fn unmistakable_suffix(&self) -> String {
        let legal = |c: char| if c.is_ascii() && stands_in_user_names(c as u8) { c } else { '-' };
        let name: String = self.name.as_str().chars().take(32).map(legal).collect();
        let id = self.id.to_string();
        format!("{}@{}", name.trim_matches('-'), &id[id.len() - 8..])
    }
}

const fn stands_in_user_names(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tenants_have_the_same_suffix() {
        let tenant = |number: u8, name: &str| Tenant {
            id: TenantId::from_bytes([number; 16]),
            name: name.parse().unwrap(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let long = "a".repeat(65);
        let cut = format!("{}@07070707", &long[..32]);
        let cases = [
            ("acme", "acme"),
            ("Acme", "Acme@02020202"),
            ("Beta.co", "Beta.co"),
            ("Acme GmbH & Co", "Acme-GmbH---Co@04040404"),
            ("acme@02020202", "acme-02020202@05050505"),
            ("株式会社", "@06060606"),
            (long.as_str(), cut.as_str()),
        ];
        let all: Vec<_> = (1..).zip(cases).map(|(number, (name, _))| tenant(number, name)).collect();
        for (tenant, (name, expected)) in all.iter().zip(cases) {
            assert_eq!(tenant.suffix(&all), expected, "{name}");
        }
    }
}
