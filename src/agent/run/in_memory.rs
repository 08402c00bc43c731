//! An agent of which nothing lies on disk, for a proof on a machine whose disk is to be the server's alone.
//!
//! It enrolls, rotates and holds its session with the code of `muster agent run`. When to do what is its caller's to say.

use std::sync::Arc;

use rcgen::KeyPair;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::agent::connect::session_connection::ServerCalls;
use crate::agent::enroll::answer::Issued;
use crate::agent::enroll::requests::{CallError, EnrollmentClient};
use crate::agent::facts::Subject;
use crate::agent::identity::{Identity, IdentityError};
use crate::agent::run::door::{Door, RotationError};
use crate::agent::run::renewal::RenewalClient;
use crate::agent::run::reports::PendingReports;
use crate::agent::run::session::{self, Dial, Ended, Terms};
use crate::agent::trust::shared::SharedTrust;
use crate::clock::{Clock, SystemClock};
use crate::domain::enroll::credential::Credential;
use crate::domain::host::HostFacts;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::network::host_port::HostPort;
use crate::tls::client_config::LiveIdentity;
use crate::tls::pem::certificates;
use crate::tls::server_verifier::Trust;

/// An agent that is gone with this value.
#[derive(Debug)]
pub(crate) struct InMemoryAgent {
    identity: Identity,
    live: Arc<LiveIdentity>,
    calls: ServerCalls,
    subject: Subject,
    session: Option<Attendance>,
}

/// A session that is or was open. It is closed when this goes.
#[derive(Debug)]
struct Attendance {
    task: JoinHandle<Ended>,
    _close: DropGuard,
}

/// By which way a certificate came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RotatedOver {
    Session,
    Https,
}

impl InMemoryAgent {
    /// A first identity, for a machine that is only shown.
    pub(crate) async fn enroll(
        client: &EnrollmentClient,
        credential: &Credential,
        facts: HostFacts,
    ) -> Result<Self, RotationError> {
        let key = new_key()?;
        let issued = client.enroll(credential, &key, &facts).await?;
        let identity = identity(key, issued)?;
        let live = Arc::new(LiveIdentity::new(identity.certified_key()?));
        let (calls, subject) = (ServerCalls::default(), Subject::Shown(facts));
        Ok(Self { identity, live, calls, subject, session: None })
    }

    pub(crate) const fn agent_id(&self) -> &AgentId {
        &self.identity.svid.spiffe_id.agent
    }

    /// Opens a session in the place of the one before, and returns when the server has answered its first heartbeat.
    pub(crate) async fn attend(&mut self, addr: &HostPort, trust: &Trust) -> Result<(), Ended> {
        self.session = None;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dial = Dial {
            addrs: vec![addr.clone()],
            // No proxy stands between: the server is on this machine.
            dialer: Arc::default(),
            trust: trust.clone(),
            identity: Arc::clone(&self.live),
            serial: self.identity.svid.serial,
            roots: Arc::default(),
            clock: Arc::clone(&clock),
            subject: self.subject.clone(),
            reports: Arc::new(PendingReports::new(Arc::clone(&clock))),
            calls: self.calls.clone(),
            told: SharedTrust::new(clock),
        };
        let close = CancellationToken::new();
        let (opened, is_open) = oneshot::channel();
        let closing = close.clone();
        let close = close.drop_guard();
        let task = tokio::spawn(async move {
            let (news, _nobody_listens) = mpsc::channel(1);
            let terms = watch::Sender::new(Terms::UNTOLD);
            let opened = |_: &HostPort| {
                let _ = opened.send(());
            };
            session::hold(&dial, &news, &closing, &terms, opened).await
        });
        match is_open.await {
            Ok(()) => {
                self.session = Some(Attendance { task, _close: close });
                Ok(())
            }
            Err(_) => Err(ended(task).await),
        }
    }

    /// Whether the session is open.
    pub(crate) fn attends(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.task.is_finished())
    }

    /// Waits for the end of the session, if there is one.
    pub(crate) async fn session_end(&mut self) -> Option<Ended> {
        let Attendance { task, _close } = self.session.take()?;
        Some(ended(task).await)
    }

    /// A new key and certificate, over the session where that gives one, or else over HTTPS, as in `agent run`.
    pub(crate) async fn rotate(
        &mut self,
        trust: &Trust,
        https: &EnrollmentClient,
    ) -> Result<RotatedOver, RotationError> {
        let key = new_key()?;
        let connection = self.calls.connection().map(|(_, connection)| connection);
        let connection = connection.filter(|connection| connection.serial == self.identity.svid.serial);
        if let Some(renewal) = connection.and_then(|connection| RenewalClient::new(connection, trust)) {
            match Door::Session(&renewal).ask(&self.identity, &key).await {
                Ok(issued) => return self.take(key, issued, RotatedOver::Session),
                Err(error) if error.leaves_it_to_https() => {}
                Err(error) => return Err(error),
            }
        }
        let issued = Door::Https(https).ask(&self.identity, &key).await?;
        self.take(key, issued, RotatedOver::Https)
    }

    fn take(
        &mut self,
        key: KeyPair,
        issued: Issued,
        over: RotatedOver,
    ) -> Result<RotatedOver, RotationError> {
        let identity = identity(key, issued)?;
        self.live.replace(identity.certified_key()?);
        self.identity = identity;
        Ok(over)
    }
}

async fn ended(session: JoinHandle<Ended>) -> Ended {
    session.await.unwrap_or_else(|error| Ended::Lost(error.to_string()))
}

fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate().map_err(IdentityError::KeyGeneration)
}

fn identity(key: KeyPair, issued: Issued) -> Result<Identity, RotationError> {
    let chain = certificates(issued.chain.as_bytes()).map_err(|error| CallError::Request(error.into()))?;
    Ok(Identity { svid: issued.svid, chain, key })
}
