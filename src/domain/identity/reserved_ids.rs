//! Agent ids that nobody may choose: programs that map the bare common name of a certificate take them for somebody with power.

use std::str::FromStr;

use crate::domain::identity::spiffe::{AgentId, SpiffeError};

/// The ids, in lower case: a program may not tell `Root` from `root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedIds(Vec<String>);

/// Powerful names at etcd, PostgreSQL, MariaDB, RabbitMQ, Redis and MinIO.
const DEFAULT: [&str; 12] = [
    "root",
    "admin",
    "administrator",
    "postgres",
    "mysql",
    "guest",
    "default",
    "consoleadmin",
    "readwrite",
    "readonly",
    "writeonly",
    "diagnostics",
];

impl Default for ReservedIds {
    fn default() -> Self {
        Self(DEFAULT.map(str::to_owned).into())
    }
}

impl ReservedIds {
    /// Whether the id is reserved, in any case.
    pub fn has(&self, id: &AgentId) -> bool {
        self.0.iter().any(|reserved| id.as_str().eq_ignore_ascii_case(reserved))
    }
}

impl FromStr for ReservedIds {
    type Err = SpiffeError;

    /// Agent ids, separated by commas; none at all reserves nothing.
    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        let lower = |id: &str| Ok(id.parse::<AgentId>()?.as_str().to_ascii_lowercase());
        ids.map(lower).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_reserved_in_any_case() {
        let check = |reserved: &str, id: &str, expected: bool| {
            let reserved: ReservedIds = reserved.parse().unwrap();
            assert_eq!(reserved.has(&id.parse().unwrap()), expected, "{reserved:?} {id}");
        };
        check("root, Web-1", "ROOT", true);
        check("root, Web-1", "web-1", true);
        check("root", "root-1", false);
        check("", "root", false);
        assert!(ReservedIds::default().has(&"consoleAdmin".parse().unwrap()));
        assert!("a b".parse::<ReservedIds>().is_err());
    }
}
