//! The router over TLS.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::domain::network::networks::Networks;
use crate::http::input::drain::answer;
use crate::http::transport::origin::Transport;
use crate::http::transport::proxies::client_address;
use crate::tls::listener::accept::{ChargedTo, Connection, Listener, ListenerConfig};
use crate::tls::listener::refused::RefusedHandshakes;
use crate::tls::server_certificate::LiveCertificate;

/// Serves the router on a bound listener until `shutdown`, then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    certificate: Arc<LiveCertificate>,
    refused: Arc<RefusedHandshakes>,
    router: Router,
    trusted_proxies: Arc<Networks>,
    shutdown: CancellationToken,
) {
    let config = ListenerConfig::https(certificate, Arc::clone(&trusted_proxies));
    let connection = move |connection: Connection| {
        let router = router.clone();
        let trusted_proxies = Arc::clone(&trusted_proxies);
        let peer = connection.remote;
        let transport = Transport::Tls { peer };
        hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(transport);
            let client = client_address(&trusted_proxies, peer.ip(), request.headers());
            let answering = answer(router.clone(), request);
            async move {
                let mut response = answering.await;
                // What a proxy takes for its clients is theirs to pay.
                response.extensions_mut().insert(ChargedTo(client));
                Ok::<_, Infallible>(response)
            }
        })
    };
    Listener::new(listener, config.counting(refused)).serve(connection, shutdown).await;
}
