//! Programs: what they sign in with, and who of them is told of events.

pub(crate) mod api_tokens;
pub(crate) mod webhooks;
