//! The root's revocation list: the intermediates that are revoked. It is signed where the root key is, at `init`, `renew` and
//! `revoke-intermediate`, and handed out for a year and more without that key.
//!
//! nginx, HAProxy, PostgreSQL and Envoy by default want a list from every issuer of a chain, so without it they refuse
//! every agent.

use jiff::{SignedDuration, Timestamp};
use rcgen::Issuer;

use super::ca_certificate::CaCertificate;
use super::crl::{self, CrlSignError, ListOrder, RevokedEntry};
use super::issuing_key::IssuingKey;
use crate::ca::parse::revocation_list::{self, RevocationList, RevocationListError};

/// How long past the end of the newest intermediate the list is good: a renewal that comes late must not find it expired.
const BEYOND_THE_INTERMEDIATE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why a list of a root is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootListError {
    #[error("the root's revocation list can't be used")]
    Unusable(#[from] RevocationListError),
    #[error("the root's revocation list is not newer than the one that is there")]
    NotNewer,
    #[error("the root's revocation list lacks an intermediate that is revoked")]
    LosesAnEntry,
    #[error("the root's revocation list ends before the newest intermediate")]
    EndsTooSoon,
}

/// Signs the next list of a root: what the last one had, and what is newly revoked.
pub(crate) fn sign(
    root: &CaCertificate,
    issuer: &Issuer<'static, IssuingKey>,
    before: Option<&RevocationList>,
    newly_revoked: &[RevokedEntry],
    newest_intermediate_ends: Timestamp,
    now: Timestamp,
) -> Result<Vec<u8>, CrlSignError> {
    let mut revoked = before.map(|list| list.revoked.clone()).unwrap_or_default();
    for entry in newly_revoked {
        if revoked.iter().all(|(serial, ..)| *serial != entry.0) {
            revoked.push(*entry);
        }
    }
    let number = before.map_or(0, |list| list.number.saturating_add(1)).max(crl::number_at(now));
    let next_update = newest_intermediate_ends.saturating_add(BEYOND_THE_INTERMEDIATE);
    let next_update = next_update.unwrap_or(newest_intermediate_ends);
    crl::sign(root, issuer, &ListOrder { revoked: &revoked, number, at: now, next_update })
}

/// Reads a list that came from where the root key is: signed by this root, newer than the one that is there, with all that
/// that one had, and good for as long as the newest intermediate.
pub(crate) fn accept(
    root: &CaCertificate,
    before: Option<&[u8]>,
    list: &[u8],
    newest_intermediate_ends: Timestamp,
) -> Result<RevocationList, RootListError> {
    let read = revocation_list::read_of(list, root)?;
    if let Some(before) = before {
        let before = revocation_list::read_of(before, root)?;
        if read.number <= before.number {
            return Err(RootListError::NotNewer);
        }
        let lost = |(serial, ..): &RevokedEntry| !read.revoked.iter().any(|(kept, ..)| kept == serial);
        if before.revoked.iter().any(lost) {
            return Err(RootListError::LosesAnEntry);
        }
    }
    if read.next_update < newest_intermediate_ends {
        return Err(RootListError::EndsTooSoon);
    }
    Ok(read)
}
