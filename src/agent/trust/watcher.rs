//! Watches what the server tells of trust, beside a session and on its connection, for as long as somebody wants it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::agent::enroll::requests::REFUSAL_CHARS_MAX;
use crate::agent::run::backoff::Backoff;
use crate::agent::trust::shared::{SharedTrust, TrustWanted};
use crate::agent::trust::state::Applied;
use crate::agent::trust::update::{TrustUpdateError, UpdateReader};
use crate::clock;
use crate::domain::printable::printable;
use crate::grpc::proto::agent_service_client::AgentServiceClient;
use crate::grpc::proto::{TrustUpdate, WatchTrustRequest};

/// Largest message that is read: one revocation list, if there are very many entries, and the rest of a piece.
const MESSAGE_BYTES_MAX: usize = 66 << 20;
/// How long the server may take to answer the call.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The server says something every 30 seconds; after so long it is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(95);
/// The waits after a watch that failed.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long lists are still asked for that nobody wants any more: many programs ask and go.
const LISTS_LINGER: Duration = Duration::from_secs(60);

const OLDER_SERVER: &str = "the server is of a version that tells no trust updates; update it";

/// Why a watch ended.
enum Left {
    /// Something else is wanted now.
    Otherwise,
    /// The server does not know such watches.
    Unknown,
    Broken(String),
    /// What the server told can't be used.
    Unusable(TrustUpdateError),
}

/// Watches for as long as it is polled.
pub(crate) async fn watch(trust: &SharedTrust, client: AgentServiceClient<Channel>) -> Infallible {
    watch_with(trust, client, Backoff::new(AGAIN.0, AGAIN.1)).await
}

async fn watch_with(
    trust: &SharedTrust,
    client: AgentServiceClient<Channel>,
    mut backoff: Backoff,
) -> Infallible {
    let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut wanted = trust.wanted();
    let mut anew = false;
    let _attended = trust.attended();
    loop {
        // The sender lives as long as `trust`.
        let wants = wanted.wait_for(|wanted| wanted.any()).await.map(|wanted| *wanted).unwrap_or_default();
        let request = request(trust, std::mem::take(&mut anew), wants);
        match follow(trust, &mut client, &mut wanted, request, &mut backoff).await {
            Left::Otherwise => continue,
            Left::Unknown => {
                info!(reason = OLDER_SERVER, "no trust updates");
                trust.withdraw(OLDER_SERVER);
                return std::future::pending().await;
            }
            Left::Broken(reason) => debug!(reason, "a watch of trust ended"),
            Left::Unusable(error) => {
                let what = format!("a trust update of the server can't be used: {error}");
                warn!(reason = what, "what was known stays in force");
                trust.set_trouble(Some(what));
                anew = true;
            }
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn request(trust: &SharedTrust, anew: bool, wants: TrustWanted) -> WatchTrustRequest {
    let has = if anew { None } else { trust.resume() };
    let (epoch, version) = has.unwrap_or_default();
    WatchTrustRequest { epoch, version, lists: wants.lists(), answers: wants.answers() }
}

async fn follow(
    trust: &SharedTrust,
    client: &mut AgentServiceClient<Channel>,
    wanted: &mut watch::Receiver<TrustWanted>,
    request: WatchTrustRequest,
    backoff: &mut Backoff,
) -> Left {
    let WatchTrustRequest { lists: with_lists, answers: with_answers, .. } = request;
    let mut updates = match timeout(ANSWER_WITHIN, client.watch_trust(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return left(&status),
        Err(_) => return Left::Broken("no answer in time".to_owned()),
    };
    let _watching = trust.watching();
    let mut reader = UpdateReader::default();
    let mut unwanted_since = None;
    let mut lists_current = None;
    loop {
        let linger = unwanted_since.map(|since| since + LISTS_LINGER);
        tokio::select! {
            message = timeout(SILENCE_MAX, updates.message()) => match message {
                Ok(Ok(Some(update))) => match take(trust, &mut reader, update).await {
                    // One that is refused at its end would be asked for again at once, by every agent.
                    Ok(Some(had_lists)) => {
                        backoff.reset();
                        if had_lists && with_lists && lists_current.is_none() {
                            lists_current = Some(trust.lists_current());
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return Left::Unusable(error),
                },
                Ok(Ok(None)) => return Left::Broken("the server ended it".to_owned()),
                Ok(Err(status)) => return left(&status),
                Err(_) => return Left::Broken("the server has fallen silent".to_owned()),
            },
            _ = wanted.changed() => {
                let wanted = *wanted.borrow_and_update();
                let too_little = wanted.lists() && !with_lists || wanted.answers() && !with_answers;
                if !wanted.any() || too_little {
                    return ended(updates);
                }
                let unwanted = with_lists && !wanted.lists();
                unwanted_since = unwanted.then(|| unwanted_since.unwrap_or_else(clock::timer));
            }
            () = sleep_until(linger.unwrap_or_else(clock::timer)), if linger.is_some() => return ended(updates),
        }
    }
}

/// The server must see this one end before the next begins, so it is dropped here.
fn ended(updates: Streaming<TrustUpdate>) -> Left {
    drop(updates);
    Left::Otherwise
}

/// Takes a piece of an update. If that was the last one: whether the update had lists.
async fn take(
    trust: &SharedTrust,
    reader: &mut UpdateReader,
    update: TrustUpdate,
) -> Result<Option<bool>, TrustUpdateError> {
    let Some(whole) = reader.take(update)? else { return Ok(None) };
    let (snapshot, version, denied) = (whole.snapshot, whole.version, whole.denied.len());
    let had_lists = !whole.lists.is_empty();
    let shared = trust.clone();
    // What is not applied because the agent ends is asked for by the next one.
    let applied =
        spawn_blocking(move || shared.apply(whole)).await.unwrap_or(Err(TrustUpdateError::NoBase))?;
    trust.set_trouble(None);
    if applied == Applied::Changed {
        info!(snapshot, version, denied, "the server has told a change of trust");
    }
    Ok(Some(had_lists))
}

fn left(status: &Status) -> Left {
    match status.code() {
        Code::Unimplemented => Left::Unknown,
        code => Left::Broken(printable(&format!("{code:?}: {}", status.message()), REFUSAL_CHARS_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper_util::rt::TokioIo;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::transport::{Endpoint, Server};
    use tonic::{Request, Response};

    use super::*;
    use crate::agent::trust::server_clock::tests::SetClocks;
    use crate::agent::trust::update::tests::{authority, update};
    use crate::grpc::proto::agent_service_server::{AgentService, AgentServiceServer};
    use crate::grpc::proto::{
        HeartbeatRequest, HeartbeatResponse, RenewRequest, RenewResponse, ReportRequest, ReportResponse,
        SessionRequest, SessionResponse, SignJwtRequest, SignJwtResponse,
    };

    /// Tells updates that break off at their end, and counts how often it is asked.
    struct BrokenServer(Arc<AtomicUsize>);

    type Answers<T> = ReceiverStream<Result<T, Status>>;

    #[tonic::async_trait]
    impl AgentService for BrokenServer {
        type WatchTrustStream = Answers<TrustUpdate>;
        type SessionStream = Answers<SessionResponse>;

        async fn watch_trust(
            &self,
            _: Request<WatchTrustRequest>,
        ) -> Result<Response<Self::WatchTrustStream>, Status> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let (tell, told) = tokio::sync::mpsc::channel(2);
            let snapshot =
                TrustUpdate { snapshot: true, roots: vec![authority().0], ..update(3, Vec::new()) };
            tell.try_send(Ok(TrustUpdate { more: true, ..snapshot.clone() })).unwrap();
            tell.try_send(Ok(TrustUpdate { roots: vec![vec![1]], ..snapshot })).unwrap();
            Ok(Response::new(ReceiverStream::new(told)))
        }

        async fn heartbeat(
            &self,
            _: Request<HeartbeatRequest>,
        ) -> Result<Response<HeartbeatResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn report(
            &self,
            _: Request<Streaming<ReportRequest>>,
        ) -> Result<Response<ReportResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn sign_jwt(&self, _: Request<SignJwtRequest>) -> Result<Response<SignJwtResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn session(
            &self,
            _: Request<Streaming<SessionRequest>>,
        ) -> Result<Response<Self::SessionStream>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    #[test]
    fn the_server_is_told_whether_relying_parties_ask() {
        let trust = SharedTrust::new(Arc::new(SetClocks::default()));
        let wanted = trust.wanted();
        let says = || {
            let wants = *wanted.borrow();
            let WatchTrustRequest { lists, answers, .. } = request(&trust, false, wants);
            (wants.any(), lists, answers)
        };
        let _updates = trust.updates_wanted();
        assert_eq!(says(), (true, false, false));
        let asked = trust.answers_wanted();
        assert_eq!(says(), (true, false, true));
        let _lists = trust.lists_wanted();
        assert_eq!(says(), (true, true, true));
        drop(asked);
        assert_eq!(says(), (true, true, false));
    }

    #[tokio::test]
    async fn updates_that_are_refused_at_their_end_are_asked_for_less_and_less() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (here, there) = tokio::io::duplex(1 << 16);
        let server = Server::builder().add_service(AgentServiceServer::new(BrokenServer(Arc::clone(&asked))));
        let incoming = tokio_stream::iter([Ok::<_, std::io::Error>(there)]).chain(tokio_stream::pending());
        tokio::spawn(server.serve_with_incoming(incoming));
        let mut here = Some(TokioIo::new(here));
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let here = here.take();
            async move { here.ok_or_else(|| std::io::Error::other("once")) }
        });
        let channel = Endpoint::from_static("http://server").connect_with_connector(connect).await.unwrap();
        let trust = SharedTrust::new(Arc::new(SetClocks::default()));
        let _wanted = trust.updates_wanted();
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(300));
        let begun = clock::monotonic();
        tokio::select! {
            never = watch_with(&trust, AgentServiceClient::new(channel), backoff) => match never {},
            () = async {
                while asked.load(Ordering::SeqCst) < 6 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        // 10, 20, 40, 80 and 160 ms, each a quarter less at the least.
        assert!(begun.elapsed() >= Duration::from_millis(230), "{:?}", begun.elapsed());
        assert!(trust.read().is_none() && trust.trouble().is_some());
    }
}
