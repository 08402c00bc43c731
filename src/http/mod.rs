//! The axum edge: one router, reached over TLS, over the UNIX socket and in process.
//!
//! Handlers translate: they read input, call one use case and convert its answer. This is the only room that
//! knows JSON shapes and status codes.

mod document;
mod findings;
pub mod input;
pub mod openapi;
pub mod problem;
pub mod reach;
pub mod routes;
pub mod transport;
pub mod trust_documents;
mod ui;
pub mod wire;
mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use document::Document;
use http_body_util::BodyExt;
use problem::Problem;
use reach::Reach;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use trust_documents::TrustDocuments;
use ui::Found;

use crate::app::App;
use crate::app::keep::backup::EnvelopeSettings;
use crate::domain::enroll::credential::Credential;
use crate::domain::enroll::join_lines::KeyPin;
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::network::host_port::HostName;
use crate::domain::network::networks::Networks;
use crate::http::input::body_slots::Arriving;
use crate::http::input::throttle::Throttle;
use crate::http::routes::events::OpenStreams;
use crate::http::routes::public::install::Downloads;
use crate::http::transport::origin::Transport;
use crate::http::transport::proxies::Unlisted;
use crate::tls::listener::refused::RefusedHandshakes;
use crate::tls::server_certificate::ServerCertificate;

/// The longest that the head of an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub app: Arc<App>,
    pub facts: Arc<ServerFacts>,
    /// Reverse proxies that are believed about client addresses.
    pub trusted_proxies: Arc<Networks>,
    unlisted_proxies: Arc<Unlisted>,
    throttle: Arc<Throttle>,
    /// Places for request bodies that are arriving.
    bodies: Arc<Arriving>,
    /// Places for downloads of the program.
    downloads: Arc<Downloads>,
    /// The agent CA and its revocation list, as they are served.
    trust: Arc<TrustDocuments>,
    /// Event streams that are open.
    streams: Arc<OpenStreams>,
    /// Cancelled when the server is going away: it is not ready any more, and endless answers end.
    ending: CancellationToken,
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
    /// Programs for other platforms than this server's own, each in a folder of its platform.
    pub install_dir: Option<std::path::PathBuf>,
}

impl ServerFacts {
    /// What is presented on the HTTPS listener now, as far as it is known.
    fn certificate(&self) -> Option<Arc<ServerCertificate>> {
        self.reach.certificate.as_ref().map(|certificate| certificate.current())
    }

    fn server_pin(&self) -> Option<String> {
        self.certificate()?.pin().map(str::to_owned)
    }

    /// Everything that a machine needs to join, for a credential that was just made.
    fn join_link(&self, credential: &Credential) -> Option<JoinLink> {
        let server = self.reach.address()?;
        let pin = self.server_pin().and_then(|pin| pin.parse().ok());
        let credential = Credential::parse(credential.kind(), &credential.reveal())?;
        Some(JoinLink { server, pin, credential })
    }

    fn key_pin(&self) -> Option<KeyPin> {
        self.certificate().map(|certificate| certificate.key_pin())
    }

    /// The CA above the presented certificate, PEM, when it is presented too.
    fn server_ca(&self) -> Option<String> {
        self.certificate()?.ca_pem().map(str::to_owned)
    }
}

impl Shared {
    pub fn new(app: Arc<App>, facts: ServerFacts, trusted_proxies: Networks) -> Self {
        Self {
            app,
            facts: Arc::new(facts),
            trusted_proxies: Arc::new(trusted_proxies),
            unlisted_proxies: Arc::default(),
            throttle: Arc::default(),
            bodies: Arc::default(),
            downloads: Arc::default(),
            trust: Arc::default(),
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

/// Every route there is, and the document that describes them.
pub fn router(shared: Shared) -> Router {
    let (open, open_operations) = crate::http::routes::table::open().into_parts();
    let (api, api_operations) = crate::http::routes::table::api().into_parts();
    let description =
        crate::http::openapi::operation::document(&[("", &open_operations), ("/v1", &api_operations)]);
    let description = Document::new("application/json", description.to_string());
    open.nest("/v1", api.clone())
        .nest("/api/v1", api)
        .nest("/local", crate::http::routes::table::local())
        .route("/openapi.json", get(async move |headers: HeaderMap| description.answer(&headers)))
        .fallback(ui_or_nothing)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(axum::middleware::from_fn(options))
        .layer(axum::middleware::from_fn(in_time))
        .layer(axum::middleware::from_fn(one_host))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_bytes_response().map(BodyExt::boxed)))
        .layer(unless_set("x-content-type-options", "nosniff"))
        .layer(unless_set("x-frame-options", "DENY"))
        .layer(unless_set("referrer-policy", "no-referrer"))
        .layer(unless_set("cross-origin-opener-policy", "same-origin"))
        .layer(axum::middleware::from_fn(strict_transport))
        .layer(unless_set("content-security-policy", CSP))
        .layer(unless_set("cache-control", "no-store"))
        .with_state(shared)
}

/// Gives up on an answer that takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::unavailable().into_response())
}

/// A request over HTTP/1.1 names one host (RFC 9112 3.2), and none names two: who stands in front of this server
/// might read the other one.
async fn one_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    let from_afar = matches!(request.extensions().get(), Some(Transport::Tls { .. }));
    let must_name_one = from_afar && request.version() == Version::HTTP_11;
    if hosts > 1 || (must_name_one && hosts == 0) {
        return Problem::bad_request("A request names exactly one host.").into_response();
    }
    next.run(request).await
}

/// `OPTIONS` asks which methods an address takes (RFC 9110 9.3.7). Routes know, and say so when they refuse one.
async fn options(request: Request, next: Next) -> Response {
    let asked = request.method() == Method::OPTIONS;
    let answer = next.run(request).await;
    if !asked || answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let mut told = StatusCode::NO_CONTENT.into_response();
    // A route adds the methods to the answer after this; what is served without one has them already.
    if let Some(allowed) = answer.headers().get(header::ALLOW) {
        told.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    told
}

/// Makes browsers insist on TLS for this name (RFC 6797), for a year. Not for addresses, of which browsers ignore it;
/// not for `localhost`, where it would take in whatever else runs on the machine; and not for names below this one,
/// which are other servers.
async fn strict_transport(request: Request, next: Next) -> Response {
    let asked = crate::http::input::extract::asked_for(request.headers(), request.uri());
    let insists =
        asked.is_some_and(|asked| matches!(asked.host, HostName::Dns(_)) && !asked.host.is_loopback());
    let mut answer = next.run(request).await;
    if insists {
        let value = HeaderValue::from_static("max-age=31536000");
        answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    answer
}

/// What no route takes belongs to the web UI, or is not there.
async fn ui_or_nothing(request: Request) -> Response {
    match ui::serve(&request) {
        Found::File(answer) => answer,
        Found::OtherMethod => ([(header::ALLOW, "GET,HEAD")], Problem::method_not_allowed()).into_response(),
        Found::Nothing => Problem::not_found("There is nothing at this address.").into_response(),
    }
}

/// For everything that is not a page: nothing may be loaded by it. The UI's page brings its own.
const CSP: &str =
    "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sets a header unless the handler has chosen its own value.
fn unless_set(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<axum::http::HeaderValue> {
    SetResponseHeaderLayer::if_not_present(
        axum::http::HeaderName::from_static(name),
        axum::http::HeaderValue::from_static(value),
    )
}
