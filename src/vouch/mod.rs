//! Vouching: whether a certificate that a proxy or a program shows is a live agent's. The server answers from its
//! registry, an agent beside a relying party from the trust updates that it has heard. What both have in common is here:
//! reading what is shown, verifying it, and narrowing down whose it may be.
//!
//! What is vouched for is a certificate, not who sends it: whoever asks has had the TLS handshake with the agent.

pub mod certificate_header;
pub mod identity_headers;
pub mod issuers;
pub mod narrowed;
pub mod presented;
pub mod refusal;
