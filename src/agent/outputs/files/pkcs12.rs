//! PKCS#12 (RFC 7292), as Java and Windows read it.

use p12_keystore::error::Error;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

/// The name of the key's entry.
const IDENTITY: &str = "muster";

/// The key with its chain.
pub(crate) fn identity_store(chain: &[Vec<u8>], key: &[u8], password: &str) -> Result<Vec<u8>, Error> {
    let certificates = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let mut store = KeyStore::new();
    let entry = PrivateKeyChain::new(IDENTITY, PrivateKey::from_der(key)?, certificates);
    store.add_entry(IDENTITY, KeyStoreEntry::PrivateKeyChain(entry));
    store.writer(password).write()
}

/// The roots, each with the attribute by which the JDK knows what it is to trust (2.16.840.1.113894.746875.1.1): without
/// it a trust store shows no entries.
pub(crate) fn trust_store(roots: &[Vec<u8>], password: &str) -> Result<Vec<u8>, Error> {
    let mut store = KeyStore::new();
    for (number, root) in (1..).zip(roots) {
        let entry = KeyStoreEntry::Certificate(Certificate::from_der(root)?);
        store.add_entry(&format!("muster-root-{number}"), entry);
    }
    store.writer(password).write()
}
