//! Commands about certificate authorities.

pub(crate) mod agent_ca;
pub(crate) mod custody;
pub(crate) mod gen_cert;
