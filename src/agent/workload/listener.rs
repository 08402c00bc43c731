//! The socket of the Workload API, and who is served on it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::{debug, warn};

use super::authority::FixAuthority;
use super::jwt::JwtDesk;
use super::local_proto::local_service_server::LocalServiceServer;
use super::local_service::LocalApi;
use super::proto::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use super::sds::{SecretDiscovery, SecretDiscoveryServiceServer};
use super::service::WorkloadApi;
use super::{Offered, health};
use crate::agent::local_socket::{ListenError, LocalSocket, SocketPurpose};
use crate::agent::run::reports::PendingReports;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::workload::connection_limit::ConnectionLimit;

/// For the user and the group that the agent runs as.
const SOCKET_MODE: u32 = 0o660;
/// Calls at a time on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 16;
/// Largest request that is read: one that has a JWT-SVID and what it is for.
const REQUEST_BYTES_MAX: usize = 24 * 1024;
/// The same of secret discovery: Envoy says what it is made of, in a few dozen KiB.
const DISCOVERY_BYTES_MAX: usize = 256 * 1024;
/// The same of the health service.
const HEALTH_BYTES_MAX: usize = 4 * 1024;
/// How long to wait when a connection can't be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is served.
#[derive(Debug)]
pub struct WorkloadParts {
    pub offered: watch::Receiver<Option<Offered>>,
    pub(crate) trust: SharedTrust,
    pub(crate) jwt: Arc<JwtDesk>,
    pub(crate) reports: Arc<PendingReports>,
}

/// The open socket. It is removed with this value.
#[derive(Debug)]
pub struct WorkloadListener(LocalSocket);

impl WorkloadListener {
    /// Opens the socket in place of one that an agent of this user has left behind.
    pub fn open(path: &Path) -> Result<Self, ListenError> {
        LocalSocket::open(SocketPurpose::WorkloadApi, path, SOCKET_MODE, None).map(Self)
    }

    /// Answers callers until `stop`.
    pub(crate) async fn serve(self, parts: WorkloadParts, guests: ConnectionLimit, stop: CancellationToken) {
        let WorkloadParts { offered, trust, jwt, reports } = parts;
        let (accepted, incoming) = mpsc::channel(1);
        let (reporter, health) = tonic_health::server::health_reporter();
        let health = health.max_decoding_message_size(HEALTH_BYTES_MAX);
        let secrets = SecretDiscoveryServiceServer::new(SecretDiscovery::new(offered.clone(), trust.clone()))
            .max_decoding_message_size(DISCOVERY_BYTES_MAX);
        let local = LocalServiceServer::new(LocalApi::new(trust.clone(), reports))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let api = SpiffeWorkloadApiServer::new(WorkloadApi::new(offered.clone(), trust, Arc::clone(&jwt)))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let server = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .add_service(api)
            .add_service(health)
            .add_service(secrets)
            .add_service(local)
            .serve_with_incoming(ReceiverStream::new(incoming));
        tokio::select! {
            // Open streams end with their connections.
            () = stop.cancelled() => {}
            () = self.accept(&guests, accepted) => {}
            () = health::report(reporter, offered) => {}
            () = jwt.run() => {}
            served = server => if let Err(error) = served {
                warn!(error = &error as &dyn std::error::Error, "the Workload API ended");
            }
        }
    }

    async fn accept(&self, guests: &ConnectionLimit, accepted: mpsc::Sender<io::Result<FixAuthority>>) {
        loop {
            let stream = match self.0.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    debug!(%error, "a connection to the Workload API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            let Some(guest) = guests.welcome(peer.uid()) else { continue };
            if accepted.send(Ok(FixAuthority::new(stream, guest))).await.is_err() {
                return;
            }
        }
    }
}
