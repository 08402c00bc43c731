//! The agent CA and its revocation list as relying parties fetch them: made within a second of each change and anew
//! each hour without one, never for a request. Whoever asks for them costs the server neither a signature nor a walk
//! over the registry.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::SignedDuration;
use parking_lot::RwLock;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::document::Document;
use crate::api::authority::{BundleAnswer, BundleKeyItem};
use crate::app::issue::issuing::IssuingError;
use crate::app::keep::agent_ca::{BundleKey, CrlError};
use crate::app::{App, Unavailable};
use crate::clock;

/// How old documents become when nothing changes.
const RENEW_EVERY: Duration = Duration::from_secs(3600);
/// The least time between two makings: of many changes in a row, the first is served at once and the others within a
/// second.
const REST: Duration = Duration::from_millis(800);
/// How soon a making that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The newest documents. What can't be made is missing, and stays as it was if it was there before.
#[derive(Debug, Default)]
pub(crate) struct TrustDocuments {
    newest: RwLock<Arc<Documents>>,
    /// Held while they are made, so that requests before the first making wait for one and do not each begin their own.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    /// Whether they have been made at all.
    made: bool,
    /// Root and intermediates, PEM.
    pub(crate) bundle: Option<Document>,
    /// The roots as a JWK set.
    pub(crate) spiffe_bundle: Option<Document>,
    /// DER (RFC 5280 5).
    pub(crate) crl: Option<Document>,
}

impl TrustDocuments {
    pub(crate) fn newest(&self) -> Arc<Documents> {
        Arc::clone(&self.newest.read())
    }
}

impl Shared {
    /// The documents. Where nobody keeps them, as in a command that opened the store itself, they are made once.
    pub(crate) async fn trust_documents(&self) -> Arc<Documents> {
        let newest = self.trust.newest();
        if newest.made {
            return newest;
        }
        let making = self.trust.making.lock().await;
        if !self.trust.newest().made {
            // A failure is logged, and what could not be made is missing.
            let _ = self.make_trust_documents().await;
        }
        drop(making);
        self.trust.newest()
    }

    /// Makes the documents anew before the caller of a change is answered, who may fetch them next.
    pub(crate) async fn renew_trust_documents(&self) {
        let making = self.trust.making.lock().await;
        // A failure is logged, and what could not be made stays as it was until the next making.
        let _ = self.make_trust_documents().await;
        drop(making);
    }

    /// Makes the documents anew; an error when one of them could not be made and stays as it was.
    async fn make_trust_documents(&self) -> Result<(), Failed> {
        let before = self.trust.newest();
        let bundles = bundles(&self.app);
        let crl = match self.app.revocation_list().await {
            Ok(list) => Ok(Some(Document::new("application/pkix-crl", list))),
            Err(CrlError::Issuing(IssuingError::NoAuthority)) => Ok(None),
            Err(error) => Err(error),
        };
        let failed = bundles.is_err() || crl.is_err();
        if let Err(error) = &bundles {
            tracing::error!(error = error as &dyn Error, "the agent CA cannot be read; what is served stays");
        }
        if let Err(error) = &crl {
            let error = error as &dyn Error;
            tracing::error!(error, "no revocation list could be made; what is served stays");
        }
        let (bundle, spiffe_bundle) =
            bundles.unwrap_or_else(|_| (before.bundle.clone(), before.spiffe_bundle.clone()));
        let crl = crl.unwrap_or_else(|_| before.crl.clone());
        *self.trust.newest.write() = Arc::new(Documents { made: true, bundle, spiffe_bundle, crl });
        if failed { Err(Failed) } else { Ok(()) }
    }
}

/// Some document could not be made; the log says which, and why.
#[derive(Debug, thiserror::Error)]
#[error("a document about the agent CA could not be made")]
struct Failed;

type Bundles = (Option<Document>, Option<Document>);

fn bundles(app: &App) -> Result<Bundles, Unavailable> {
    let bundle = app.trust_bundle()?.map(|pem| Document::new("application/x-pem-file", pem));
    let keys = app.bundle_keys()?.map(spiffe_bundle);
    Ok((bundle, keys))
}

/// The trust bundle as SPIFFE implementations fetch it.
fn spiffe_bundle(keys: Vec<BundleKey>) -> Document {
    let key = |key: BundleKey| BundleKeyItem {
        r#use: "x509-svid".into(),
        kty: "EC".into(),
        crv: "P-256".into(),
        x: BASE64URL_NOPAD.encode(&key.x),
        y: BASE64URL_NOPAD.encode(&key.y),
        x5c: vec![BASE64.encode(&key.certificate)],
    };
    let answer = BundleAnswer {
        keys: keys.into_iter().map(key).collect(),
        spiffe_sequence: 1,
        spiffe_refresh_hint: 300,
    };
    Document::new("application/json", serde_json::json!(answer).to_string())
}

/// How often the wall clock is held against the monotonic one, and by how much they may part in a making's time.
const CLOCK_LOOKED_AT: Duration = Duration::from_secs(5);
const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(30);

/// Keeps the documents up to date until `ending`.
pub async fn keep(shared: Shared, ending: CancellationToken) {
    let mut changes = shared.app.trust_changes();
    loop {
        changes.borrow_and_update();
        let making = shared.trust.making.lock().await;
        let made = shared.make_trust_documents().await;
        drop(making);
        let now = clock::timer();
        let due = now + if made.is_ok() { RENEW_EVERY } else { RETRY_AFTER };
        let waiting = async {
            tokio::time::sleep_until(now + REST).await;
            // A change, or the time for the next making; the sender lives as long as the app.
            let _ = timeout_at(due, changes.changed()).await;
        };
        tokio::select! {
            () = ending.cancelled() => return,
            () = waiting => {}
            () = clock_stepped(&shared) => {}
        }
    }
}

/// Returns when the wall clock has been set: what a list holds depends on what has expired.
async fn clock_stepped(shared: &Shared) {
    let (wall, monotonic) = (shared.app.clock.now(), clock::timer());
    loop {
        tokio::time::sleep(CLOCK_LOOKED_AT).await;
        let ran = SignedDuration::try_from(monotonic.elapsed()).unwrap_or(SignedDuration::MAX);
        let shown = shared.app.clock.now().duration_since(wall);
        if (shown - ran).abs() > CLOCK_STEP {
            tracing::info!("the clock was set; the revocation list is made anew");
            return;
        }
    }
}
