//! The agent CA and its revocation lists without TLS (RFC 5280 8): who checks a certificate's list can't check the server's that
//! has it. All of it is public, and signed by whom it is about.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::input::drain::answer;
use crate::http::problem::Problem;
use crate::http::transport::origin::Transport;
use crate::tls::listener::accept::{Connection, Listener, ListenerConfig};

/// What is served here, by its address, and below the last one.
const DOCUMENTS: [&str; 4] = ["/agent-ca.crt", "/agent-ca-root.crt", "/agent-ca.crl", "/agent-ca.crl.pem"];
const LISTS: &str = "/agent-ca/crl/";

/// Serves on a bound listener until `shutdown`, then lets open requests finish.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connection = move |connection: Connection| {
        let router = router.clone();
        let transport = Transport::Plain { peer: connection.remote };
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(transport);
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(match refused(&request) {
                    Some(refused) => refused,
                    None => answer(router, request).await,
                })
            }
        })
    };
    Listener::new(listener, ListenerConfig::lists()).serve(connection, shutdown).await;
}

/// The answer to whatever is not asked for here.
fn refused(request: &Request<Incoming>) -> Option<Response<Body>> {
    let path = request.uri().path();
    let of_one = path.strip_prefix(LISTS).is_some_and(|file| !file.is_empty() && !file.contains('/'));
    if !of_one && !DOCUMENTS.contains(&path) {
        return Some(
            Problem::not_found("Only the agent CA and its revocation lists are served here.").into_response(),
        );
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut refused = Problem::method_not_allowed().into_response();
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    Some(refused)
}
