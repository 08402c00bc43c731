//! Who is asking, as far as it has been proved.

use std::fmt;
use std::net::IpAddr;

use crate::domain::audit::{AuditEvent, Outcome};
use crate::domain::ids::TenantId;
use crate::domain::permission::Permission;

/// The proven origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on this machine that owns the data directory, or root.
    Local { uid: u32, via: LocalVia },
    /// Nobody in particular, from an address.
    Anonymous { address: Option<IpAddr> },
}

/// Which of the two local transports a local caller used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalVia {
    Socket,
    Process,
}

impl Caller {
    pub const fn may(&self, _permission: Permission) -> bool {
        match self {
            Self::Local { .. } => true,
            Self::Anonymous { .. } => false,
        }
    }

    /// Starts an audit event that names this caller.
    pub fn event(
        &self,
        action: &'static str,
        tenant: Option<TenantId>,
        target: impl fmt::Display,
    ) -> AuditEvent {
        AuditEvent {
            actor: self.to_string(),
            source: self.source(),
            tenant,
            action,
            target: target.to_string(),
            outcome: Outcome::Success,
            reason: None,
            detail: std::collections::BTreeMap::new(),
        }
    }

    fn source(&self) -> String {
        match self {
            Self::Local { via: LocalVia::Socket, .. } => "socket".to_owned(),
            Self::Local { via: LocalVia::Process, .. } => "process".to_owned(),
            Self::Anonymous { address: Some(address) } => address.to_string(),
            Self::Anonymous { address: None } => "unknown".to_owned(),
        }
    }

    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local { .. } => None,
            Self::Anonymous { address } => *address,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, .. } => write!(f, "local:{uid}"),
            Self::Anonymous { .. } => f.write_str("anonymous"),
        }
    }
}
