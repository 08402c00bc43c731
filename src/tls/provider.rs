//! The one set of cryptographic algorithms that every TLS configuration uses.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// aws-lc-rs, always named and never installed as the process default, so that no other crate's choice of
/// a default can change what we speak.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
