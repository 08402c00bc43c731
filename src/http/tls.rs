//! The router over TLS.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::leftover::answer;
use super::transport::Transport;
use crate::tls::accept::{Connection, Listener, ListenerConfig};
use crate::tls::certificate::LiveCertificate;
use crate::tls::refused::RefusedHandshakes;

/// Serves the router on a bound listener until `shutdown`, then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    certificate: Arc<LiveCertificate>,
    refused: Arc<RefusedHandshakes>,
    router: Router,
    shutdown: CancellationToken,
) {
    let connection = move |connection: Connection| {
        let router = router.clone();
        let transport = Transport::Tls { peer: connection.remote };
        hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(transport);
            let answering = answer(router.clone(), request);
            async move { Ok::<_, Infallible>(answering.await) }
        })
    };
    Listener::new(listener, ListenerConfig::https(certificate).counting(refused))
        .serve(connection, shutdown)
        .await;
}
