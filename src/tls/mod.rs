//! rustls, configured: whom we trust, who we are, and what a peer has proved.

pub mod client;
pub mod first_contact;
pub mod pem;
pub mod provider;
