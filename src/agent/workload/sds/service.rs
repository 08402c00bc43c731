//! The calls of the secret discovery service, as the xDS protocol has them: the state of the world, version by version.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use super::proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use super::secrets::{Secrets, TYPE_URL};
use crate::agent::enroll::requests::REFUSAL_CHARS_MAX;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::workload::Offered;
use crate::agent::workload::authority::{CallerProcess, WorkloadCaller};
use crate::domain::printable::printable;

/// How long a single answer waits for revocation lists, where there are to be some. A stream is told when they are there.
const FIRST_LISTS_WITHIN: Duration = Duration::from_secs(2);
/// Names in one request, and characters of each.
const NAMES_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 512;

/// Answers from what the agent offers. Envoy sends no static header, so none is asked for.
#[derive(Debug)]
pub(crate) struct SecretDiscovery {
    offered: watch::Receiver<Option<Offered>>,
    trust: SharedTrust,
}

/// What a stream has been asked for and was told.
#[derive(Debug, Default)]
struct Subscription {
    names: Vec<String>,
    nonce: u64,
    /// Of the last response; empty before there was one.
    version: String,
    /// A complaint has been logged.
    complained: bool,
    /// It has been logged that lists are waited for.
    waits: bool,
}

impl SecretDiscovery {
    pub(crate) const fn new(offered: watch::Receiver<Option<Offered>>, trust: SharedTrust) -> Self {
        Self { offered, trust }
    }
}

/// Refuses whoever has too many connections, and notes who asks.
fn admitted<T>(call: &'static str, request: &Request<T>) -> Result<(), Status> {
    let CallerProcess { uid, gid, pid } = WorkloadCaller::admitted(request)?;
    info!(call, uid, gid, pid, "secret discovery");
    Ok(())
}

fn judge(request: &DiscoveryRequest) -> Result<(), Status> {
    if !request.type_url.is_empty() && request.type_url != TYPE_URL {
        return Err(Status::invalid_argument(format!("here are resources of the type {TYPE_URL} alone")));
    }
    let long = |name: &String| name.chars().count() > NAME_CHARS_MAX;
    if request.resource_names.len() > NAMES_MAX || request.resource_names.iter().any(long) {
        return Err(Status::invalid_argument("a request names at most 16 resources, of 512 characters each"));
    }
    Ok(())
}

impl Subscription {
    /// Takes a request; whether it wants an answer.
    fn take(&mut self, request: DiscoveryRequest) -> Result<bool, Status> {
        judge(&request)?;
        if self.nonce > 0 && request.response_nonce != self.nonce.to_string() {
            // About an older response; the one about the newest follows.
            return Ok(false);
        }
        if let Some(error) = request.error_detail {
            let said = printable(&error.message, REFUSAL_CHARS_MAX);
            warn!(error = said, "a client does not accept its secrets; it is told of the next change");
        }
        let another = self.nonce == 0 || request.resource_names != self.names;
        self.names = request.resource_names;
        Ok(another)
    }

    /// What there is of what was asked for, if it is to be told. A name that there is not is not answered: a client waits
    /// for it, and others are not disturbed.
    fn answer(&mut self, secrets: &Secrets<'_>, asked: bool) -> Option<DiscoveryResponse> {
        let unknown = self.names.iter().find(|name| !secrets.knows(name));
        if let Some(name) = unknown.filter(|_| !std::mem::replace(&mut self.complained, true)) {
            let name = printable(name, REFUSAL_CHARS_MAX);
            let there_are = "default, ROOTCA, the agent's SPIFFE id and the trust domain's id";
            warn!(name, there_are, "a client asks for a secret that there is not");
        }
        let waiting = self.names.iter().find(|name| secrets.awaits_lists(name));
        if let Some(name) = waiting.filter(|_| !std::mem::replace(&mut self.waits, true)) {
            info!(name, "a client is told the roots when the server has told the revocation lists");
        }
        let version = secrets.version();
        if !asked && version == self.version {
            return None;
        }
        let resources = secrets.resources(&self.names);
        if resources.is_empty() {
            return None;
        }
        self.nonce += 1;
        self.version.clone_from(&version);
        let (type_url, nonce) = (TYPE_URL.to_owned(), self.nonce.to_string());
        Some(DiscoveryResponse { version_info: version, resources, type_url, nonce })
    }
}

/// Serves one stream until the client ends it, or the agent.
async fn serve(
    mut requests: Streaming<DiscoveryRequest>,
    mut offered: watch::Receiver<Option<Offered>>,
    trust: SharedTrust,
    told: tokio::sync::mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut subscription = Subscription::default();
    let mut documents = trust.document_changes();
    // Envoy takes lists for as long as it listens here.
    let _lists_wanted = trust.lists_wanted();
    loop {
        let asked = tokio::select! {
            request = requests.next() => match request {
                Some(Ok(request)) => subscription.take(request),
                // One that is too large, say. Who has gone does not hear it.
                Some(Err(status)) => Err(status),
                None => return,
            },
            changed = offered.changed() => match changed {
                Ok(()) => Ok(false),
                Err(_) => return,
            },
            _ = documents.changed() => Ok(false),
            () = told.closed() => return,
        };
        let answer = match asked {
            Ok(asked) => {
                // What was not there yet when it was asked for is still wanted.
                let first = subscription.version.is_empty() && !subscription.names.is_empty();
                let offered = offered.borrow_and_update();
                let trust = trust.read();
                let secrets = offered.as_ref().map(|offered| Secrets::of(offered, trust.as_ref()));
                secrets.and_then(|secrets| subscription.answer(&secrets, asked || first)).map(Ok)
            }
            Err(status) => Some(Err(status)),
        };
        let Some(answer) = answer else { continue };
        let refused = answer.is_err();
        // A client that reads nothing is not read from either.
        if told.send(answer).await.is_err() || refused {
            return;
        }
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for SecretDiscovery {
    type DeltaSecretsStream = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("secrets come by StreamSecrets: leave api_type at GRPC"))
    }

    type StreamSecretsStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        admitted("StreamSecrets", &request)?;
        let (told, answers) = tokio::sync::mpsc::channel(1);
        tokio::spawn(serve(request.into_inner(), self.offered.clone(), self.trust.clone(), told));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        admitted("FetchSecrets", &request)?;
        let request = request.into_inner();
        judge(&request)?;
        let _lists_wanted = self.trust.lists_wanted();
        self.trust.first_lists(FIRST_LISTS_WITHIN).await;
        let offered = self.offered.borrow();
        let offered = offered
            .as_ref()
            .ok_or_else(|| Status::permission_denied("this machine has no identity that is in force"))?;
        let trust = self.trust.read();
        let secrets = Secrets::of(offered, trust.as_ref());
        if request.resource_names.iter().any(|name| secrets.awaits_lists(name)) {
            return Err(Status::unavailable("the server has told no revocation lists yet; ask again"));
        }
        let resources = secrets.resources(&request.resource_names);
        if resources.is_empty() {
            return Err(Status::not_found(
                "there are default, ROOTCA, the agent's SPIFFE id and the trust domain's id",
            ));
        }
        let (version_info, type_url) = (secrets.version(), TYPE_URL.to_owned());
        Ok(Response::new(DiscoveryResponse { version_info, resources, type_url, nonce: String::new() }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use jiff::Timestamp;
    use prost::Message;

    use super::*;
    use crate::agent::trust::state::TrustState;
    use crate::agent::workload::sds::proto::envoy::extensions::transport_sockets::tls::v3::Secret;
    use crate::agent::workload::sds::proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
    use crate::agent::workload::sds::proto::google::rpc;

    const ID: &str = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";

    fn request(names: &[&str], nonce: &str) -> DiscoveryRequest {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        DiscoveryRequest { resource_names, response_nonce: nonce.to_owned(), ..DiscoveryRequest::default() }
    }

    /// What the server has told, with a list or without.
    fn trust(lists: &[&[u8]]) -> TrustState {
        TrustState {
            epoch: "1".to_owned(),
            version: 1,
            roots: vec![b"root".to_vec()],
            intermediates: Vec::new(),
            denied: HashMap::new(),
            denied_ids: HashSet::new(),
            lists: lists.iter().map(|list| list.to_vec()).collect(),
            confirmed_at: Timestamp::UNIX_EPOCH,
            forgotten_before: Timestamp::UNIX_EPOCH,
        }
    }

    /// What a stream would be told to a request.
    fn told(
        subscription: &mut Subscription,
        offered: &Offered,
        request: DiscoveryRequest,
    ) -> Option<DiscoveryResponse> {
        let asked = subscription.take(request).unwrap();
        subscription.answer(&Secrets::of(offered, Some(&trust(&[b"list"]))), asked)
    }

    fn secrets(response: &DiscoveryResponse) -> Vec<(String, bool)> {
        let read = |any: &prost_types::Any| {
            let secret = Secret::decode(&any.value[..]).unwrap();
            (secret.name, matches!(secret.r#type, Some(Type::TlsCertificate(_))))
        };
        response.resources.iter().map(read).collect()
    }

    #[test]
    fn each_name_has_its_secret_and_an_accepted_one_is_not_sent_again() {
        let (first, second) = (Offered::specimen(ID, "1"), Offered::specimen(ID, "2"));
        for (name, is_certificate) in
            [("default", true), (ID, true), ("ROOTCA", false), ("spiffe://muster", false)]
        {
            let stream = &mut Subscription::default();
            let response = told(stream, &first, request(&[name], "")).unwrap();
            assert_eq!(secrets(&response), [(name.to_owned(), is_certificate)]);
            assert_eq!((response.nonce.as_str(), response.type_url.as_str()), ("1", TYPE_URL));
            assert!(told(stream, &first, request(&[name], "1")).is_none(), "accepted");
            let trust = trust(&[b"list"]);
            assert!(
                stream.answer(&Secrets::of(&first, Some(&trust)), false).is_none(),
                "nothing has changed"
            );
            let changed = stream.answer(&Secrets::of(&second, Some(&trust)), false).unwrap();
            assert!(changed.version_info != response.version_info && changed.nonce == "2");
            assert!(told(stream, &second, request(&["other"], "1")).is_none(), "about an older response");
            let error_detail = Some(rpc::Status { code: 3, message: "no\u{1b}[2J".to_owned() });
            let refused = DiscoveryRequest { error_detail, ..request(&[name], "2") };
            assert!(told(stream, &second, refused).is_none(), "the same is not sent again to who refuses it");
            let next = stream.answer(&Secrets::of(&first, Some(&trust)), false);
            assert!(next.is_some(), "the next change is");
        }
    }

    #[test]
    fn roots_wait_for_lists_and_certificates_do_not() {
        let offered = Offered::specimen(ID, "1");
        for name in ["ROOTCA", "spiffe://muster"] {
            for before in [None, Some(trust(&[]))] {
                let stream = &mut Subscription::default();
                assert!(stream.take(request(&[name], "")).unwrap());
                assert!(stream.answer(&Secrets::of(&offered, before.as_ref()), true).is_none());
                let lists = stream.answer(&Secrets::of(&offered, Some(&trust(&[b"list"]))), false).unwrap();
                assert_eq!(secrets(&lists), [(name.to_owned(), false)]);
            }
            let stream = &mut Subscription::default();
            assert!(stream.take(request(&["default", name], "")).unwrap());
            let first = stream.answer(&Secrets::of(&offered, None), true).unwrap();
            assert_eq!(secrets(&first), [("default".to_owned(), true)]);
            let both = stream.answer(&Secrets::of(&offered, Some(&trust(&[b"list"]))), false).unwrap();
            assert_eq!(secrets(&both), [("default".to_owned(), true), (name.to_owned(), false)]);
        }
    }

    #[test]
    fn an_unknown_name_waits_and_the_others_are_answered() {
        let offered = Offered::specimen(ID, "1");
        let stream = &mut Subscription::default();
        assert!(told(stream, &offered, request(&["nobody"], "")).is_none());
        assert!(told(stream, &offered, request(&[], "")).is_none());
        let response = told(stream, &offered, request(&["nobody", "default"], "")).unwrap();
        assert_eq!(secrets(&response), [("default".to_owned(), true)]);
        let other = ID.replace("web-1", "web-2");
        assert!(told(stream, &offered, request(&[&other], "1")).is_none(), "another agent's id");
    }

    #[test]
    fn requests_are_bounded() {
        let long = "x".repeat(513);
        for bad in [
            request(&["default"; 17], ""),
            request(&[&long], ""),
            DiscoveryRequest {
                type_url: "type.googleapis.com/other".to_owned(),
                ..request(&["default"], "")
            },
        ] {
            let refused = Subscription::default().take(bad).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
        assert!(Subscription::default().take(request(&["default"; 16], "")).unwrap());
    }
}
