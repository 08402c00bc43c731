//! Who gets an SVID, who goes on having one, and who no longer does.

mod admission;
pub mod clones;
mod credential_row;
pub mod enroll;
pub mod hosts;
pub mod issuing;
pub mod jwt_svids;
pub mod readiness;
pub mod refusals;
pub mod revoke;
pub mod rotate;
pub mod secrets;
pub(crate) mod shown_denied;
pub mod tokens;
pub mod vouch;
