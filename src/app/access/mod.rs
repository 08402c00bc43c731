//! People, programs and tenants: who they are, what they may do, and how often.

pub mod account;
pub mod api_tokens;
pub mod caller;
pub(crate) mod passwords;
pub mod sessions;
pub mod tenants;
pub mod users;
pub mod write_pace;
