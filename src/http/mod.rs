//! The axum edge: one router, reached over TLS, over the UNIX socket and in process.
//!
//! Handlers translate: they read input, call one use case and convert its answer. This is the only room that
//! knows JSON shapes and status codes.

mod agent_ca;
mod audit;
mod body;
mod enroll;
mod extract;
mod health;
mod hosts;
mod page;
pub mod problem;
mod proxies;
mod secrets;
pub mod socket;
mod throttle;
pub mod tls;
mod tokens;
pub mod transport;
mod ui;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use http_body_util::BodyExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::app::App;
use crate::domain::networks::Networks;
use problem::Problem;
use throttle::Throttle;

/// The longest that any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub app: Arc<App>,
    pub facts: Arc<ServerFacts>,
    /// Reverse proxies that are believed about client addresses.
    pub trusted_proxies: Arc<Networks>,
    throttle: Arc<Throttle>,
    ready: Arc<AtomicBool>,
}

/// What the server tells clients about itself.
#[derive(Debug, Default)]
pub struct ServerFacts {
    /// Where agents find the gRPC listener, `host:port`.
    pub grpc_addr: Option<String>,
    /// What is presented on the HTTPS listener, as far as it is known.
    pub certificate: Option<Arc<crate::tls::certificate::LiveCertificate>>,
}

impl ServerFacts {
    fn server_pin(&self) -> Option<String> {
        self.certificate.as_ref().map(|certificate| certificate.current().pin().to_owned())
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
            throttle: Arc::default(),
            ready: Arc::new(AtomicBool::new(true)),
        }
    }

    /// From now on `/readyz` says that the server is going away.
    pub fn stop_being_ready(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// Drops what the throttle remembers of addresses that have been quiet.
    pub fn tidy(&self) {
        self.throttle.tidy();
    }
}

/// Every route there is.
pub fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/agents/enroll-tokens", get(tokens::list).post(tokens::mint))
        .route("/agents/enroll-tokens/{id}", delete(tokens::void))
        .route("/agents/{agent_id}/revoke", post(hosts::revoke))
        .route("/enrollment-secrets", get(secrets::list).post(secrets::create))
        .route("/enrollment-secrets/{id}/revoke", post(secrets::revoke))
        .route("/hosts", get(hosts::list))
        .route("/hosts/{id}", get(hosts::show))
        .route("/hosts/{id}/enrollments", get(hosts::enrollments))
        .route("/audit", get(audit::list))
        .route("/audit/verify", get(audit::verify))
        .route("/agent-ca", get(agent_ca::show));
    Router::new()
        .route("/enroll/agent", post(enroll::enroll))
        .route("/enroll/agent/rotate", post(enroll::rotate))
        .route("/agent-ca.crt", get(agent_ca::bundle))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .nest("/v1", api.clone())
        .nest("/api/v1", api)
        .fallback(ui_or_nothing)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_bytes_response().map(BodyExt::boxed)))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "no-referrer"))
        .layer(header("cross-origin-opener-policy", "same-origin"))
        .layer(header("strict-transport-security", "max-age=31536000; includeSubDomains"))
        .layer(header("content-security-policy", CSP))
        .layer(header("cache-control", "no-store"))
        .with_state(shared)
}

/// What no route takes belongs to the web UI, or is not there.
async fn ui_or_nothing(request: axum::extract::Request) -> axum::response::Response {
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
