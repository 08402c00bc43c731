//! The registry under test: steps, the clock, keys, and what agents and people hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::app::access::caller::{Caller, LocalVia};
use crate::app::issue::enroll::{EnrollError, EnrollRequest};
use crate::app::issue::issuing::IssuedAnswer;
use crate::app::issue::rotate::RotateRequest;
use crate::app::issue::secrets::SecretOrder;
use crate::app::issue::tokens::{TokenError, TokenOrder};
use crate::app::state_machine::model::{
    Certificate, ExpectedOutcome, GRACE, Model, ModelSecret, ModelToken, With,
};
pub(crate) use crate::app::state_machine::steps::{BEHIND, KEYS, Named, Step, step};
use crate::app::{App, Policy};
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::clock::Clock;
use crate::domain::enroll::credential::CredentialKind;
use crate::domain::enroll::enrollment::Via;
use crate::domain::host::HostFacts;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::spiffe::{AgentId, SpiffeId};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::{pem, store};

/// The wall clock, and how often it was asked how long it has run: a month more with each time.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64, AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn running(&self) -> SignedDuration {
        SignedDuration::from_hours(30 * 24 * self.1.fetch_add(1, Ordering::SeqCst))
    }
}

impl TestClock {
    fn move_by(&self, by: SignedDuration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// A machine's key, with a request for it.
pub(crate) struct Key {
    key: KeyPair,
    csr: Vec<u8>,
    csr_pem: String,
}

impl Key {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        Self { key, csr: csr.der().to_vec(), csr_pem: csr.pem().unwrap() }
    }
}

/// What all sequences begin with: a data directory with an agent CA, and the machines' keys.
pub(crate) struct Beginning {
    directory: TempDir,
    keys: Vec<Key>,
}

pub(crate) const BEGINS: i64 = 1_790_000_000_123;

impl Beginning {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(BEGINS - 3_600_000), AtomicI64::new(0)));
        let app = App::open(directory.path(), Arc::clone(&clock) as _, Policy::default(), |_| {}).unwrap();
        let settings =
            EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
        let (envelope, _) = Envelope::find_or_create(&settings, clock.now()).unwrap();
        app.init_agent_ca(&caller(), &"muster".parse().unwrap(), &envelope, |_| Ok(())).await.unwrap();
        Self { directory, keys: (0..KEYS).map(|_| Key::new()).collect() }
    }
}

pub(crate) fn caller() -> Caller {
    Caller::Local { uid: 0, via: LocalVia::Process }
}

/// A copy of a data directory as it is on disk now, which is what a crash leaves of it.
pub(crate) fn copied(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in [store::FILE_NAME, store::JOURNAL_NAME, "envelope.key"] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    let [changes, copy] = [from, to.path()].map(|directory| directory.join(store::CHANGES_NAME));
    // There is none yet in a store that nothing was written to.
    if let Ok(segments) = std::fs::read_dir(changes) {
        std::fs::create_dir(&copy).unwrap();
        for segment in segments {
            let segment = segment.unwrap();
            std::fs::copy(segment.path(), copy.join(segment.file_name())).unwrap();
        }
    }
    to
}

pub(crate) fn opened(directory: &Path, clock: &Arc<TestClock>) -> Arc<App> {
    let policy = Policy { rotation_grace: GRACE, ..Policy::default() };
    let app = App::open(directory, Arc::clone(clock) as _, policy, |_| {}).unwrap();
    let settings = EnvelopeSettings { data_dir: directory.to_owned(), ..EnvelopeSettings::default() };
    app.unseal(&Envelope::find(&settings).unwrap().unwrap()).unwrap();
    Arc::new(app)
}

/// What a machine keeps of a certificate.
pub(crate) struct Held {
    chain: String,
    pub(crate) leaf: Vec<u8>,
    pub(crate) id: SpiffeId,
}

/// The system with the model beside it.
pub(crate) struct World<'b> {
    keys: &'b [Key],
    directory: TempDir,
    pub(crate) clock: Arc<TestClock>,
    /// The latest that the clock has shown.
    pub(crate) latest: Timestamp,
    /// `None` only between closing and opening.
    open: Option<Arc<App>>,
    pub(crate) tenant: TenantId,
    pub(crate) model: Model,
    /// In step with the model's.
    tokens: Vec<Zeroizing<String>>,
    secrets: Vec<Zeroizing<String>>,
    pub(crate) held: Vec<Held>,
}

/// The one that a number chooses, counted from the newest.
pub(crate) fn chosen(number: usize, of: usize) -> Option<usize> {
    (of > 0).then(|| of - 1 - number % of)
}

impl<'b> World<'b> {
    fn new(beginning: &'b Beginning) -> Self {
        let directory = copied(beginning.directory.path());
        let clock = Arc::new(TestClock(AtomicI64::new(BEGINS), AtomicI64::new(0)));
        let app = opened(directory.path(), &clock);
        let tenant = app.default_tenant().unwrap();
        let mut model = Model::default();
        model.record(AuditAction::AgentCaInit, &"muster");
        let latest = clock.now();
        let (open, tokens, secrets, held) = (Some(app), Vec::new(), Vec::new(), Vec::new());
        Self { keys: &beginning.keys, directory, clock, latest, open, tenant, model, tokens, secrets, held }
    }

    pub(crate) fn app(&self) -> &Arc<App> {
        self.open.as_ref().unwrap()
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Mint { ref named, ttl } => self.mint(named, ttl).await,
            Step::Void(number) => self.void(number).await,
            Step::CreateSecret { max_uses, ttl } => self.create_secret(max_uses, ttl).await,
            Step::RevokeSecret(number) => self.revoke_secret(number).await,
            Step::Enroll { kind, with, key } => self.enroll(kind, with, key).await,
            Step::Return { host, key } => {
                self.mint(&Named::Host(host), 3_600).await;
                self.enroll(CredentialKind::JoinToken, 0, key).await;
            }
            Step::Guess { kind, with } => self.guess(kind, with).await,
            Step::Race { kind, with, hands } => self.race(kind, with, hands).await,
            Step::Rotate { from, key } => self.rotate(from, key).await,
            Step::Revoke(ref named) => self.revoke(named).await,
            Step::Decommission(number) => {
                let Some(id) = self.host(number) else { return };
                self.app().decommission(&caller(), self.tenant, id).await.unwrap();
                self.model.decommissioned(id, self.clock.now());
            }
            Step::ReEnable(number) => {
                let Some(id) = self.host(number) else { return };
                self.app().re_enable(&caller(), self.tenant, id).await.unwrap();
                self.model.re_enabled(id);
            }
            Step::Delete(number) => {
                let Some(id) = self.host(number) else { return };
                self.app().delete_host(&caller(), self.tenant, id).await.unwrap();
                self.model.deleted(id, self.clock.now());
            }
            Step::Tidy => {
                self.app().save_all_presence().await.unwrap();
                // The first time notes what the clock shows, and at the second the server has run for long.
                self.app().forget_expired().await.unwrap();
                self.app().forget_expired().await.unwrap();
                self.model.tidied(self.clock.now());
            }
            Step::Wait(seconds) => {
                self.clock.move_by(SignedDuration::from_secs(seconds));
                let behind = (self.latest - BEHIND).duration_since(self.clock.now());
                self.clock.move_by(behind.max(SignedDuration::ZERO));
            }
            Step::Away(seconds) => {
                self.app().save_all_presence().await.unwrap();
                self.app().sign_of_life(true).await.unwrap();
                self.model.saved();
                self.model.alive(self.clock.now());
                self.clock.move_by(SignedDuration::from_secs(seconds));
                self.reopen(false).await;
            }
            Step::Reopen => {
                self.app().save_all_presence().await.unwrap();
                self.model.saved();
                self.reopen(false).await;
            }
            Step::Crash => {
                self.model.crashed();
                self.reopen(true).await;
            }
        }
    }

    /// Lets go of everything in memory and opens what is on disk: as it was left, or as a crash leaves it.
    async fn reopen(&mut self, crash: bool) {
        let left = crash.then(|| copied(self.directory.path()));
        self.open = None;
        if let Some(left) = left {
            self.directory = left;
        }
        self.open = Some(opened(self.directory.path(), &self.clock));
        self.app().sign_of_life(true).await.unwrap();
        self.model.alive(self.clock.now());
        self.compare_all().await;
    }

    fn host(&self, number: usize) -> Option<HostId> {
        let at = chosen(number, self.model.hosts.len())?;
        self.model.hosts.keys().nth(at).copied()
    }

    fn agent(&self, named: &Named) -> Option<AgentId> {
        match named {
            Named::Nobody => None,
            Named::Fresh(number) => Some(format!("agent-{number}").parse().unwrap()),
            Named::Host(number) => self.host(*number).map(|id| self.model.hosts[&id].agent.clone()),
        }
    }

    /// A credential, and its text.
    fn credential(&self, kind: CredentialKind, number: usize) -> Option<(With, &Zeroizing<String>)> {
        if kind == CredentialKind::JoinToken {
            chosen(number, self.tokens.len()).map(|at| (With::Token(at), &self.tokens[at]))
        } else {
            chosen(number, self.secrets.len()).map(|at| (With::Secret(at), &self.secrets[at]))
        }
    }

    async fn mint(&mut self, named: &Named, ttl: i64) {
        let agent = self.agent(named);
        let order =
            TokenOrder { agent: agent.clone(), name: None, ttl_seconds: Some(ttl), ..TokenOrder::default() };
        let (token, text) = self.app().mint_token(&caller(), self.tenant, order).await.unwrap();
        let expires_at = self.clock.now() + SignedDuration::from_secs(ttl);
        self.model.record(AuditAction::JoinTokenMint, &token.id);
        self.model.tokens.push(ModelToken { id: token.id, agent, expires_at, used: false, voided: false });
        self.tokens.push(text.reveal());
    }

    async fn void(&mut self, number: usize) {
        let Some(at) = chosen(number, self.tokens.len()) else { return };
        let id = self.model.tokens[at].id;
        let voided = self.app().void_token(&caller(), self.tenant, id).await;
        let token = &mut self.model.tokens[at];
        if token.used {
            assert!(matches!(voided, Err(TokenError::AlreadyUsed)), "{voided:?}");
            return;
        }
        voided.unwrap();
        if !std::mem::replace(&mut token.voided, true) {
            self.model.record(AuditAction::JoinTokenVoid, &id);
        }
    }

    async fn create_secret(&mut self, max_uses: Option<i64>, ttl: Option<i64>) {
        let order = SecretOrder {
            name: "rollout".parse().unwrap(),
            max_uses,
            ttl_seconds: ttl,
            tags: std::collections::BTreeSet::new(),
            from: crate::domain::network::networks::Networks::default(),
        };
        let (secret, text) = self.app().create_secret(&caller(), self.tenant, order).await.unwrap();
        let expires_at = ttl.map(|ttl| self.clock.now() + SignedDuration::from_secs(ttl));
        let max_uses = max_uses.map(|max| u32::try_from(max).unwrap());
        self.model.record(AuditAction::EnrollmentSecretCreate, &secret.id);
        self.model.secrets.push(ModelSecret { id: secret.id, expires_at, max_uses, uses: 0, revoked: false });
        self.secrets.push(text.reveal());
    }

    async fn revoke_secret(&mut self, number: usize) {
        let Some(at) = chosen(number, self.secrets.len()) else { return };
        let id = self.model.secrets[at].id;
        self.app().revoke_secret(&caller(), self.tenant, id).await.unwrap();
        if !std::mem::replace(&mut self.model.secrets[at].revoked, true) {
            self.model.record(AuditAction::EnrollmentSecretRevoke, &id);
        }
    }

    fn request(&self, kind: CredentialKind, text: &str, key: usize) -> EnrollRequest {
        EnrollRequest {
            kind,
            credential: Zeroizing::new(text.to_owned()),
            csr: self.keys[key].csr_pem.clone(),
            facts: HostFacts::default(),
            peer: None,
        }
    }

    async fn enroll(&mut self, kind: CredentialKind, with: usize, key: usize) {
        let Some((with, text)) = self.credential(kind, with) else { return };
        let expected = self.model.judge_enrollment(with, key, self.clock.now());
        let answer = self.app().enroll(self.request(kind, text, key)).await;
        match (expected, answer) {
            (ExpectedOutcome::New, Ok(svid)) => self.enrolled(with, key, &svid),
            (ExpectedOutcome::Again(serial), Ok(svid)) => assert_eq!(svid.serial, serial),
            (ExpectedOutcome::Refused(reason), Err(error)) => assert_eq!(refusal(&error), reason),
            (expected, answer) => panic!("{expected:?}, but {answer:?}"),
        }
    }

    async fn guess(&mut self, kind: CredentialKind, with: usize) {
        let Some((_, text)) = self.credential(kind, with) else { return };
        // Another secret part of the right shape.
        let (id, secret) = text.rsplit_once('_').unwrap();
        let first = if secret.starts_with('a') { 'b' } else { 'a' };
        let answer = self.app().enroll(self.request(kind, &format!("{id}_{first}{}", &secret[1..]), 0)).await;
        assert_eq!(refusal(&answer.unwrap_err()), AuditReason::WrongSecret);
    }

    async fn race(&mut self, kind: CredentialKind, with: usize, hands: usize) {
        let now = self.clock.now();
        let Some((with, text)) = self.credential(kind, with) else { return };
        let free: Vec<_> = (0..KEYS).filter(|key| self.model.is_free(*key, now)).take(hands).collect();
        let Some(&first) = free.first() else { return };
        let expected = self.model.judge_enrollment(with, first, now);
        let admitted = match expected {
            ExpectedOutcome::New => self.model.admits(with).min(free.len()),
            ExpectedOutcome::Refused(_) => 0,
            ExpectedOutcome::Again(_) => unreachable!("nobody holds the key"),
        };
        let mut running = tokio::task::JoinSet::new();
        for key in free {
            let (app, request) = (Arc::clone(self.app()), self.request(kind, text, key));
            running.spawn(async move { (key, app.enroll(request).await) });
        }
        let mut svids = Vec::new();
        for (key, answer) in running.join_all().await {
            match (answer, expected) {
                (Ok(svid), _) => svids.push((key, svid)),
                (Err(error), ExpectedOutcome::Refused(reason)) => assert_eq!(refusal(&error), reason),
                (Err(error), _) => {
                    let late = matches!(
                        refusal(&error),
                        AuditReason::TokenUsed | AuditReason::Exhausted | AuditReason::SecretExhausted
                    );
                    assert!(late, "{error:?}");
                }
            }
        }
        assert_eq!(svids.len(), admitted, "of those who came at once");
        // The model has them in the order in which they were decided.
        let trail = self.trail();
        let decided =
            |svid: &IssuedAnswer| trail.iter().rposition(|(_, target)| *target == svid.host.to_string());
        svids.sort_by_key(|(_, svid)| decided(svid));
        for (key, svid) in svids {
            self.enrolled(with, key, &svid);
        }
    }

    fn enrolled(&mut self, with: With, key: usize, svid: &IssuedAnswer) {
        let certificate = self.hold(key, self.model.via(with), svid);
        self.model.enrolled(with, svid.id.agent.clone(), certificate, self.clock.now());
    }

    /// Keeps what the machine was given.
    fn hold(&mut self, key: usize, via: Via, svid: &IssuedAnswer) -> Certificate {
        assert_eq!(svid.issued_at, self.clock.now());
        let lifetime = svid.not_after.duration_since(svid.issued_at).as_secs();
        assert!((86_398..=86_400).contains(&lifetime), "{lifetime} s");
        self.held.push(Held {
            chain: format!("{}{}", svid.certificate_pem, svid.intermediate_pem),
            leaf: pem::single(&svid.certificate_pem, &[pem::CERTIFICATE]).unwrap(),
            id: svid.id.clone(),
        });
        Certificate {
            serial: svid.serial,
            host: svid.host,
            key,
            via,
            issued_at: svid.issued_at,
            not_after: svid.not_after,
            revoked: None,
            deleted: false,
        }
    }

    async fn rotate(&mut self, from: usize, key: usize) {
        let Some(from) = chosen(from, self.held.len()) else { return };
        let (expected, seen) = self.model.judge_rotation(from, key, self.clock.now());
        let current = self.model.certificates[from].clone();
        let request = RotateRequest {
            chain: self.held[from].chain.clone(),
            csr: self.keys[key].csr_pem.clone(),
            proof: self.keys[current.key].key.sign(&self.keys[key].csr).unwrap(),
            peer: None,
        };
        let answer = self.app().rotate(request).await;
        if seen {
            self.model.shown(from);
        }
        match (expected, answer) {
            (ExpectedOutcome::New, Ok(svid)) => {
                assert_eq!(svid.id, self.held[from].id);
                let certificate = self.hold(key, Via::Rotation { from: current.serial }, &svid);
                self.model.rotated(from, certificate, self.clock.now());
            }
            (ExpectedOutcome::Again(serial), Ok(svid)) => assert_eq!(svid.serial, serial),
            (ExpectedOutcome::Refused(reason), Err(refused)) => {
                assert_eq!(refused.error.reason(), Some(reason));
            }
            (expected, answer) => panic!("{expected:?}, but {answer:?}"),
        }
    }

    async fn revoke(&mut self, named: &Named) {
        let Some(agent) = self.agent(named) else { return };
        let identity = AgentRef { tenant: self.tenant, agent: agent.clone() };
        let revoked = self.app().revoke(&caller(), identity).await;
        let known = self.model.revoked(&agent, self.clock.now());
        assert_eq!(revoked.is_ok(), known, "{revoked:?}");
    }
}

pub(crate) fn refusal(error: &EnrollError) -> AuditReason {
    error.reason().unwrap_or_else(|| panic!("{error:?}"))
}

pub(crate) async fn take_all<'b>(beginning: &'b Beginning, steps: &[Step]) -> World<'b> {
    let mut world = World::new(beginning);
    for step in steps {
        world.take(step).await;
        world.compare();
        // What comes later has a later serial.
        world.clock.move_by(SignedDuration::from_millis(1));
        world.latest = world.latest.max(world.clock.now());
    }
    world.compare_all().await;
    world
}
