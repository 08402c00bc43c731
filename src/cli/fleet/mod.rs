//! Commands about machines and what lets them in.

pub(crate) mod enroll_token;
pub(crate) mod enrollment;
pub(crate) mod host;
pub(crate) mod revoke_agent;
pub(crate) mod secret;
pub(crate) mod which_host;
