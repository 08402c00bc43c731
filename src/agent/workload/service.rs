//! The calls of the Workload API.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use tracing::info;

use super::Offered;
use super::authority::{CallerProcess, WorkloadCaller};
use super::jwt::JwtDesk;
use super::proto::spiffe_workload_api_server::SpiffeWorkloadApi;
use super::proto::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use crate::agent::trust::shared::SharedTrust;
use crate::agent::trust::state::TrustState;
use crate::domain::identity::spiffe::SpiffeId;

/// Metadata that every call must carry, so that a program which can be made to send requests to addresses of
/// somebody's choice can't be made to fetch an SVID (SPIFFE Workload Endpoint, section on the static header).
const HEADER: &str = "workload.spiffe.io";

/// How long the first answer of a stream waits for revocation lists that the server is being asked for.
const FIRST_LISTS_WITHIN: Duration = Duration::from_secs(1);

/// Answers from what the agent offers.
#[derive(Debug)]
pub(crate) struct WorkloadApi {
    offered: watch::Receiver<Option<Offered>>,
    trust: SharedTrust,
    jwt: Arc<JwtDesk>,
}

impl WorkloadApi {
    pub(crate) const fn new(
        offered: watch::Receiver<Option<Offered>>,
        trust: SharedTrust,
        jwt: Arc<JwtDesk>,
    ) -> Self {
        Self { offered, trust, jwt }
    }

    /// Whether a caller may have what is offered, which is then whose identity it is.
    fn admitted(&self, call: &'static str, request: &Request<impl Sized>) -> Result<SpiffeId, Status> {
        if request.metadata().get(HEADER).is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument(format!("the metadata {HEADER}: true is missing")));
        }
        let CallerProcess { uid, gid, pid } = WorkloadCaller::admitted(request)?;
        let id = self.offered.borrow().as_ref().map(|offered| offered.spiffe_id().clone());
        info!(call, uid, gid, pid, served = id.is_some(), "Workload API");
        id.ok_or_else(|| Status::permission_denied("this machine has no identity that is in force"))
    }

    /// What is offered now and from now on, to a caller that may have it.
    async fn stream<Message: 'static>(
        &self,
        call: &'static str,
        request: &Request<impl Sync>,
        as_message: fn(&Offered, Option<&TrustState>) -> Message,
    ) -> Result<Response<MessageStream<Message>>, Status> {
        self.admitted(call, request)?;
        // While there is nothing to give, an open stream waits.
        let (offered, trust) = (self.offered.clone(), self.trust.clone());
        let lists_wanted = trust.lists_wanted();
        trust.first_lists(FIRST_LISTS_WITHIN).await;
        let identities = WatchStream::new(offered.clone()).map(|_| ());
        let documents = WatchStream::from_changes(trust.document_changes()).map(|_| ());
        let messages = identities.merge(documents).filter_map(move |()| {
            let _ = &lists_wanted;
            let offered = offered.borrow();
            offered.as_ref().map(|offered| Ok(as_message(offered, trust.read().as_ref())))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

type MessageStream<Message> = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = MessageStream<X509svidResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.stream("FetchX509SVID", &request, Offered::svid).await
    }

    type FetchX509BundlesStream = MessageStream<X509BundlesResponse>;

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.stream("FetchX509Bundles", &request, Offered::bundles).await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let own = self.admitted("FetchJWTSVID", &request)?.to_string();
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if !spiffe_id.is_empty() && spiffe_id != own {
            return Err(Status::permission_denied(format!("this machine's identity is {own} and no other")));
        }
        let svid = self.jwt.token(audience).await?;
        let svid = Jwtsvid { spiffe_id: own, svid, hint: String::new() };
        Ok(Response::new(JwtsvidResponse { svids: vec![svid] }))
    }

    type FetchJWTBundlesStream = MessageStream<JwtBundlesResponse>;

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let domain = self.admitted("FetchJWTBundles", &request)?.trust_domain.id();
        let newest = WatchStream::new(self.jwt.bundles().await?);
        let messages = newest.filter_map(move |bundle| {
            let bundles = [(domain.clone(), bundle?.jwks.clone())].into();
            Some(Ok(JwtBundlesResponse { bundles }))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let own = self.admitted("ValidateJWTSVID", &request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        let (id, claims) = self.jwt.validate(&own, &audience, &svid).await?;
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: id.to_string(), claims: Some(claims) }))
    }
}
