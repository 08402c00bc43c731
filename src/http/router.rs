//! The one router: routes, the document, the web UI, and what holds for every answer.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::domain::network::host_port::HostName;
use crate::http::document::Document;
use crate::http::problem::Problem;
use crate::http::transport::origin::Transport;
use crate::http::ui::UiAnswer;
use crate::http::{Shared, ui};
use crate::request_id::{RequestId, done_for};

/// The longest that the head of an answer may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Every route there is, and the document that describes them.
pub fn router(shared: Shared) -> Router {
    let (open, open_operations) = crate::http::routes::table::open().into_parts();
    let (api, api_operations) = crate::http::routes::table::api().into_parts();
    let description =
        crate::http::openapi::document::document(&[("", &open_operations), ("/v1", &api_operations)]);
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
        .layer(axum::middleware::from_fn_with_state(shared.clone(), named))
        .with_state(shared)
}

/// Gives the request a name, which the answer, a refusal and every line of the log have.
pub(crate) async fn named(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    let mut answer = done_for(Some(id), next.run(request)).await;
    shared.answers.note(answer.status().as_u16(), answer.extensions().get().copied());
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert("x-request-id", value);
    }
    answer
}

/// Gives up on an answer that takes too long.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::unavailable().into_response())
}

/// A request over HTTP/1.1 names one host (RFC 9112 3.2), and none names two: who stands in front of this server
/// might read the other one.
pub(crate) async fn one_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    let transport = request.extensions().get();
    let from_afar = matches!(transport, Some(Transport::Tls { .. } | Transport::Plain { .. }));
    let must_name_one = from_afar && request.version() == Version::HTTP_11;
    if hosts > 1 || (must_name_one && hosts == 0) {
        return Problem::bad_request("A request names exactly one host.").into_response();
    }
    next.run(request).await
}

/// `OPTIONS` asks which methods an address takes (RFC 9110 9.3.7). Routes know, and say so when they refuse one.
pub(crate) async fn options(request: Request, next: Next) -> Response {
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
/// which are other servers; and not without TLS, where it means nothing (RFC 6797 7.2).
pub(crate) async fn strict_transport(request: Request, next: Next) -> Response {
    let asked = crate::http::input::extract::asked_for(request.headers(), request.uri());
    let plain = matches!(request.extensions().get(), Some(Transport::Plain { .. }));
    let insists = !plain
        && asked.is_some_and(|asked| matches!(asked.host, HostName::Dns(_)) && !asked.host.is_loopback());
    let mut answer = next.run(request).await;
    if insists {
        let value = HeaderValue::from_static("max-age=31536000");
        answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    answer
}

/// What no route takes belongs to the web UI, or is not there.
pub(crate) async fn ui_or_nothing(request: Request) -> Response {
    match ui::serve(&request) {
        UiAnswer::File(answer) => answer,
        UiAnswer::OtherMethod => {
            ([(header::ALLOW, "GET,HEAD")], Problem::method_not_allowed()).into_response()
        }
        UiAnswer::Nothing => Problem::not_found("There is nothing at this address.").into_response(),
    }
}

/// For everything that is not a page: nothing may be loaded by it. The UI's page brings its own.
pub(crate) const CSP: &str =
    "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sets a header unless the handler has chosen its own value.
pub(crate) fn unless_set(
    name: &'static str,
    value: &'static str,
) -> SetResponseHeaderLayer<axum::http::HeaderValue> {
    SetResponseHeaderLayer::if_not_present(
        axum::http::HeaderName::from_static(name),
        axum::http::HeaderValue::from_static(value),
    )
}
