//! `Renew`: the next SVID over the connection of the session, which has proved the current one.

use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use tokio::time::timeout;
use tonic::{Code as GrpcCode, Status};
use tracing::debug;

use crate::agent::connect::addresses::AnsweredAt;
use crate::agent::connect::session_connection::SessionConnection;
use crate::agent::enroll::answer::{AnswerError, ExpectedIdentity, Issued};
use crate::agent::enroll::requests::{
    ANSWER_BYTES_MAX, CallError, REFUSAL_CHARS_MAX, ServerRefusal, request_for,
};
use crate::agent::identity::Identity;
use crate::domain::code::Code;
use crate::domain::network::host_port::HostPort;
use crate::domain::printable::printable;
use crate::error_chain::chain;
use crate::grpc::proto::RenewRequest;
use crate::grpc::status::CODE_TRAILER;
use crate::tls::server_verifier::{FirstContact, Trust};

/// A connection that died silently, as after a sleep, holds a rotation up for no longer. The server may have answered all the
/// same: the same key gets the same certificate over HTTPS.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What HTTPS would say as well, or a reason not to ask for more. Anything else is asked there: what has expired has grace,
/// another address may be better off.
const VERDICTS: [Code; 5] =
    [Code::IdentityRevoked, Code::UnknownSerial, Code::BadCsr, Code::Throttled, Code::Busy];

/// A caller of `Renew` on a session's connection.
#[derive(Debug)]
pub(crate) struct RenewalClient {
    connection: SessionConnection,
    server: FirstContact,
}

/// Why the session brought no SVID.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewalError {
    #[error("the request could not be made")]
    Request(#[source] CallError),
    #[error("{addr} is older than this agent and renews nothing over a session")]
    Unknown { addr: HostPort },
    #[error("{addr} did not answer in time")]
    TooSlow { addr: HostPort },
    #[error("{addr} did not answer ({text})")]
    Unanswered { addr: HostPort, text: String },
    #[error("{addr} refused ({} {}): {}", refusal.status, refusal.code, refusal.detail)]
    Refused { addr: HostPort, refusal: ServerRefusal },
    #[error("the answer of {addr} is not believed")]
    Answer { addr: HostPort, source: AnswerError },
}

impl RenewalClient {
    /// On a connection whose server would be let in today as well: what is trusted may have changed since.
    pub(crate) fn new(connection: SessionConnection, trust: &Trust) -> Option<Self> {
        match connection.server.judged_by(trust) {
            Ok(Some(server)) => Some(Self { connection, server }),
            Ok(None) => {
                debug!(addr = %connection.addr, "the session's server is not trusted any more; rotating over HTTPS");
                None
            }
            Err(error) => {
                debug!(error = %chain(&error), "rotating over HTTPS");
                None
            }
        }
    }

    pub(crate) const fn addr(&self) -> &HostPort {
        &self.connection.addr
    }

    pub(crate) const fn server(&self) -> &FirstContact {
        &self.server
    }

    /// Asks for a new certificate of the same identity for `key`, which must be new.
    pub(crate) async fn renew(&self, current: &Identity, key: &KeyPair) -> Result<Issued, RenewalError> {
        let addr = || self.connection.addr.clone();
        let csr = request_for(key).map_err(RenewalError::Request)?.der().to_vec();
        let client = self.connection.client.clone();
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = timeout(ANSWER_WITHIN, client.renew(RenewRequest { csr })).await;
        let answer = answer.map_err(|_| RenewalError::TooSlow { addr: addr() })?;
        let renewed = answer.map_err(|status| failure(addr(), &status))?.into_inner();
        let expected = ExpectedIdentity {
            public_key: &key.subject_public_key_info(),
            spiffe_id: Some(&current.svid.spiffe_id),
            at: AnsweredAt::Session(self.addr()),
        };
        Issued::of_renewal(renewed, expected).map_err(|source| RenewalError::Answer { addr: addr(), source })
    }
}

fn failure(addr: HostPort, status: &Status) -> RenewalError {
    // Only the server says why; what breaks on the way has no trailer.
    let code = status.metadata().get(CODE_TRAILER).and_then(|code| code.to_str().ok()?.parse::<Code>().ok());
    match code {
        Some(code) => {
            let detail = printable(status.message(), REFUSAL_CHARS_MAX);
            let refusal = ServerRefusal { status: code.status(), code: code.as_str().to_owned(), detail };
            RenewalError::Refused { addr, refusal }
        }
        None if status.code() == GrpcCode::Unimplemented => RenewalError::Unknown { addr },
        None => {
            let cause = std::error::Error::source(status).map_or_else(|| status.message().to_owned(), chain);
            let text = printable(&format!("{:?}: {cause}", status.code()), REFUSAL_CHARS_MAX);
            RenewalError::Unanswered { addr, text }
        }
    }
}

impl RenewalError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Request(error) => error.hint(),
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Unknown { .. } | Self::TooSlow { .. } | Self::Unanswered { .. } | Self::Answer { .. } => {
                "look at the server's log, and that server and agent are of matching versions"
            }
        }
    }

    /// Whether there is nothing to ask over HTTPS.
    pub(crate) fn is_verdict(&self) -> bool {
        let code = self.refusal().and_then(|refusal| refusal.code.parse().ok());
        code.is_some_and(|code| VERDICTS.contains(&code))
    }

    pub(crate) const fn refusal(&self) -> Option<&ServerRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use crate::agent::identity::IdentityDir;
    use crate::agent::run::runtime::RunEnd;
    use crate::agent::run::runtime::tests::{name, sessions_total, start, until};
    use crate::agent::test_server::{LOST, Reply, SILENCE, TestServer, problem};
    use crate::grpc::proto::Rotate;
    use crate::grpc::proto::session_response::Message;

    /// By which ways certificates were asked for since the enrollment, oldest first.
    fn asked(server: &TestServer) -> Vec<String> {
        server.seen.lock().requests.iter().skip(1).map(|(path, _)| path.clone()).collect()
    }

    /// What becomes of a good reply.
    type Twisted = fn(Reply) -> Reply;

    const SESSION: &str = "Renew";
    const HTTPS: &str = "/enroll/agent/rotate";

    async fn renewing(lifetime: SignedDuration) -> std::sync::Arc<TestServer> {
        let server = TestServer::start().await;
        let mut knobs = server.knobs.lock();
        (knobs.lifetime, knobs.renews) = (lifetime, true);
        drop(knobs);
        server
    }

    /// Asks for a rotation now, at latest a second later.
    async fn ask(server: &TestServer) {
        let heard = server.seen.lock().heartbeats.len();
        until("an answered heartbeat", || server.seen.lock().heartbeats.len() > heard + 1).await;
        server.say(Message::Rotate(Rotate {})).await;
    }

    /// Replies over the session as this says, and over HTTPS as usual.
    fn over_session(server: &TestServer, reply: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
        server.twist(
            move |_, request: &Value, good| {
                if request["over"] == "session" { reply(good) } else { good }
            },
        );
    }

    fn edited((status, kind, body): Reply, edit: impl FnOnce(&mut Value)) -> Reply {
        let mut body = serde_json::from_slice(&body).unwrap();
        edit(&mut body);
        (status, kind, serde_json::to_vec(&body).unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_has_a_session_asks_nothing_over_https() {
        let server = renewing(SignedDuration::from_secs(6)).await;
        let next_ca = TestServer::start().await.server_ca();
        // Over which way the other listener is reached, a renewal does not say.
        name(&server, json!({"servers": [server.url]}));
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let told = next_ca.clone();
        server.twist(move |_, _, good| edited(good, |body| body["server_ca"] = told.clone().into()));
        until("three renewals", || sessions_total(&server) >= 4).await;
        agent.stop().await;
        assert!(asked(&server).iter().all(|way| way == SESSION), "{:?}", asked(&server));
        let notes = IdentityDir::new(dir.path()).notes();
        assert_eq!((notes.servers, notes.server), (vec![server.url.clone()], Some(server.url.clone())));
        let trusted = std::fs::read_to_string(dir.path().join("server-ca.pem")).unwrap();
        assert_eq!(trusted, server.server_ca() + &next_ca);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_older_server_is_asked_once_on_each_connection() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        server.twist(|_, _, _| problem(500, "internal"));
        until("attempts", || asked(&server).len() >= 4).await;
        assert_eq!(server.seen.lock().renewals_unknown, 1);
        server.untwist();
        until("a rotation and another", || sessions_total(&server) >= 3).await;
        let rotated = sessions_total(&server) - 1;
        assert!((2..=rotated + 1).contains(&server.seen.lock().renewals_unknown));
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_session_leaves_open_is_asked_over_https_with_the_same_key() {
        let cases: [(&str, Twisted); 7] = [
            ("a lost answer", |_| (LOST, "", Vec::new())),
            ("silence", |_| (SILENCE, "", Vec::new())),
            ("a server that stops", |_| problem(503, "unavailable")),
            ("too much load", |_| problem(408, "timeout")),
            ("one that has just expired", |_| problem(401, "svid_expired")),
            ("no answer", |good| edited(good, |body| body["issued_at"] = "soon".into())),
            ("somebody else's", |good| edited(good, |body| body["agent_id"] = "web-2".into())),
        ];
        let mut running = tokio::task::JoinSet::new();
        for (what, reply) in cases {
            running.spawn(async move {
                let server = renewing(SignedDuration::from_hours(24)).await;
                let dir = tempfile::tempdir().unwrap();
                let agent = start(dir.path(), &server);
                until("a session", || !server.open_sessions().is_empty()).await;
                over_session(&server, reply);
                ask(&server).await;
                until(what, || sessions_total(&server) == 2 && server.open_sessions().len() == 1).await;
                agent.stop().await;
                assert_eq!(asked(&server), [SESSION, HTTPS], "{what}");
                let requests = server.seen.lock().requests.clone();
                let key = |nth: usize| {
                    crate::agent::test_server::public_key(requests[nth].1["csr"].as_str().unwrap())
                };
                assert_eq!(key(1), key(2), "{what}");
            });
        }
        running.join_all().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_verdict_over_the_session_is_one() {
        let server = renewing(SignedDuration::from_secs(20)).await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let place = IdentityDir::new(dir.path());
        let refused = |code: &str| place.notes().last_refusal.is_some_and(|refusal| refusal.code == code);
        for (status, code) in [(429, "throttled"), (401, "unknown_serial")] {
            over_session(&server, move |_| problem(status, code));
            ask(&server).await;
            until(code, || refused(code)).await;
        }
        // A key that was used before makes way for another.
        let first = std::sync::atomic::AtomicBool::new(true);
        over_session(&server, move |good| {
            let first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
            if first { problem(400, "bad_csr") } else { good }
        });
        until("another key", || sessions_total(&server) == 2 && server.open_sessions().len() == 1).await;
        over_session(&server, |_| problem(403, "identity_revoked"));
        ask(&server).await;
        let end = agent.task.await.unwrap().unwrap();
        assert!(matches!(&end, RunEnd::Revoked(refusal) if refusal.code == "identity_revoked"), "{end:?}");
        assert!(asked(&server).iter().all(|way| way == SESSION), "{:?}", asked(&server));
        assert!(refused("identity_revoked"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_is_trusted_no_more_is_not_asked() {
        let server = renewing(SignedDuration::from_hours(24)).await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let other = TestServer::start().await.server_ca();
        std::fs::write(dir.path().join("server-ca.pem"), &other).unwrap();
        ask(&server).await;
        let place = IdentityDir::new(dir.path());
        until("a failure", || place.notes().last_failure.is_some()).await;
        assert!(asked(&server).is_empty());
        assert_eq!(std::fs::read_to_string(dir.path().join("server-ca.pem")).unwrap(), other);
        agent.stop().await;
    }
}
