//! One HTTPS request over one connection of the [`Dialer`]: HTTP/1.1, no redirects, nothing kept between two.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::agent::connect::dial::{DialError, Dialer};
use crate::agent::connect::server_url::ServerUrl;
use crate::domain::network::host_port::{HostName, HostPort};
use crate::tls::client_config::https_client;
use crate::tls::server_verifier::FirstContact;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server's name is not one that TLS can check")]
    Name,
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the server did not answer in time")]
    TooSlow,
}

/// A caller of one server.
pub struct HttpsCaller {
    pub server: ServerUrl,
    dialer: Arc<Dialer>,
    tls: Arc<ClientConfig>,
}

impl HttpsCaller {
    pub fn new(server: ServerUrl, contact: Arc<FirstContact>, dialer: Arc<Dialer>) -> Self {
        Self { server, dialer, tls: Arc::new(https_client(contact)) }
    }

    /// Sends a request whose address is a path, and waits for the head of the answer.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Response<Incoming>, HttpsError> {
        let host = self.server.host_port();
        let value = HeaderValue::try_from(host.to_string()).map_err(|_| HttpsError::Name)?;
        request.headers_mut().insert(HOST, value);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
        let answer = timeout(within, self.exchange(host, request)).await;
        answer.unwrap_or(Err(HttpsError::TooSlow))
    }

    async fn exchange(
        &self,
        host: &HostPort,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpsError> {
        let name = server_name(&host.host).ok_or(HttpsError::Name)?;
        let tcp = self.dialer.connect(host).await?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        let tls = timeout(HANDSHAKE_WITHIN, tls).await.map_err(|_| HttpsError::TooSlow)?;
        let tls = TokioIo::new(tls.map_err(HttpsError::Tls)?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(tls).await.map_err(HttpsError::Broken)?;
        // Ends when the answer has been read or dropped, because nothing else is sent.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(HttpsError::Broken)
    }
}

/// A host as TLS checks it.
pub(crate) fn server_name(host: &HostName) -> Option<ServerName<'static>> {
    match host {
        HostName::Dns(name) => ServerName::try_from(name.clone()).ok(),
        HostName::Ip(ip) => Some(ServerName::from(*ip)),
    }
}

impl std::fmt::Debug for HttpsCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpsCaller").field("server", &self.server).finish_non_exhaustive()
    }
}
