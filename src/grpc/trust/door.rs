//! The agent service with `WatchTrust` in front: its answers are bytes that all watchers share, which the generated service
//! can't send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::server::NamedService;
use tonic::{Status, Streaming};
use tower::Service;

use super::hub::TrustHub;
use super::watch::TrustWatch;
use crate::grpc::codec::SmallBuffers;
use crate::grpc::gate::Gate;
use crate::grpc::proto::agent_service_server::AgentServiceServer;
use crate::grpc::proto::{TrustUpdate, WatchTrustRequest};
use crate::grpc::service::AgentApi;
use crate::grpc::status::AgentRefusal;
use crate::tls::listener::accept::SharedBody;
use crate::tls::live::LivePeer;

const WATCH_TRUST: &str = "/muster.agent.v1.AgentService/WatchTrust";
/// Largest request. A real one has 46 octets.
const REQUEST_MAX: usize = 1024;
/// How long a request may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// Answers `WatchTrust`, and hands everything else to the generated service.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct AgentDoor {
    pub(in crate::grpc) agents: AgentServiceServer<AgentApi>,
    pub(in crate::grpc) watchers: TrustDoor,
}

#[derive(Debug, Clone)]
pub(in crate::grpc) struct TrustDoor {
    hub: Arc<TrustHub>,
    gate: Gate,
}

impl NamedService for AgentDoor {
    const NAME: &'static str = AgentServiceServer::<AgentApi>::NAME;
}

impl Service<Request<Body>> for AgentDoor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != WATCH_TRUST {
            return self.agents.call(request);
        }
        let watchers = self.watchers.clone();
        Box::pin(async move { Ok(watchers.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}

impl TrustDoor {
    pub(in crate::grpc) const fn new(hub: Arc<TrustHub>, gate: Gate) -> Self {
        Self { hub, gate }
    }

    /// The gate has let the agent through.
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let peer = request.extensions().get::<Arc<LivePeer>>().cloned().ok_or(AgentRefusal::NoIdentity)?;
        let open = self.hub.watches.open(peer.identity().host()).ok_or(AgentRefusal::TooManyWatches)?;
        let asked = timeout(REQUEST_WITHIN, asked(request)).await.map_err(|_| AgentRefusal::TooSlow)??;
        let watch = TrustWatch::new(self.hub, self.gate, peer, open, &asked);
        let mut response = Response::new(Body::new(watch));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.extensions_mut().insert(SharedBody);
        Ok(response)
    }
}

async fn asked(request: Request<Body>) -> Result<WatchTrustRequest, Status> {
    let decoder = SmallBuffers::<TrustUpdate, WatchTrustRequest>::default().decoder();
    let mut requests = Streaming::new_request(decoder, request.into_body(), None, Some(REQUEST_MAX));
    requests.message().await?.ok_or_else(|| Status::invalid_argument("the request is missing"))
}
