//! From a credential to an identity on disk.

pub mod answer;
pub mod credential_source;
pub mod enroll_on_start;
pub mod first_enrollment;
pub mod requests;
pub mod server_trust;
