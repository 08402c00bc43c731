//! One attempt: the name is resolved once, what it came to is judged, and that is what is dialled. Redirects are not
//! followed, and of the answer nothing but its status is read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::webhook::receiver::{is_outside, is_outside_by_name};
use crate::domain::webhook::row::Webhook;
use crate::tls::client_config::receiver_client;
use crate::tls::server_verifier::TrustError;
use crate::webhook::signature::sign;

/// From the first look at the name to the status of the answer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(15);
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);
const DIALLED_WITHIN: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Longest head of an answer, in octets.
const HEAD_MAX: usize = 16 * 1024;

/// What is sent.
#[derive(Debug)]
pub struct Message {
    /// The same with each attempt, so that a receiver can tell a repetition.
    pub id: String,
    /// JSON.
    pub body: String,
}

/// Why it has not arrived.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It hears this one again: nothing is said of where it is.
    #[error("the receiver's name leads inside, where this webhook may not go")]
    Inside,
    #[error("the receiver's name cannot be resolved")]
    Name,
    #[error("nobody answers at the receiver's address")]
    Dial,
    #[error("what vouches for the receiver cannot be used")]
    Trust(#[from] TrustError),
    #[error("the TLS handshake with the receiver failed")]
    Tls(#[source] io::Error),
    #[error("the connection to the receiver broke")]
    Broken(#[source] hyper::Error),
    #[error("the receiver did not answer in time")]
    TooSlow,
    #[error("the receiver answered {0}; redirects are not followed")]
    Redirect(StatusCode),
    #[error("the receiver answered {0}")]
    Status(StatusCode),
}

impl SendError {
    /// What was answered, if anything was.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Redirect(status) | Self::Status(status) => Some(status.as_u16()),
            _ => None,
        }
    }

    /// Whether it is this one message that is refused, and another might be taken.
    pub fn is_of_the_message(&self) -> bool {
        matches!(self, Self::Status(status) if status.is_client_error()
            && !matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT))
    }
}

/// This machine's addresses, which lead where loopback does.
pub fn own_addresses() -> Vec<IpAddr> {
    if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect()
}

/// Sends a message once; the status of the answer. `own`: this machine's addresses.
pub async fn send(
    webhook: &Webhook,
    key: &[u8],
    message: &Message,
    now: Timestamp,
    own: &[IpAddr],
) -> Result<u16, SendError> {
    let resolve = async |host: &HostPort| match &host.host {
        HostName::Ip(ip) => Ok(vec![SocketAddr::new(*ip, host.port)]),
        HostName::Dns(name) => {
            tokio::net::lookup_host((name.as_str(), host.port)).await.map(Iterator::collect)
        }
    };
    send_by(webhook, key, message, now, own, resolve).await
}

async fn send_by(
    webhook: &Webhook,
    key: &[u8],
    message: &Message,
    now: Timestamp,
    own: &[IpAddr],
    resolve: impl AsyncFn(&HostPort) -> io::Result<Vec<SocketAddr>>,
) -> Result<u16, SendError> {
    let attempt = async {
        let addresses = judged(webhook, own, resolve).await?;
        let tcp = dial(&addresses).await?;
        let request = request(webhook, key, message, now);
        if !webhook.url.is_https() {
            return post(tcp, request).await;
        }
        let ca = webhook.ca_pem.clone();
        let config = tokio::task::spawn_blocking(move || receiver_client(ca.as_deref())).await;
        let config = config.map_err(|_| SendError::TooSlow)??;
        let name = match &webhook.url.host().host {
            HostName::Dns(name) => ServerName::try_from(name.clone()).map_err(|_| SendError::Name)?,
            HostName::Ip(ip) => ServerName::from(*ip),
        };
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(SendError::Tls)?;
        post(tls, request).await
    };
    timeout(ATTEMPT_WITHIN, attempt).await.unwrap_or(Err(SendError::TooSlow))
}

/// The addresses that may be dialled. One that may not be is reason enough to dial none: who answers so means no good.
async fn judged(
    webhook: &Webhook,
    own: &[IpAddr],
    resolve: impl AsyncFn(&HostPort) -> io::Result<Vec<SocketAddr>>,
) -> Result<Vec<SocketAddr>, SendError> {
    let host = webhook.url.host();
    if !webhook.may_go_inside && (!webhook.url.is_https() || !is_outside_by_name(&host.host, own)) {
        return Err(SendError::Inside);
    }
    let found = timeout(RESOLVED_WITHIN, resolve(host)).await.map_err(|_| SendError::TooSlow)?;
    let mut found = found.map_err(|_| SendError::Name)?;
    if found.is_empty() {
        return Err(SendError::Name);
    }
    if !webhook.may_go_inside && !found.iter().all(|address| is_outside(address.ip(), own)) {
        return Err(SendError::Inside);
    }
    found.truncate(ADDRESSES_MAX);
    Ok(found)
}

async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
    for address in addresses {
        if let Ok(Ok(stream)) = timeout(DIALLED_WITHIN, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(SendError::Dial)
}

fn request(webhook: &Webhook, key: &[u8], message: &Message, now: Timestamp) -> Request<Full<Bytes>> {
    let Message { id, body } = message;
    let seconds = now.as_second();
    let request = Request::post(webhook.url.path())
        .header(HOST, webhook.url.host().to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("muster/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", sign(key, id, seconds, body));
    request
        .body(Full::from(body.clone()))
        .expect("a path of printable ASCII and headers of ours make a request")
}

async fn post(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<u16, SendError> {
    let mut connecting = hyper::client::conn::http1::Builder::new();
    connecting.max_buf_size(HEAD_MAX);
    let (mut sender, connection) =
        connecting.handshake(TokioIo::new(stream)).await.map_err(SendError::Broken)?;
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(SendError::Broken)?;
    let status = answer.status();
    // However long its body is, nobody reads it.
    drop((answer, sender, connection));
    match status {
        status if status.is_success() => Ok(status.as_u16()),
        status if status.is_redirection() => Err(SendError::Redirect(status)),
        status => Err(SendError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::ids::WebhookId;
    use crate::domain::webhook::row::WebhookFormat;

    fn webhook(url: &str, may_go_inside: bool) -> Webhook {
        Webhook {
            id: WebhookId::new(Timestamp::UNIX_EPOCH, [0; 10]),
            tenant: None,
            url: url.parse().unwrap(),
            events: None,
            ca_pem: None,
            format: WebhookFormat::Json,
            may_go_inside,
            sealed_key: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn message() -> Message {
        Message { id: "msg_1".to_owned(), body: "{}".to_owned() }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_at_the_second_look_is_not_dialled() {
        let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = inside.local_addr().unwrap().port();
        let looks = AtomicUsize::new(0);
        // Nobody answers at the first one (RFC 5737).
        let answers = [vec![[192, 0, 2, 1]], vec![[127, 0, 0, 1]], vec![[192, 0, 2, 1], [127, 0, 0, 1]]];
        let resolve = async |host: &HostPort| {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            Ok(answers[look].iter().map(|ip| SocketAddr::new((*ip).into(), host.port)).collect())
        };
        let webhook = webhook(&format!("https://rebinding.example:{port}/"), false);
        let outside = judged(&webhook, &[], &resolve).await.unwrap();
        assert_eq!(outside, [SocketAddr::from(([192, 0, 2, 1], port))], "what was judged is dialled");
        for look in [2, 3] {
            let sent = send_by(&webhook, b"k", &message(), Timestamp::UNIX_EPOCH, &[], &resolve).await;
            assert!(matches!(sent, Err(SendError::Inside)), "{sent:?}");
            assert_eq!(looks.load(Ordering::SeqCst), look, "once for each attempt");
        }
        let nobody = timeout(Duration::from_millis(50), inside.accept()).await;
        assert!(nobody.is_err(), "nobody came");
    }

    #[tokio::test]
    async fn http_and_this_machine_are_for_people_of_no_tenant() {
        for url in ["http://192.0.2.1/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/"] {
            let sent = send(&webhook(url, false), b"k", &message(), Timestamp::UNIX_EPOCH, &[]).await;
            assert!(matches!(sent, Err(SendError::Inside)), "{url}: {sent:?}");
        }
    }
}
