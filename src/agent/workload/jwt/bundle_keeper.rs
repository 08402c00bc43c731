//! Keeps the keys of JWT-SVIDs: asks the server for its SPIFFE bundle from the first program on that needs them, and keeps
//! the last one on disk, so that a restart while the server is away still knows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::bundle::{BUNDLE_OCTETS_MAX, JwtBundle, NotABundle};
use crate::agent::config::AgentConfig;
use crate::agent::connect::https::{HttpsCaller, HttpsError};
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::identity::{IdentityDir, IdentityError};
use crate::agent::run::backoff::random_permille;
use crate::clock;
use crate::durable::{self, OWNER_ONLY};
use crate::error_chain::chain;
use crate::tls::server_verifier::{FirstContact, TrustError};

const PATH: &str = "/.well-known/spiffe-bundle";
/// For an answer's head, connecting by every way included, and then for its body.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The least time between two questions, whoever asks for keys that nobody has heard of.
const GAP: Duration = Duration::from_secs(5);
/// After a failure.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Where the bundle comes from.
#[derive(Debug, Clone)]
pub struct BundleSource {
    pub config: Arc<AgentConfig>,
    /// In the order in which to try; empty before there is an identity.
    pub servers: watch::Receiver<Vec<ServerUrl>>,
}

/// The newest bundle, as everybody reads it.
#[derive(Debug)]
pub(crate) struct BundleKeeper {
    source: BundleSource,
    newest: watch::Sender<Option<Arc<JwtBundle>>>,
    /// How often the server has been asked in vain or not.
    asked: watch::Sender<u64>,
    wanted: Notify,
    /// The key that the newest token of our own is signed with: where it is missing, others may have gone as well.
    expected: Mutex<Option<String>>,
}

/// Why there is no newer bundle.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    #[error("it is not known where the server is")]
    NoServer,
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the server can't be reached")]
    Https(#[from] HttpsError),
    #[error("the request could not be made")]
    Request(#[from] hyper::http::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the answer broke off, took too long or is too long")]
    Body,
    #[error("the answer is not believed")]
    Bundle(#[from] NotABundle),
}

impl BundleKeeper {
    pub(crate) fn new(source: BundleSource) -> Self {
        let kept = kept(&source.config.identity);
        let newest = watch::Sender::new(kept.map(Arc::new));
        Self {
            source,
            newest,
            asked: watch::Sender::new(0),
            wanted: Notify::new(),
            expected: Mutex::default(),
        }
    }

    /// The bundle, and every one that follows it.
    pub(crate) fn newest(&self) -> watch::Receiver<Option<Arc<JwtBundle>>> {
        self.newest.subscribe()
    }

    /// A token of our own is signed with this key. Has the server asked if that is new to who wants to know.
    pub(crate) fn expect(&self, kid: String) {
        let known = self.newest.borrow().as_ref().is_some_and(|bundle| bundle.key(&kid).is_some());
        *self.expected.lock() = Some(kid);
        if !known && *self.asked.borrow() > 0 {
            self.refresh();
        }
    }

    /// Whether a key is missing that the server has: its bundle may be a second behind.
    fn lacks_expected(&self) -> bool {
        let newest = self.newest.borrow();
        let expected = self.expected.lock();
        expected.as_ref().is_some_and(|kid| newest.as_ref().is_some_and(|bundle| bundle.key(kid).is_none()))
    }

    /// Has the server asked, if that has not been done just now.
    pub(crate) fn refresh(&self) {
        self.wanted.notify_one();
    }

    /// Has the server asked if nobody has wanted to know before, and from then on as often as it says.
    pub(crate) fn refresh_if_idle(&self) {
        if *self.asked.borrow() == 0 {
            self.refresh();
        }
    }

    /// The same as [`Self::refresh`]; waits for what comes of it, for so long at the most.
    pub(crate) async fn refreshed(&self, within: Duration) {
        let mut asked = self.asked.subscribe();
        self.refresh();
        // In time or not: the caller looks at what there is then.
        let _ = timeout(within, asked.changed()).await;
    }

    /// Asks from the first time on that somebody wants to know, and then as often as the server says.
    pub(crate) async fn run(&self) {
        let mut etag = None;
        let mut troubled = false;
        self.wanted.notified().await;
        loop {
            let asked_at = clock::timer();
            let failed = match self.ask(&mut etag).await {
                Ok(()) => None,
                Err(error) => Some(chain(&error)),
            };
            if let Some(error) = failed.as_ref().filter(|_| !troubled) {
                warn!(error, "the keys of JWT-SVIDs could not be fetched; those that are known stay");
            }
            troubled = failed.is_some();
            self.asked.send_modify(|asked| *asked += 1);
            let refresh = self.newest.borrow().as_ref().map_or(RETRY_AFTER, |bundle| bundle.refresh);
            // A fleet does not ask in step.
            let refresh = refresh * (900 + u32::from(random_permille()) / 10) / 1000;
            let pause = match (troubled, self.lacks_expected()) {
                (true, _) => RETRY_AFTER.min(refresh),
                (false, true) => GAP,
                (false, false) => refresh,
            };
            self.until_wanted(asked_at, pause).await;
        }
    }

    async fn until_wanted(&self, asked_at: Instant, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep_until(asked_at + pause) => {}
            () = self.wanted.notified() => tokio::time::sleep_until(asked_at + GAP).await,
        }
    }

    /// At the first address that answers.
    async fn ask(&self, etag: &mut Option<HeaderValue>) -> Result<(), BundleError> {
        let servers = self.source.servers.borrow().clone();
        let mut failure = BundleError::NoServer;
        for server in servers {
            match self.ask_at(server, etag).await {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask_at(&self, server: ServerUrl, etag: &mut Option<HeaderValue>) -> Result<(), BundleError> {
        let config = &self.source.config;
        let contact = Arc::new(FirstContact::new(&config.later_trust())?);
        let https = HttpsCaller::new(server, contact, Arc::clone(&config.dialer));
        let mut request = Request::get(PATH).body(Full::default())?;
        if let Some(etag) = etag.as_ref() {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        let answer = https.send(request, ANSWER_WITHIN).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(()),
            StatusCode::OK => {}
            other => return Err(BundleError::Status(other)),
        }
        let newest = answer.headers().get(ETAG).cloned();
        let body = Limited::new(answer.into_body(), BUNDLE_OCTETS_MAX).collect();
        let body = timeout(BODY_WITHIN, body).await.map_err(|_| BundleError::Body)?;
        let document = body.map_err(|_| BundleError::Body)?.to_bytes();
        self.take(&document)?;
        *etag = newest;
        Ok(())
    }

    fn take(&self, document: &[u8]) -> Result<(), BundleError> {
        let bundle = JwtBundle::read(document)?;
        let changed = self.newest.borrow().as_ref().is_none_or(|before| before.jwks != bundle.jwks);
        if changed {
            info!(keys = ?bundle, "the keys of JWT-SVIDs have changed");
            let file = file(&self.source.config.identity);
            if let Err(error) = durable::replace(&file, OWNER_ONLY, document) {
                warn!(file = %file.display(), error = %chain(&error), "the keys of JWT-SVIDs could not be kept");
            }
            self.newest.send_replace(Some(Arc::new(bundle)));
        }
        Ok(())
    }
}

fn file(dir: &IdentityDir) -> PathBuf {
    dir.path().join("jwt-bundle.json")
}

/// What an earlier run has kept. Only a file that nobody else can have written counts.
fn kept(dir: &IdentityDir) -> Option<JwtBundle> {
    let path = file(dir);
    let unusable = |path: &Path, error: &str| {
        warn!(file = %path.display(), error, "the kept keys of JWT-SVIDs are not used");
    };
    match dir.read_beside(&path) {
        Ok(document) => match JwtBundle::read(&document?) {
            Ok(bundle) => Some(bundle),
            Err(error) => {
                unusable(&path, &chain(&error));
                None
            }
        },
        // There is no identity yet.
        Err(IdentityError::Unreadable(..)) => {
            debug!("no keys of JWT-SVIDs are kept");
            None
        }
        Err(error) => {
            unusable(&path, &chain(&error));
            None
        }
    }
}
