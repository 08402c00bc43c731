//! Whose rights have changed, so that whoever listens on the strength of them proves them anew, and nobody else.

use crate::domain::ids::{CredentialId, UserId};
use crate::domain::people::session::SessionKey;

/// Whose rights have changed, so that what is open on the strength of them is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessChange {
    /// Role, tenant, password or access of a person.
    User(UserId),
    /// A session is over.
    Session(SessionKey),
    /// An API token was changed or is gone.
    ApiToken(CredentialId),
    /// What has changed is not known.
    Everybody,
}
