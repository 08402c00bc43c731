//! What every handler may ask for: the use cases, what the server knows of itself, and the bounds that requests share.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::keep::backup::EnvelopeSettings;
use crate::domain::code::Code;
use crate::domain::enroll::credential::Credential;
use crate::domain::enroll::join_lines::KeyPin;
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::network::networks::Networks;
use crate::domain::network::pin::Pin;
use crate::domain::replicas::Synchronous;
use crate::http::input::body::BodySlots;
use crate::http::input::throttle::Throttle;
use crate::http::problem::Problem;
use crate::http::reach::Reach;
use crate::http::routes::events::OpenStreams;
use crate::http::routes::public::install::DownloadSlots;
use crate::http::transport::proxies::Unlisted;
use crate::http::trust_documents::TrustDocuments;
use crate::tls::listener::refused::RefusedHandshakes;
use crate::tls::server_certificate::ServerCertificate;

/// What handlers share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub app: Arc<App>,
    pub facts: Arc<ServerFacts>,
    /// Reverse proxies that are believed about client addresses.
    pub trusted_proxies: Arc<Networks>,
    pub(crate) unlisted_proxies: Arc<Unlisted>,
    pub(crate) throttle: Arc<Throttle>,
    /// Places for request bodies that are arriving.
    pub(crate) bodies: Arc<BodySlots>,
    /// Places for downloads of the program.
    pub(crate) downloads: Arc<DownloadSlots>,
    /// The agent CA and its revocation list, as they are served.
    pub(crate) trust: Arc<TrustDocuments>,
    /// How requests were answered.
    pub(crate) answers: Arc<AnswerCounts>,
    /// Event streams that are open.
    pub(crate) streams: Arc<OpenStreams>,
    /// Since when it is served.
    pub(crate) since: Timestamp,
    /// Cancelled when the server is going away: it is not ready any more, and endless answers end.
    pub(crate) ending: CancellationToken,
}

/// How many requests were answered with which status and code; both are ours, so there are only so many.
#[derive(Debug, Default)]
pub(crate) struct AnswerCounts(Mutex<BTreeMap<(u16, &'static str), u64>>);

impl AnswerCounts {
    pub(crate) fn note(&self, status: u16, code: Option<Code>) {
        *self.0.lock().entry((status, code.map_or("", Code::as_str))).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<(u16, &'static str), u64> {
        self.0.lock().clone()
    }
}

/// What the server tells clients about itself.
#[derive(Debug, Default)]
pub struct ServerFacts {
    /// By which addresses others reach it, and what it presents there.
    pub reach: Reach,
    /// Handshakes that the listeners have refused.
    pub refused_handshakes: Arc<RefusedHandshakes>,
    /// Where the envelope is, for what the local operator asks to be sealed.
    pub envelope: EnvelopeSettings,
    /// Files outside the data directory that nobody else may read.
    pub secret_files: Vec<std::path::PathBuf>,
    /// Programs for other platforms than this server's own, each in a folder of its platform.
    pub install_dir: Option<std::path::PathBuf>,
}

impl Shared {
    /// Answers that replicas are to have first wait for them.
    pub(crate) async fn replicated(&self, what: Synchronous) -> Result<(), Problem> {
        self.app.replicated(what).await.map_err(|behind| Problem::replica_behind(&behind))
    }
}

impl ServerFacts {
    /// What is presented on the HTTPS listener now, as far as it is known.
    pub(crate) fn certificate(&self) -> Option<Arc<ServerCertificate>> {
        self.reach.current()
    }

    pub(crate) fn server_pin(&self) -> Option<Pin> {
        self.certificate()?.facts.pin
    }

    /// Everything that a machine needs to join, for a credential that was just made.
    pub(crate) fn join_link(&self, credential: &Credential) -> Option<JoinLink> {
        let server = self.reach.address()?;
        let credential = Credential::parse(credential.kind(), &credential.reveal())?;
        Some(JoinLink { server, pin: self.server_pin(), credential })
    }

    pub(crate) fn key_pin(&self) -> Option<KeyPin> {
        self.certificate().map(|certificate| certificate.facts.key_pin)
    }

    /// The CA above the presented certificate, PEM, when it is presented too.
    pub(crate) fn server_ca(&self) -> Option<String> {
        self.certificate()?.facts.ca_pem.clone()
    }
}

impl Shared {
    pub fn new(app: Arc<App>, facts: ServerFacts, trusted_proxies: Networks) -> Self {
        Self {
            since: app.clock.now(),
            app,
            facts: Arc::new(facts),
            trusted_proxies: Arc::new(trusted_proxies),
            unlisted_proxies: Arc::default(),
            throttle: Arc::default(),
            bodies: Arc::default(),
            downloads: Arc::default(),
            trust: Arc::default(),
            answers: Arc::default(),
            streams: Arc::default(),
            ending: CancellationToken::new(),
        }
    }

    /// From now on `/readyz` says that the server is going away, and streams end.
    pub fn end(&self) {
        self.ending.cancel();
    }

    /// Drops what the throttle remembers of addresses that have been quiet.
    pub fn tidy(&self) {
        self.throttle.tidy();
    }
}
