//! Connections of agents: gRPC over mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::load::https::trusting;
use crate::load::machines::Host;
use crate::load::server::Server;

/// Where an agent connects, and as whom.
#[derive(Clone)]
pub struct Dial {
    pub id: String,
    address: SocketAddr,
    tls: TlsConnector,
}

impl Dial {
    pub fn new(server: &Server, host: &Host) -> Self {
        Self::at(server.grpc, &server.ca, host)
    }

    /// To a server that is known by its address and its CA (PEM).
    pub fn at(address: SocketAddr, ca: &str, host: &Host) -> Self {
        let chain = CertificateDer::pem_slice_iter(host.svid.chain().as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::try_from(host.key.serialize_der()).expect("a key");
        let tls = trusting(ca).with_client_auth_cert(chain.expect("certificates"), key);
        let mut tls: ClientConfig = tls.expect("an identity");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { id: host.svid.agent_id.clone(), address, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// A connection.
    pub async fn connect(&self) -> AgentServiceClient<Channel> {
        self.try_connect().await.expect("a connection")
    }

    /// A connection, if somebody answers.
    pub async fn try_connect(&self) -> Option<AgentServiceClient<Channel>> {
        let Self { address, tls, .. } = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let tls = tls.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let stream = tls.connect(ServerName::from(address.ip()), tcp).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI");
        let channel = endpoint.connect_with_connector(connector).await.ok()?;
        Some(AgentServiceClient::new(channel))
    }
}
