//! What an agent starts with: the identity on disk, or one enrolled with the credential it was given.

use std::time::Duration;

use tracing::{info, warn};

use crate::agent::config::AgentConfig;
use crate::agent::enroll::credential_source::CredentialError;
use crate::agent::enroll::first_enrollment::{FirstEnrollmentError, enroll};
use crate::agent::enroll::requests::EnrollmentClient;
use crate::agent::identity::{Identity, IdentityError, OwnedDir};
use crate::agent::run::backoff::Backoff;
use crate::clock::{self, Clock};
use crate::domain::enroll::credential::Credential;
use crate::error_chain::chain;

/// How long, and how often, a server that can't answer is asked again.
#[derive(Debug, Clone)]
pub struct Patience {
    pub backoff: Backoff,
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { backoff: Backoff::default(), total: Duration::from_secs(300) }
    }
}

/// Why the agent can't start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("this machine has no identity in {} and no join token or enrollment secret to get one with", .0.display())]
    NothingToEnrollWith(std::path::PathBuf),
    #[error("there is a credential to enroll with, but no server to enroll at")]
    NoServer,
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("enrollment failed")]
    Refused(#[source] FirstEnrollmentError),
    #[error("enrollment was given up after {} s", .waited.as_secs())]
    GivenUp { waited: Duration, source: FirstEnrollmentError },
}

impl BootError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NothingToEnrollWith(_) => {
                "set enroll.token_file or MUSTER_AGENT_JOIN_TOKEN, or run `muster agent enroll` first"
            }
            Self::NoServer => "set enroll.server or MUSTER_AGENT_ENROLL_SERVER to https://HOST:PORT",
            Self::Credential(_) => "ask for a new token or secret, and keep it in a file of its own",
            Self::Identity(error) => error.hint(),
            Self::Refused(error) | Self::GivenUp { source: error, .. } => error.hint(),
        }
    }
}

/// The identity to run with. An existing one is never replaced here, whatever credentials are about.
pub async fn identity_at_boot(
    dir: &OwnedDir,
    config: &AgentConfig,
    patience: Patience,
    clock: &dyn Clock,
) -> Result<Identity, BootError> {
    if let Some(identity) = dir.read()? {
        return Ok(identity);
    }
    let source = config.enroll.credential.as_ref().filter(|source| source.present());
    let source = source.ok_or_else(|| BootError::NothingToEnrollWith(dir.place().path().to_owned()))?;
    let credential = source.read()?;
    enroll_patiently(dir, config, &credential, patience, clock).await
}

async fn enroll_patiently(
    dir: &OwnedDir,
    config: &AgentConfig,
    credential: &Credential,
    mut patience: Patience,
    clock: &dyn Clock,
) -> Result<Identity, BootError> {
    let server = config.enroll.server.clone().ok_or(BootError::NoServer)?;
    let trust = config.first_trust();
    let begun = clock::monotonic();
    loop {
        let attempt = match EnrollmentClient::new(server.clone(), &trust, &config.dialer) {
            Ok(client) => enroll(dir, &client, credential, &config.subject, clock).await,
            Err(error) => Err(error.into()),
        };
        let error = match attempt {
            Ok(identity) => {
                info!(spiffe_id = %identity.svid.spiffe_id, serial = %identity.svid.serial, "enrolled");
                return Ok(identity);
            }
            Err(error) => error,
        };
        if !matches!(&error, FirstEnrollmentError::Call(call) if call.is_temporary()) {
            return Err(BootError::Refused(error));
        }
        let wait = patience.backoff.wait();
        let waited = begun.elapsed();
        if waited + wait > patience.total {
            return Err(BootError::GivenUp { waited, source: error });
        }
        warn!(error = %chain(&error), retry_in_ms = wait.as_millis(), "enrollment failed, trying again");
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use zeroize::Zeroizing;

    use super::*;
    use crate::agent::config::EnrollConfig;
    use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
    use crate::agent::facts::Subject;
    use crate::agent::identity::IdentityDir;
    use crate::agent::test_server::{TestServer, problem};
    use crate::agent::workload::PER_USER_USUAL;
    use crate::clock::SystemClock;
    use crate::domain::enroll::credential::CredentialKind;
    use crate::domain::ids::CredentialId;
    use crate::domain::network::pin::Pin;

    fn config(dir: &Path, server: &TestServer) -> AgentConfig {
        let id = CredentialId::from_bytes([7; 10]);
        let token = Credential::new(CredentialKind::JoinToken, id, Zeroizing::new([9; 32])).reveal();
        AgentConfig {
            identity: IdentityDir::new(dir),
            server_ca: None,
            grpc_addr: None,
            server: None,
            enroll: EnrollConfig {
                credential: Some(CredentialSource {
                    kind: CredentialKind::JoinToken,
                    place: CredentialPlace::Given(SecretText::new(&token)),
                }),
                server: Some(server.url.clone()),
                pin: Some(server.pin()),
            },
            workload_socket: None,
            workload_connections_per_user: PER_USER_USUAL,
            relying_party: None,
            subject: Subject::ThisMachine,
            dialer: Arc::default(),
        }
    }

    fn quick() -> Patience {
        let ms = Duration::from_millis;
        Patience { backoff: Backoff::new(ms(1), ms(4)), total: ms(2_000) }
    }

    async fn boot(config: &AgentConfig) -> Result<Identity, BootError> {
        identity_at_boot(&config.identity.clone().lock().unwrap(), config, quick(), &SystemClock).await
    }

    #[tokio::test]
    async fn a_server_that_is_not_ready_is_asked_again_with_the_same_key() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &server);
        let asked = AtomicUsize::new(0);
        server.twist(move |_, _, good| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => problem(503, "ca_unavailable"),
            1 => problem(429, "throttled"),
            2 => (500, "text/plain", Vec::new()),
            _ => good,
        });
        let identity = boot(&config).await.unwrap();
        let seen = server.seen.lock();
        let keys: Vec<_> = seen
            .requests
            .iter()
            .map(|(_, body)| crate::agent::test_server::public_key(body["csr"].as_str().unwrap()))
            .collect();
        assert_eq!(keys.len(), 4);
        assert!(keys.iter().all(|key| *key == identity.svid.public_key));
        assert_eq!(fs::read_to_string(config.identity.server_ca()).unwrap(), server.server_ca());
        assert_eq!(fs::read_to_string(config.identity.agent_ca()).unwrap(), server.ca.root());
        assert!(!dir.path().join("key.pem.next").exists());
        assert_eq!(config.identity.notes().server, Some(server.url.clone()));
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_costs_nothing() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &server);
        // The server issues, and the answer is cut on its way.
        server.twist(|_, _, (status, kind, body)| (status, kind, body[..10].to_vec()));
        assert!(matches!(boot(&config).await, Err(BootError::Refused(_))));
        assert!(config.identity.read().unwrap().is_none());
        server.untwist();
        boot(&config).await.unwrap();
        let seen = server.seen.lock();
        let key =
            |n: usize| crate::agent::test_server::public_key(seen.requests[n].1["csr"].as_str().unwrap());
        assert_eq!(key(0), key(1));
    }

    #[tokio::test]
    async fn a_key_that_another_identity_holds_is_replaced() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &server);
        let (cloned, _) = config.identity.clone().lock().unwrap().pending_key().unwrap();
        let held = rcgen::PublicKeyData::subject_public_key_info(&cloned);
        server.twist(move |_, request, good| {
            let key = crate::agent::test_server::public_key(request["csr"].as_str().unwrap());
            if key == held { problem(400, "bad_csr") } else { good }
        });
        boot(&config).await.unwrap();
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn a_refusal_ends_it_at_once_and_patience_ends_too() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &server);
        server.twist(|_, _, _| problem(401, "token_expired"));
        let error = boot(&config).await.unwrap_err();
        assert!(matches!(error, BootError::Refused(_)) && error.hint().contains("new one"), "{error:?}");
        assert_eq!(server.requests(), 1);
        server.twist(|_, _, _| problem(503, "ca_unavailable"));
        let owned = config.identity.clone().lock().unwrap();
        let short = Patience { total: Duration::from_millis(20), ..quick() };
        let error = identity_at_boot(&owned, &config, short, &SystemClock).await.unwrap_err();
        assert!(matches!(error, BootError::GivenUp { .. }), "{error:?}");
        assert!(owned.read().unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), &server);
        config.enroll.server = None;
        assert!(matches!(boot(&config).await, Err(BootError::NoServer)));
        config.enroll.credential = Some(CredentialSource {
            kind: CredentialKind::JoinToken,
            place: CredentialPlace::File(dir.path().join("gone")),
        });
        assert!(matches!(boot(&config).await, Err(BootError::NothingToEnrollWith(_))));
        assert_eq!(server.requests(), 0);
    }

    #[tokio::test]
    async fn an_identity_is_never_overwritten() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &server);
        let first = boot(&config).await.unwrap();
        let again = boot(&config).await.unwrap();
        assert_eq!((first.svid.serial, server.requests()), (again.svid.serial, 1));
        let owned = config.identity.clone().lock().unwrap();
        let client =
            EnrollmentClient::new(server.url.clone(), &config.first_trust(), &config.dialer).unwrap();
        let credential = config.enroll.credential.as_ref().unwrap().read().unwrap();
        let refused = enroll(&owned, &client, &credential, &Subject::ThisMachine, &SystemClock).await;
        assert!(matches!(refused, Err(FirstEnrollmentError::AlreadyEnrolled { .. })));
        drop(owned);
        fs::remove_file(config.identity.key()).unwrap();
        assert!(matches!(boot(&config).await, Err(BootError::Identity(_))));
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn a_ca_file_that_comes_late_is_waited_for() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("late.pem");
        let config = AgentConfig { server_ca: Some(file.clone()), ..config(dir.path(), &server) };
        let config = AgentConfig { enroll: EnrollConfig { pin: None, ..config.enroll }, ..config };
        let text = server.server_ca();
        let delivery = async {
            tokio::task::yield_now().await;
            fs::write(&file, &text).unwrap();
        };
        let (identity, ()) = tokio::join!(boot(&config), delivery);
        identity.unwrap();
        assert_eq!(fs::read_to_string(config.identity.server_ca()).unwrap(), text);
    }

    #[tokio::test]
    async fn a_wrong_pin_is_no_reason_to_wait() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), &server);
        config.enroll.pin = Some(Pin::from_bytes([1; 32]));
        let error = boot(&config).await.unwrap_err();
        assert!(matches!(error, BootError::Refused(_)) && error.hint().contains("in between"), "{error:?}");
        assert_eq!(server.requests(), 0);
    }
}
