//! Whether an enrollment that arrives now would be answered with a certificate, and if not, why.

use jiff::Timestamp;

use crate::app::App;

/// What stands in the way. Each says what to do; nothing in it is a secret, because strangers ask too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Waits for an operator.
    #[error("There is no agent CA yet. Create it on the server's machine with: muster agent-ca init")]
    NoAgentCa,
    /// There is an agent CA, and no envelope that opens its key.
    #[error("The agent CA's key has not been unsealed. The server's log says why.")]
    Sealed,
    /// It ends before an SVID could be of any use.
    #[error(
        "The agent CA's intermediate expires or expired at {not_after}. Renew it with the root key: muster agent-ca renew"
    )]
    IntermediateExpired {
        /// The last second in which it is valid.
        not_after: Timestamp,
    },
    /// Passes by itself with the next commit that succeeds.
    #[error(
        "The store takes no writes since a commit failed. The server's log says why; the disk may be full."
    )]
    CommitFailed,
    /// Passes by itself when the replica is within reach.
    #[error(
        "Nothing is issued, because a replica has been out of reach for as long as 'fence' says. 'muster replica status' says why."
    )]
    Fenced,
    /// Not even which tenant is the default one can be read from it.
    #[error("The store can't be read. The server's log says why.")]
    Unreadable,
}

impl App {
    /// `Ok` exactly while enrollments are answered with certificates.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if !self.store.takes_writes() {
            return Err(NotReady::CommitFailed);
        }
        if self.default_tenant().is_err() {
            return Err(NotReady::Unreadable);
        }
        if self.is_fenced() {
            return Err(NotReady::Fenced);
        }
        let Some(authority) = self.authority() else {
            let stored = self.hierarchy().map_err(|_| NotReady::Unreadable)?;
            return Err(if stored.is_some() { NotReady::Sealed } else { NotReady::NoAgentCa });
        };
        let now = self.clock.now();
        authority
            .issues_at(now, self.policy.svid_ttl)
            .map_err(|_| NotReady::IntermediateExpired { not_after: authority.intermediate_not_after(now) })
    }
}
