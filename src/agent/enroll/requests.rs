//! The two requests that bring an identity: enroll with a credential, rotate with the identity itself.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, DATE};
use hyper::{Request, Response};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rcgen::{
    CertificateParams, CertificateSigningRequest, DistinguishedName, KeyPair, PublicKeyData, SigningKey,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::agent::connect::addresses::AnsweredAt;
use crate::agent::connect::dial::Dialer;
use crate::agent::connect::https::{HttpsCaller, HttpsError};
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::enroll::answer::{AnswerError, ExpectedIdentity, Issued};
use crate::agent::identity::Identity;
use crate::api::enroll::{EnrollBody, HostBody, RotateBody};
use crate::api::problem::ProblemDocument;
use crate::domain::code::Code;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::host::HostFacts;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::printable::printable;
use crate::tls::server_verifier::{Distrust, FirstContact, ServerRefused, Trust, TrustError};
use crate::{clock, pem};

/// For an answer's head, connecting by every way included, and then for its body.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes. A real one has about 5 KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The code of a refusal that came without one of ours: something other than Muster may be answering.
const UNEXPLAINED: &str = "http";
/// Most characters of a refusal that are passed on.
pub(crate) const REFUSAL_CHARS_MAX: usize = 300;

/// A caller of one server's enrollment endpoints.
#[derive(Debug)]
pub struct EnrollmentClient {
    pub first_contact: Arc<FirstContact>,
    pub https: HttpsCaller,
    /// The time in the latest answer, and when it came.
    told_time: Mutex<Option<(Timestamp, Instant)>>,
}

/// The server's reasoned no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRefusal {
    pub status: u16,
    /// The problem's code, such as `token_used`; `http` when the answer was no problem document.
    pub code: String,
    pub detail: String,
}

/// Why no new identity came.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the request could not be made")]
    Request(#[source] Box<dyn StdError + Send + Sync>),
    #[error("{server} is not the server it should be, so nothing was sent")]
    Distrusted { server: ServerUrl, source: ServerRefused },
    #[error("{server} can't be reached")]
    Unreachable { server: ServerUrl, source: HttpsError },
    #[error("{server} refused ({} {}): {}", refusal.status, refusal.code, refusal.detail)]
    Refused { server: ServerUrl, refusal: ServerRefusal },
    #[error("the answer of {server} is not believed")]
    Answer { server: ServerUrl, source: AnswerError },
    #[error("the answer of {server} is too long")]
    TooLong { server: ServerUrl },
}

impl CallError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { refusal, .. } => refusal.is_temporary(),
            // The file may be delivered by another service that is not done yet.
            Self::Trust(TrustError::Unreadable(_, error)) => error.kind() == io::ErrorKind::NotFound,
            Self::Trust(_)
            | Self::Request(_)
            | Self::Distrusted { .. }
            | Self::Answer { .. }
            | Self::TooLong { .. } => false,
        }
    }

    /// Whether another address of the server may answer better: nobody is here, or somebody else, or a server
    /// that has a problem of its own.
    pub fn is_of_this_address(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Distrusted { .. }
            | Self::Answer { .. }
            | Self::TooLong { .. } => true,
            Self::Refused { refusal, .. } => refusal.status >= 500 || refusal.code == UNEXPLAINED,
            Self::Trust(_) | Self::Request(_) => false,
        }
    }

    /// Whether another key may be taken.
    pub fn refuses_key(&self) -> bool {
        self.refusal().is_some_and(ServerRefusal::refuses_key)
    }

    pub const fn refusal(&self) -> Option<&ServerRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Trust(TrustError::NoSystemRoots) => "give --ca-pin or --ca-file",
            Self::Trust(_) => "check the CA file, or give the pin that the server's operator sees",
            Self::Request(_) => "try again; if it persists, report it with this message",
            Self::Distrusted { source, .. } => distrust_hint(source),
            Self::Unreachable { .. } => {
                "check the address, the port and the firewall, and that the server is running"
            }
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Answer { .. } | Self::TooLong { .. } => {
                "nothing was changed here; check the address, and that server and agent are of matching versions"
            }
        }
    }
}

const fn distrust_hint(refused: &ServerRefused) -> &'static str {
    match refused {
        ServerRefused::Distrusted(Distrust::OtherCertificate) => {
            "the server's certificate has changed; get its new CA from the server's operator"
        }
        ServerRefused::Distrusted(_) => {
            "compare the pin with the one the server's operator sees; if it is right, someone may be in between"
        }
        ServerRefused::UnknownIssuer => "give --ca-pin or --ca-file as the server's operator has them",
        ServerRefused::Expired { .. } | ServerRefused::NotYetValid { .. } => {
            "compare this machine's clock with the server's; if they agree, the server needs a new certificate"
        }
        ServerRefused::Certificate(_) => "check the name in the address",
    }
}

impl ServerRefusal {
    /// Whether the server may think otherwise soon.
    pub const fn is_temporary(&self) -> bool {
        self.status >= 500 || self.status == 429
    }

    /// Whether this identity has been taken away for good.
    pub fn is_revocation(&self) -> bool {
        self.status == 403 && self.code == Code::IdentityRevoked.as_str()
    }

    /// Whether another key may be taken: an old one may be held by another identity, one that was cloned with its disk,
    /// or enrolled without ever learning it.
    pub fn refuses_key(&self) -> bool {
        self.code == Code::BadCsr.as_str()
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        if let Some(advice) = self.code.parse().ok().and_then(Code::advice) {
            return advice;
        }
        match self.status {
            429 => "wait a few minutes, then try again",
            500.. => "the server has a problem of its own; its operator finds the reason in its log",
            _ => "check the address and that it is a Muster server's",
        }
    }
}

impl EnrollmentClient {
    pub fn new(server: ServerUrl, trust: &Trust, dialer: &Arc<Dialer>) -> Result<Self, CallError> {
        let first_contact = Arc::new(FirstContact::new(trust)?);
        let https = HttpsCaller::new(server, Arc::clone(&first_contact), Arc::clone(dialer));
        Ok(Self { first_contact, https, told_time: Mutex::default() })
    }

    /// The server's clock minus `now`, in milliseconds, as of the latest answer; good to about a second.
    pub fn clock_difference_ms(&self, now: Timestamp) -> Option<i64> {
        let told = *self.told_time.lock();
        let (told, came) = told?;
        let since = SignedDuration::try_from(came.elapsed()).ok()?;
        let server_now = told.checked_add(since).ok()?;
        Some(server_now.as_millisecond().saturating_sub(now.as_millisecond()))
    }

    /// Asks for a first identity for `key`. The same credential and key may be sent again when an answer was lost.
    pub async fn enroll(
        &self,
        credential: &Credential,
        key: &KeyPair,
        facts: &HostFacts,
    ) -> Result<Issued, CallError> {
        let text = Some(credential.reveal());
        let (token, secret) = match credential.kind() {
            CredentialKind::EnrollmentSecret => (None, text),
            _ => (text, None),
        };
        let csr = pem_request(&request_for(key)?)?;
        let body = EnrollBody { token, secret, csr, host: Some(host_body(facts)) };
        let answer = self.post("/enroll/agent", &body).await?;
        self.check(&answer, key, None)
    }

    /// Asks for a new certificate of the same identity for `key`, which must be new.
    pub async fn rotate(&self, current: &Identity, key: &KeyPair) -> Result<Issued, CallError> {
        let request = request_for(key)?;
        let proof = current.key.sign(request.der()).map_err(|error| CallError::Request(error.into()))?;
        let chain: String = current.chain.iter().map(|certificate| pem::certificate(certificate)).collect();
        let body = RotateBody { chain, csr: pem_request(&request)?, proof: BASE64.encode(&proof) };
        let answer = self.post("/enroll/agent/rotate", &body).await?;
        self.check(&answer, key, Some(&current.svid.spiffe_id))
    }

    fn check(&self, body: &[u8], key: &KeyPair, spiffe_id: Option<&SpiffeId>) -> Result<Issued, CallError> {
        let server = &self.https.server;
        let at = AnsweredAt::Https(server);
        let expected = ExpectedIdentity { public_key: &key.subject_public_key_info(), spiffe_id, at };
        Issued::read(body, expected).map_err(|source| CallError::Answer { server: server.clone(), source })
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Vec<u8>, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Request(error.into()))?;
        let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(Full::from(body));
        let request = request.map_err(|error| CallError::Request(error.into()))?;
        let sent = self.https.send(request, ANSWER_WITHIN).await;
        let response = sent.map_err(|error| self.failure(error))?;
        self.note_time(&response);
        let status = response.status();
        let problem = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
        let body = self.read(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        let problem = problem.then(|| serde_json::from_slice(&body).ok()).flatten();
        let refusal = refusal(status.as_u16(), problem);
        Err(CallError::Refused { server: self.https.server.clone(), refusal })
    }

    fn note_time(&self, response: &Response<Incoming>) {
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        // HTTP tells whole seconds; on average half of one has passed (RFC 9110 5.6.7).
        let middle = date.and_then(|date| date.checked_add(SignedDuration::from_millis(500)).ok());
        if let Some(middle) = middle {
            *self.told_time.lock() = Some((middle, clock::monotonic()));
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Vec<u8>, CallError> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = timeout(BODY_WITHIN, body).await.map_err(|_| self.failure(HttpsError::TooSlow))?;
        match body {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(CallError::TooLong { server: self.https.server.clone() })
            }
            Err(error) => match error.downcast() {
                Ok(error) => Err(self.failure(HttpsError::Broken(*error))),
                Err(error) => Err(CallError::Request(error)),
            },
        }
    }

    fn failure(&self, error: HttpsError) -> CallError {
        let server = self.https.server.clone();
        match ServerRefused::in_error(&error) {
            Some(source) => CallError::Distrusted { server, source },
            None => CallError::Unreachable { server, source: error },
        }
    }
}

fn refusal(status: u16, problem: Option<ProblemDocument>) -> ServerRefusal {
    let Some(problem) = problem else {
        let detail = "the answer has no reason that this agent understands".to_owned();
        return ServerRefusal { status, code: UNEXPLAINED.to_owned(), detail };
    };
    let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
    let said = |text: &str| printable(text, REFUSAL_CHARS_MAX);
    ServerRefusal { status, code: said(&problem.code), detail: said(&detail) }
}

/// The server decides every field of the certificate, so the request names nothing.
pub(crate) fn request_for(key: &KeyPair) -> Result<CertificateSigningRequest, CallError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key).map_err(|error| CallError::Request(error.into()))
}

fn pem_request(request: &CertificateSigningRequest) -> Result<String, CallError> {
    request.pem().map_err(|error| CallError::Request(error.into()))
}

fn host_body(facts: &HostFacts) -> HostBody {
    HostBody {
        hostname: facts.hostname.clone(),
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        ips: Some(facts.ips.iter().map(ToString::to_string).collect()),
        machine_id: facts.machine_id.clone(),
        agent_version: facts.agent_version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa, SanType};
    use serde_json::{Value, json};
    use x509_parser::time::ASN1Time;
    use zeroize::Zeroizing;

    use super::*;
    use crate::agent::test_server::{Reply, TestServer, problem, public_key};
    use crate::domain::ids::CredentialId;
    use crate::domain::network::pin::Pin;

    fn token() -> Credential {
        let id = CredentialId::from_bytes([7; 10]);
        Credential::new(CredentialKind::JoinToken, id, Zeroizing::new([9; 32]))
    }

    async fn ask(server: &TestServer, trust: &Trust) -> Result<Issued, CallError> {
        let client = EnrollmentClient::new(server.url.clone(), trust, &Arc::default())?;
        client.enroll(&token(), &KeyPair::generate().unwrap(), &HostFacts::default()).await
    }

    #[tokio::test]
    async fn only_the_right_server_learns_the_token() {
        let server = TestServer::start().await;
        let elsewhere = TestServer::start_named("elsewhere.example").await;
        let leaf = |server: &TestServer| Trust::Pin(Pin::of(&server.chain[0]));
        let ca = |server: &TestServer| Trust::Pin(server.pin());
        for (server, trust) in [
            (&server, Trust::Pin(Pin::from_bytes([1; 32]))),
            (&server, ca(&elsewhere)),
            (&elsewhere, ca(&elsewhere)),
            (&server, Trust::SystemRoots),
        ] {
            let error = ask(server, &trust).await.unwrap_err();
            let distrusted = matches!(error, CallError::Distrusted { .. } | CallError::Trust(_));
            assert!(distrusted && !error.is_temporary(), "{trust:?}: {error:?}");
            assert_eq!(server.requests(), 0, "{trust:?}");
        }
        for (server, trust) in
            [(&server, leaf(&server)), (&server, ca(&server)), (&elsewhere, leaf(&elsewhere))]
        {
            ask(server, &trust).await.unwrap();
        }
        let (path, body) = server.seen.lock().requests[0].clone();
        assert_eq!(
            (path.as_str(), body["token"].as_str()),
            ("/enroll/agent", Some(token().reveal().as_str()))
        );
        assert_eq!(body.get("secret"), None);
    }

    /// Changes a good answer before it is sent.
    fn edit((status, kind, text): Reply, change: impl FnOnce(&mut Value)) -> Reply {
        let mut body = serde_json::from_slice(&text).unwrap();
        drop(text);
        change(&mut body);
        (status, kind, serde_json::to_vec(&body).unwrap())
    }

    /// An answer with a certificate of another shape, and everything beside it to match.
    fn reissue(
        server: &TestServer,
        request: &Value,
        lifetime: SignedDuration,
        shape: impl FnOnce(&mut CertificateParams),
    ) -> Reply {
        let key = public_key(request["csr"].as_str().unwrap());
        let issued = server.ca.issue_shaped(&key, "web-1", lifetime, shape);
        (201, "application/json", serde_json::to_vec(&server.ca.answer(&issued, None)).unwrap())
    }

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    #[tokio::test]
    async fn answers_that_do_not_fit_are_not_believed() {
        let server = TestServer::start().await;
        let trust = Trust::Pin(server.pin());
        let other = crate::agent::test_server::TestCa::new();
        let (other_root, other_intermediate) = (other.root(), other.intermediate.clone());
        type Twist = Box<dyn Fn(&TestServer, &Value, Reply) -> Reply + Send + Sync>;
        let cases: Vec<(&str, Twist)> = vec![
            (
                "can't be read",
                Box::new(|_, _, (status, kind, body)| (status, kind, body[..body.len() / 2].to_vec())),
            ),
            ("can't be read", Box::new(|_, _, _| (200, "text/html", b"<html>".to_vec()))),
            ("can't be read", Box::new(|_, _, reply| edit(reply, |body| body["serial"] = "xyz".into()))),
            (
                "can't be read",
                Box::new(|_, _, reply| edit(reply, |body| body["spiffe_id"] = "spiffe://x".into())),
            ),
            (
                "for another key",
                Box::new(|server, _, reply| {
                    let key = public_of(&KeyPair::generate().unwrap());
                    let issued = server.ca.issue(&key, "web-1", DAY);
                    edit(reply, |body| *body = server.ca.answer(&issued, None))
                }),
            ),
            (
                "is a CA's",
                Box::new(|server, request, _| {
                    reissue(server, request, DAY, |params| {
                        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                    })
                }),
            ),
            (
                "is a CA's",
                Box::new(|server, _, reply| {
                    edit(reply, |body| body["certificate"] = server.ca.intermediate.clone().into())
                }),
            ),
            ("for too long", Box::new(|server, request, _| reissue(server, request, DAY * 3650, |_| {}))),
            (
                "not valid at the time",
                Box::new(|server, request, _| {
                    reissue(server, request, DAY, |params| {
                        params.not_before =
                            ASN1Time::from_timestamp(jiff::Timestamp::now().as_second() + 3600)
                                .unwrap()
                                .to_datetime();
                    })
                }),
            ),
            (
                "names are not one SPIFFE id",
                Box::new(|server, request, _| {
                    reissue(server, request, DAY, |params| params.subject_alt_names.clear())
                }),
            ),
            (
                "names are not one SPIFFE id",
                Box::new(|server, request, _| {
                    reissue(server, request, DAY, |params| {
                        params.subject_alt_names.push(SanType::DnsName("x.example".try_into().unwrap()));
                    })
                }),
            ),
            (
                "name is refused",
                Box::new(|server, request, _| {
                    reissue(server, request, DAY, |params| {
                        params.subject_alt_names =
                            vec![SanType::URI("https://x.example".try_into().unwrap())];
                    })
                }),
            ),
            (
                "what the answer says beside it",
                Box::new(|_, _, reply| edit(reply, |body| body["agent_id"] = "other".into())),
            ),
            (
                "what the answer says beside it",
                Box::new(|_, _, reply| {
                    edit(reply, |body| body["serial"] = "00112233445566778899aabbccddeeff".into())
                }),
            ),
            (
                "what the answer says beside it",
                Box::new(|_, _, reply| edit(reply, |body| body["not_after"] = "2045-01-01T00:00:00Z".into())),
            ),
            (
                "not valid at the time",
                Box::new(|_, _, reply| edit(reply, |body| body["issued_at"] = "2001-01-01T00:00:00Z".into())),
            ),
            (
                "does not chain",
                Box::new(move |_, _, reply| {
                    edit(reply, |body| body["trust_bundle"] = other_root.clone().into())
                }),
            ),
            (
                "does not chain",
                Box::new(move |_, _, reply| {
                    edit(reply, |body| body["intermediate"] = other_intermediate.clone().into())
                }),
            ),
            (
                "no CA's",
                Box::new(|_, _, reply| {
                    edit(reply, |body| body["trust_bundle"] = body["certificate"].clone())
                }),
            ),
            (
                "intermediate has more",
                Box::new(|_, _, reply| {
                    edit(reply, |body| {
                        let twice = body["intermediate"].as_str().unwrap().repeat(2);
                        body["intermediate"] = twice.into();
                    })
                }),
            ),
            (
                "certificate is no usable PEM",
                Box::new(|_, _, reply| edit(reply, |body| body["certificate"] = "".into())),
            ),
        ];
        for (says, twist) in cases {
            server.twist(twist);
            let error = ask(&server, &trust).await.unwrap_err();
            let text = crate::error_chain::chain(&error);
            assert!(matches!(error, CallError::Answer { .. }) && text.contains(says), "{says}: {text}");
            assert!(!error.is_temporary());
        }
        server.twist(|_, _, _| (201, "application/json", vec![b' '; 1 << 20]));
        assert!(matches!(ask(&server, &trust).await, Err(CallError::TooLong { .. })));
        server.twist(|server, request, _| reissue(server, request, DAY * 7, |_| {}));
        ask(&server, &trust).await.unwrap();
    }

    #[tokio::test]
    async fn an_address_that_can_not_be_used_costs_no_certificate() {
        let server = TestServer::start().await;
        let trust = Trust::Pin(server.pin());
        for nonsense in [json!("nonsense"), json!("https://a:1"), json!(":99999"), json!(7), json!(["a", {}])]
        {
            let told = nonsense.clone();
            server.twist(move |_, _, reply| {
                edit(reply, |body| {
                    for field in ["grpc_addr", "grpc_addrs", "servers"] {
                        body[field] = told.clone();
                    }
                })
            });
            let issued = ask(&server, &trust).await.unwrap();
            assert!(
                issued.told.unusable >= 2 && issued.told.grpc.is_empty(),
                "{nonsense}: {:?}",
                issued.told
            );
        }
    }

    fn public_of(key: &KeyPair) -> Vec<u8> {
        key.subject_public_key_info()
    }

    #[tokio::test]
    async fn refusals_say_what_to_do_and_whether_to_try_again() {
        let server = TestServer::start().await;
        let trust = Trust::Pin(server.pin());
        for (status, code, temporary, hint) in [
            (401, "token_used", false, "ask for a new one"),
            (401, "unauthorized", false, "wrong, revoked"),
            (403, "identity_revoked", false, "re-enabled"),
            (403, "secret_exhausted", false, "another one"),
            (403, "host_decommissioned", false, "re-enabled"),
            (400, "bad_csr", false, "versions"),
            (413, "too_large", false, "check the address"),
            (429, "throttled", true, "wait"),
            (503, "ca_unavailable", true, "log"),
            (500, "internal", true, "log"),
        ] {
            server.twist(move |_, _, _| problem(status, code));
            let error = ask(&server, &trust).await.unwrap_err();
            assert_eq!(error.refusal().map(|refusal| refusal.code.as_str()), Some(code));
            assert_eq!(error.is_temporary(), temporary, "{code}");
            assert!(error.hint().contains(hint), "{code}: {}", error.hint());
            assert!(error.to_string().contains(&format!("because {code}")), "{error}");
        }
        for reply in [
            (502, "text/html", b"<html>".to_vec()),
            (404, "application/problem+json", b"{".to_vec()),
            (302, "text/plain", Vec::new()),
        ] {
            let status = reply.0;
            server.twist(move |_, _, _| reply.clone());
            let error = ask(&server, &trust).await.unwrap_err();
            let expected = Some((status, "http"));
            assert_eq!(error.refusal().map(|refusal| (refusal.status, refusal.code.as_str())), expected);
        }
        server.twist(|_, _, _| {
            let body = r#"{"code":"a\u001b[31m","detail":"b\nc"}"#;
            (400, "application/problem+json", body.into())
        });
        let error = ask(&server, &trust).await.unwrap_err().to_string();
        assert!(error.contains("a[31m") && error.contains("bc") && !error.contains('\u{1b}'), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_is_temporary() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url: ServerUrl = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let client =
            EnrollmentClient::new(url, &Trust::Pin(Pin::from_bytes([1; 32])), &Arc::default()).unwrap();
        let key = KeyPair::generate().unwrap();
        let error = client.enroll(&token(), &key, &HostFacts::default()).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }) && error.is_temporary());
        let nowhere = Trust::CaFile("/nowhere/ca.pem".into());
        let missing = EnrollmentClient::new("https://a:1".parse().unwrap(), &nowhere, &Arc::default());
        assert!(missing.unwrap_err().is_temporary());
    }
}
