//! The one cryptography provider of the process.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// The shared aws-lc-rs provider. Every rustls builder is given it explicitly.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
