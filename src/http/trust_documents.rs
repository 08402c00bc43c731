//! The agent CA and its revocation lists as relying parties fetch them: made within a second of each change and anew
//! each hour without one, never for a request. Whoever asks for them costs the server neither a signature nor a walk
//! over the registry.

use std::collections::BTreeMap;
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
use super::jwt_documents::{Discovery, bundle_items, discovery};
use crate::api::authority::{BundleAnswer, BundleKeyItem};
use crate::app::issue::issuing::IssuingError;
use crate::app::keep::agent_ca::BundleKey;
use crate::app::keep::jwt_keys::JwtBundleKeys;
use crate::app::keep::revocation_lists::{CrlError, IssuerList, RevocationLists};
use crate::app::{App, Unavailable};
use crate::clock;
use crate::domain::identity::jwt_issuer::JwtIssuer;
use crate::pem;

/// How old documents become when nothing changes.
const RENEW_EVERY: Duration = Duration::from_secs(3600);
/// The least time between two makings: of many changes in a row, the first is served at once and the others within a
/// second. Lists wait for the next second of the clock, too, which is never longer.
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
    pub(crate) bundles: Option<Bundles>,
    /// None before there is an agent CA.
    pub(crate) lists: Option<Lists>,
    /// None without an issuer, or before there is an agent CA.
    pub(crate) discovery: Option<Discovery>,
}

/// The certificates of the agent CA.
#[derive(Debug, Clone)]
pub(crate) struct Bundles {
    /// Roots and intermediates, PEM.
    pub(crate) whole: Document,
    /// The roots alone, PEM: what relying parties take as CA.
    pub(crate) roots: Document,
    /// The roots and the keys of JWT-SVIDs as a JWK set.
    pub(crate) spiffe: Document,
}

/// The revocation lists (RFC 5280 5), each signed by its own issuer.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    /// The issuing intermediate's, DER.
    pub(crate) issuing: Option<Document>,
    /// All of them, PEM: the issuing intermediate's first, those of the others, the roots' last. None while a root has none.
    pub(crate) all: Option<Document>,
    /// DER, by the issuer's subject key identifier.
    pub(crate) by_issuer: BTreeMap<String, Document>,
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

    /// Makes the documents anew before the caller of a change is answered, who may fetch them next. Those that nobody has
    /// asked for yet are made when somebody does.
    pub(crate) async fn renew_trust_documents(&self) {
        let making = self.trust.making.lock().await;
        if self.trust.newest().made {
            // A failure is logged, and what could not be made stays as it was until the next making.
            let _ = self.make_trust_documents().await;
        }
        drop(making);
    }

    /// Makes the documents anew; an error when one of them could not be made and stays as it was.
    async fn make_trust_documents(&self) -> Result<(), Failed> {
        let before = self.trust.newest();
        let bundles = bundles(&self.app);
        let discovery =
            self.app.policy.jwt.issuer.as_ref().map_or(Ok(None), |issuer| made_discovery(&self.app, issuer));
        let lists = match self.app.revocation_lists().await {
            Ok(made) => {
                // Some relying parties refuse everybody where an issuer's list is missing.
                if made.complete {
                    let all = made.intermediates.iter().chain(&made.roots);
                    self.app.trust_feed().log.put_lists(all.map(|list| list.der.clone()).collect());
                }
                Ok(Some(Lists::from(made)))
            }
            Err(CrlError::Issuing(IssuingError::NoAuthority)) => Ok(None),
            // Bundle and lists go together, so both stay; the new authority makes itself known when it is there.
            Err(CrlError::Changing) => return Err(Failed),
            Err(error) => Err(error),
        };
        let failed = bundles.is_err() || lists.is_err() || discovery.is_err();
        if let Some(error) = bundles.as_ref().err().or(discovery.as_ref().err()) {
            tracing::error!(error = error as &dyn Error, "the agent CA cannot be read; what is served stays");
        }
        if let Err(error) = &lists {
            let error = error as &dyn Error;
            tracing::error!(error, "no revocation list could be made; what is served stays");
        }
        let bundles = bundles.unwrap_or_else(|_| before.bundles.clone());
        let lists = lists.unwrap_or_else(|_| before.lists.clone());
        let discovery = discovery.unwrap_or_else(|_| before.discovery.clone());
        *self.trust.newest.write() = Arc::new(Documents { made: true, bundles, lists, discovery });
        if failed { Err(Failed) } else { Ok(()) }
    }
}

/// Some document could not be made; the log says which, and why.
#[derive(Debug, thiserror::Error)]
#[error("a document about the agent CA could not be made")]
struct Failed;

fn bundles(app: &App) -> Result<Option<Bundles>, Unavailable> {
    let (Some((whole, roots)), Some(keys)) = (app.trust_bundles()?, app.bundle_keys()?) else {
        return Ok(None);
    };
    let pem = |text: String| Document::new("application/x-pem-file", text);
    let spiffe = spiffe_bundle(keys, &app.jwt_bundle_keys()?);
    Ok(Some(Bundles { whole: pem(whole), roots: pem(roots), spiffe }))
}

fn made_discovery(app: &App, issuer: &JwtIssuer) -> Result<Option<Discovery>, Unavailable> {
    let keys = app.jwt_bundle_keys()?;
    Ok((!keys.keys.is_empty()).then(|| discovery(issuer, &keys)))
}

impl From<RevocationLists> for Lists {
    fn from(RevocationLists { intermediates, roots, complete }: RevocationLists) -> Self {
        let all = intermediates.iter().chain(&roots);
        let pem: String = all.clone().map(|list| pem::encode(pem::CRL, &list.der)).collect();
        let document = |list: &IssuerList| Document::new("application/pkix-crl", list.der.clone());
        Self {
            issuing: intermediates.first().map(document),
            all: complete.then(|| Document::new("application/x-pem-file", pem)),
            by_issuer: all.map(|list| (list.issuer.clone(), document(list))).collect(),
        }
    }
}

/// The trust bundle as SPIFFE implementations fetch it.
fn spiffe_bundle(keys: Vec<BundleKey>, jwt: &JwtBundleKeys) -> Document {
    let key = |key: BundleKey| BundleKeyItem {
        r#use: "x509-svid".into(),
        kty: "EC".into(),
        crv: Some("P-256".into()),
        x: Some(BASE64URL_NOPAD.encode(&key.x)),
        y: Some(BASE64URL_NOPAD.encode(&key.y)),
        x5c: Some(vec![BASE64.encode(&key.certificate)]),
        ..BundleKeyItem::default()
    };
    let answer = BundleAnswer {
        keys: keys.into_iter().map(key).chain(bundle_items(jwt)).collect(),
        spiffe_sequence: jwt.sequence,
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
        let due = now + if made.is_ok() { made_again_after(&shared.app) } else { RETRY_AFTER };
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

/// An hour, sooner where another intermediate begins to issue: its list is the first one from then on.
fn made_again_after(app: &App) -> Duration {
    let begins = app.next_issuer_begins().map(|begins| begins.duration_since(app.clock.now()));
    begins.and_then(|left| Duration::try_from(left).ok()).map_or(RENEW_EVERY, |left| left.min(RENEW_EVERY))
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
