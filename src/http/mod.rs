//! The axum edge: one router, reached over TLS, over the UNIX socket and in process.
//!
//! Handlers translate: they read input, call one use case and convert its answer. This is the only room that
//! knows JSON shapes and status codes.

mod account;
mod agent_ca;
mod api;
mod api_tokens;
mod arriving;
mod audit;
mod body;
mod enroll;
mod events;
mod examples;
mod extract;
mod health;
mod hosts;
mod keeping;
mod leftover;
mod metrics;
mod overview;
mod page;
pub mod problem;
mod proxies;
mod routes;
mod secrets;
mod sessions;
pub mod socket;
mod strict;
mod tenants;
mod throttle;
pub mod tls;
mod tokens;
pub mod transport;
mod ui;
mod users;
pub mod wire;
mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Version;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::App;
use crate::app::backup::EnvelopeSettings;
use crate::domain::networks::Networks;
use crate::tls::certificate::LiveCertificate;
use arriving::Arriving;
use problem::Problem;
use proxies::Unlisted;
use throttle::Throttle;
use transport::Transport;

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
    /// Cancelled when the server is going away: it is not ready any more, and endless answers end.
    ending: CancellationToken,
}

/// What the server tells clients about itself.
#[derive(Debug, Default)]
pub struct ServerFacts {
    /// Where agents enroll, `host:port`.
    pub https_addr: Option<String>,
    /// Where agents find the gRPC listener, `host:port`.
    pub grpc_addr: Option<String>,
    /// What is presented on the HTTPS listener, as far as it is known.
    pub certificate: Option<Arc<LiveCertificate>>,
    /// Where the envelope is, for what the local operator asks to be sealed.
    pub envelope: EnvelopeSettings,
}

impl ServerFacts {
    fn server_pin(&self) -> Option<String> {
        self.certificate.as_ref().and_then(|certificate| certificate.current().pin().map(str::to_owned))
    }

    /// The CA above the presented certificate, PEM, when it is presented too.
    fn server_ca(&self) -> Option<String> {
        self.certificate.as_ref().and_then(|certificate| certificate.current().ca_pem().map(str::to_owned))
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
    let (open, open_operations) = routes::open().into_parts();
    let (api, api_operations) = routes::api().into_parts();
    let document = api::document(&[("", &open_operations), ("/v1", &api_operations)]);
    open.nest("/v1", api.clone())
        .nest("/api/v1", api)
        .nest("/local", routes::local())
        .route("/openapi.json", get(move || async move { axum::Json(document) }))
        .fallback(ui_or_nothing)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(axum::middleware::from_fn(in_time))
        .layer(axum::middleware::from_fn(one_host))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_bytes_response().map(BodyExt::boxed)))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("x-frame-options", "DENY"))
        .layer(header("referrer-policy", "no-referrer"))
        .layer(header("cross-origin-opener-policy", "same-origin"))
        .layer(header("strict-transport-security", "max-age=31536000; includeSubDomains"))
        .layer(header("content-security-policy", CSP))
        .layer(header("cache-control", "no-store"))
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

/// What no route takes belongs to the web UI, or is not there.
async fn ui_or_nothing(request: Request) -> Response {
    ui::serve(&request)
        .unwrap_or_else(|| Problem::not_found("There is nothing at this address.").into_response())
}

/// For everything that is not a page: nothing may be loaded by it. The UI's page brings its own.
const CSP: &str =
    "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sets a header unless the handler has chosen its own value.
fn header(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<axum::http::HeaderValue> {
    SetResponseHeaderLayer::if_not_present(
        axum::http::HeaderName::from_static(name),
        axum::http::HeaderValue::from_static(value),
    )
}
