//! Who is asking, as far as it has been proved, and what they may do.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::network::networks::UNKNOWN;
use crate::domain::people::api_token::Maker;
use crate::domain::people::permission::Permission;
use crate::domain::people::session::SessionKey;
use crate::domain::people::user::{Role, User};

/// The proven origin of a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A process on this machine that owns the data directory, or root.
    Local {
        /// That of the socket's peer, or of this process.
        uid: u32,
        /// How it came.
        via: LocalVia,
    },
    /// A person, signed in.
    User {
        /// Their row, as of this request.
        user: Box<User>,
        /// The one that the request came with.
        session: SessionKey,
        /// Where they are, as trusted proxies tell it; `None` where nobody knows.
        address: Option<IpAddr>,
    },
    /// A program with an API token.
    Token(Box<TokenCaller>),
    /// Nobody in particular, from an address.
    Anonymous {
        /// As trusted proxies tell it; `None` where nobody knows.
        address: Option<IpAddr>,
    },
}

/// A program that acts with an API token.
#[derive(Debug, Clone)]
pub struct TokenCaller {
    /// Its public half, which names it in audit records.
    pub id: CredentialId,
    /// What the token grants and its maker still has.
    pub permissions: BTreeSet<Permission>,
    /// The one that it is confined to; `None`: none.
    pub tenant: Option<TenantId>,
    /// On whose rights it depends.
    pub maker: Maker,
    /// As trusted proxies tell it; `None` where nobody knows.
    pub address: Option<IpAddr>,
}

/// Which of the two local transports a local caller used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalVia {
    /// The server's UNIX socket, which checks the peer's user id.
    Socket,
    /// A command that has opened the store itself, while no server had it.
    Process,
}

impl Caller {
    /// Whether the caller has this right. In which tenant is another question: see [`Caller::tenant`].
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Local { .. } => true,
            Self::User { user, .. } => user.may(permission),
            Self::Token(token) => token.permissions.contains(&permission),
            Self::Anonymous { .. } => false,
        }
    }

    /// All rights that the caller has.
    pub fn permissions(&self) -> BTreeSet<Permission> {
        Permission::ALL.iter().copied().filter(|permission| self.may(*permission)).collect()
    }

    /// Whether this caller may do everything that somebody of this role and tenant may: only then may they make
    /// such a person, change one, or set a password for one.
    pub fn may_all_that(&self, role: Role, tenant: Option<TenantId>) -> bool {
        let in_reach = self.tenant().is_none() || self.tenant() == tenant;
        let mut permitted =
            Permission::ALL.iter().copied().filter(|permission| role.may_in(tenant, *permission));
        in_reach && permitted.all(|permission| self.may(permission))
    }

    /// The tenant that this caller is confined to; `None`: none.
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Local { .. } | Self::Anonymous { .. } => None,
            Self::User { user, .. } => user.tenant,
            Self::Token(token) => token.tenant,
        }
    }

    /// Starts an audit event that names this caller.
    pub fn event(
        &self,
        action: AuditAction,
        tenant: Option<TenantId>,
        target: impl fmt::Display,
    ) -> AuditEvent {
        AuditEvent::new(self.to_string(), self.source(), action, tenant, target)
    }

    fn source(&self) -> String {
        match self {
            Self::Local { via: LocalVia::Socket, .. } => "socket".to_owned(),
            Self::Local { via: LocalVia::Process, .. } => "process".to_owned(),
            _ => match self.address().filter(|address| *address != UNKNOWN) {
                Some(address) => address.to_string(),
                None => "unknown".to_owned(),
            },
        }
    }

    /// Where the caller is; `None` for local ones, and where nobody knows.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local { .. } => None,
            Self::User { address, .. } | Self::Anonymous { address } => *address,
            Self::Token(token) => token.address,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, .. } => write!(f, "local:{uid}"),
            Self::User { user, .. } => write!(f, "user:{}", user.username),
            Self::Token(token) => write!(f, "token:{}", token.id),
            Self::Anonymous { .. } => f.write_str("anonymous"),
        }
    }
}
