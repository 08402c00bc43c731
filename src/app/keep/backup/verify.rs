//! Verifying a backup: that all of it reads, who has sealed it, and what it is of. Changes nothing, needs no server.

use std::io::BufRead;

use jiff::Timestamp;

use crate::app::keep::backup::contents::BesideTheStore;
use crate::ca::authority::{Authority, AuthorityError};
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::seal::Unauthenticated;
use crate::domain::network::pin::Pin;
use crate::store::{self, SnapshotReadError};

/// Why a backup is not one that could be restored.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It does not open, or nobody whom we know has sealed it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It ends early, was changed, or makes no sense.
    #[error(transparent)]
    Content(#[from] SnapshotReadError),
    /// What it restores could not issue.
    #[error("the agent CA in it can't be opened with this envelope")]
    AgentCa(#[source] AuthorityError),
}

/// A backup of which all can be read.
#[derive(Debug)]
pub struct VerifiedBackup {
    /// When it was begun: everything answered before is in it.
    pub created_at: Timestamp,
    /// The version of the program that made it, where it says so.
    pub made_by: Option<String>,
    /// Whether somebody who has the envelope has made it.
    pub authenticated: bool,
    /// The deployment's; `None` before there was an agent CA.
    pub trust_domain: Option<String>,
    /// The SHA-256 of each root of the agent CA.
    pub roots: Vec<String>,
    /// Of all tables together.
    pub rows: u64,
    /// Hosts on record.
    pub hosts: u64,
    /// Certificates on the deny list.
    pub certificates_denied: u64,
    /// Identities on the deny list.
    pub identities_denied: u64,
    /// Records of the audit trail, whose chain holds.
    pub audit_records: u64,
    /// Whether the revocation journal is in it.
    pub journal: bool,
    /// The pin of what agents trust the server by; `None`: it is not in the backup.
    pub server_pin: Option<String>,
}

/// Reads all of a backup. Blocking and long.
pub fn verify(
    sealed: impl BufRead,
    envelope: &Envelope,
    unauthenticated: Unauthenticated,
) -> Result<VerifiedBackup, VerifyError> {
    let mut opening = envelope.opening(sealed, unauthenticated)?;
    let (mut beside, mut journal) = (BesideTheStore::default(), false);
    let inspected = store::backup::inspect(&mut opening, &mut |name, piece| match name {
        store::JOURNAL_NAME => {
            journal = true;
            Ok(true)
        }
        _ => beside.take(name, piece),
    })?;
    if let Some(hierarchy) = &inspected.hierarchy {
        drop(Authority::open(hierarchy, envelope).map_err(VerifyError::AgentCa)?);
    }
    let roots = inspected.hierarchy.iter().flat_map(|hierarchy| &hierarchy.roots);
    Ok(VerifiedBackup {
        created_at: inspected.created_at,
        made_by: inspected.made_by,
        authenticated: opening.is_authenticated(),
        roots: roots.map(|root| Pin::of(root).to_string()).collect(),
        trust_domain: inspected.hierarchy.map(|hierarchy| hierarchy.trust_domain.to_string()),
        rows: inspected.rows,
        hosts: inspected.hosts,
        certificates_denied: inspected.certificates_denied,
        identities_denied: inspected.identities_denied,
        audit_records: inspected.audit_records,
        journal,
        server_pin: beside.server().pin().map(|pin| pin.to_string()),
    })
}
