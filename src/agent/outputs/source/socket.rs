//! The way to the provider's socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use crate::agent::workload::local_proto::local_service_client::LocalServiceClient;
use crate::agent::workload::proto::spiffe_workload_api_client::SpiffeWorkloadApiClient;

/// How long the socket's owner may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Largest answer that is read. Lists of a large fleet take a few MiB each.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to the provider.
#[derive(Debug, Clone)]
pub(crate) struct ProviderChannel(Channel);

impl ProviderChannel {
    /// Connects at once.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let socket: PathBuf = socket.to_owned();
        // The name is nobody's: it is the socket's path that counts.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT_WITHIN);
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await.map(Self)
    }

    pub(crate) fn workload(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(self.0.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn local(&self) -> LocalServiceClient<Channel> {
        LocalServiceClient::new(self.0.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// A request with the metadata that every call of the Workload API carries (SPIFFE Workload Endpoint 4.2).
pub(crate) fn workload_request<Message>(message: Message) -> Request<Message> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", tonic::metadata::MetadataValue::from_static("true"));
    request
}

/// A refusal in one sentence, for a log and a status.
pub(crate) fn refusal(status: &Status) -> String {
    let said = crate::domain::printable::printable(status.message(), 200);
    format!("{}: {said}", status.code().description())
}
