//! The server put together: what starts in which order, who hears of what, and how it all ends.

pub mod own_certificate;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use own_certificate::OwnCertificateError;
use rustix::fs::Access;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::insight::fleet::HEARTBEAT_INTERVAL;
use crate::app::issue::admission::NotAdmitted;
use crate::app::keep::agent_ca::UnsealError;
use crate::app::{App, Policy, Unavailable};
use crate::ca::authority::Authority;
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::enroll::enrollment::{SpkiHash, past_not_after};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::domain::network::host_port::HostPort;
use crate::grpc::server::GrpcDeps;
use crate::http::reach::{Listening, Reach};
use crate::http::transport::socket::{Socket, SocketError};
use crate::http::{ServerFacts, Shared, router};
use crate::store::{self, OpenError, ReadError, Store, View};
use crate::tls::client_verifier::{PeerVerifier, Refusal, Registry, RootsError, vouch_for};
use crate::tls::live::LivePeers;
use crate::tls::server_certificate::{CertificateError, LiveCertificate};

/// How often presence is written down.
const SAVE_PRESENCE_EVERY: Duration = Duration::from_secs(10);
/// How often silent hosts are noticed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often expired leftovers are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Why the server did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data directory {}", path.display())]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("there is no envelope key to unseal the agent CA with")]
    NoEnvelope,
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot use the agent CA file {}", path.display())]
    AgentCaFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "agent_tls_ca_file {} does not vouch for what this server issues: no certificate in it is the agent CA's or \
         has signed its intermediate",
        path.display()
    )]
    ForeignAgentCa { path: PathBuf },
    #[error("the agent CA's certificates cannot be used")]
    Roots(#[from] RootsError),
    #[error("cannot make a server certificate")]
    OwnCertificate(#[from] OwnCertificateError),
    #[error(
        "a host can be told no address of this server: the certificate names none, and public_url is not set"
    )]
    NoAddress,
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl StartError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::ForeignAgentCa { .. } => {
                "agents would enroll and could never connect; put the bundle there ('muster agent-ca export PATH'), or leave the setting out"
            }
            Self::NoAddress => {
                "set public_url (MUSTER_PUBLIC_URL) to what agents and people reach this server by"
            }
            Self::Unseal(UnsealError::Unusable(_)) => {
                "use the envelope key that the agent CA was created with (envelope_key_file, envelope_passphrase_file)"
            }
            Self::NoEnvelope => {
                "set envelope_key_file, put envelope.key back into the data directory, or let systemd load the credential envelope.key"
            }
            Self::Store(OpenError::InUse(_)) => "a server is running on this data directory; stop it first",
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program holds this address; stop it or choose another one with --listen or --grpc-listen"
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege; choose a higher one"
            }
            Self::Certificate(CertificateError::Missing { .. }) => {
                "make one with 'muster gen-cert', or set tls_cert_file and tls_key_file"
            }
            _ => return None,
        })
    }
}

/// Below the data directory: programs for other platforms, which the server offers to machines that join.
const INSTALL_DIR: &str = "install";

/// The envelope's settings, as the configuration and systemd have them.
pub fn envelope_settings(config: &Config) -> EnvelopeSettings {
    EnvelopeSettings {
        data_dir: config.data_dir.clone(),
        key_file: config.envelope_key_file.clone(),
        passphrase_file: config.envelope_passphrase_file.clone(),
        credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        of_the_unit: CREDENTIALS_OF_THE_UNIT.map(PathBuf::from).into(),
    }
}

/// Where a running unit has its credential, and where systemd takes it from: systemd/muster.service names it so.
const CREDENTIALS_OF_THE_UNIT: [&str; 3] = [
    "/run/credentials/muster.service/envelope.key",
    "/etc/credstore/muster-envelope.key",
    "/run/credstore/muster-envelope.key",
];

/// What helps a command that does not find the envelope.
pub const FIND_THE_ENVELOPE: &str = match Code::NoEnvelope.advice() {
    Some(advice) => advice,
    None => "",
};

/// The envelope for new keys. One is made only where nothing is sealed yet; then it says where.
pub fn envelope_for_new_keys(
    config: &Config,
    has_agent_ca: bool,
    now: Timestamp,
) -> Result<(Envelope, Option<PathBuf>), EnvelopeError> {
    let settings = envelope_settings(config);
    if !has_agent_ca {
        return Envelope::find_or_create(&settings, now);
    }
    Ok((Envelope::find(&settings)?.ok_or(EnvelopeError::NotFound)?, None))
}

/// Whether a store has an agent CA. One that can't be looked into, because a server has it open, is taken to have one.
pub fn has_agent_ca(data_dir: &Path) -> bool {
    let store = data_dir.join(store::FILE_NAME);
    store.exists() && Store::peek(&store, |view| view.hierarchy()).is_none_or(|hierarchy| hierarchy.is_some())
}

/// Creates the data directory if it is not there, for its owner only.
///
/// One that root has given to the server's group (`root:muster 2775`, as volumes with an `fsGroup` are) stays as it is, if it is
/// closed to everybody else's writing: its files are for their owner alone whatever it is.
pub fn prepare_data_dir(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    let found = std::fs::metadata(path).map_err(failed)?;
    let to_a_group = found.mode() & 0o020 != 0 && found.gid() != 0;
    let lent = found.uid() == 0 && (to_a_group || !rustix::process::geteuid().is_root());
    if lent && found.mode() & 0o002 == 0 {
        return rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| failed(error.into()));
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, private).map_err(failed)
}

/// Opens the store of a data directory and puts the use cases on top.
pub fn open_app(data_dir: &Path, policy: Policy, live: &LivePeers) -> Result<Arc<App>, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let live = live.clone();
    Ok(Arc::new(App::open(data_dir, clock, policy, move |denied| live.end(denied))?))
}

/// The use cases' policy, from the configuration.
pub fn policy(config: &Config) -> Policy {
    Policy {
        svid_ttl: config.svid_ttl,
        svid_server_auth: config.svid_server_auth,
        rotation_grace: config.rotation_grace,
        write_pace: config.write_pace,
        open_join_tokens_max: config.max_open_join_tokens,
        clone_policy: config.clone_policy,
        readmit_decommissioned: config.readmit_decommissioned,
    }
}

/// Judges client certificates by the registry.
#[derive(Debug)]
struct ByRegistry(Arc<App>);

impl Registry for ByRegistry {
    fn shown(&self, host: HostId, serial: Serial) {
        self.0.note_shown(host, serial);
    }

    fn admit(
        &self,
        leaf_der: &[u8],
        key: SpkiHash,
        serial: Serial,
        id: &SpiffeId,
    ) -> Result<HostId, Refusal> {
        self.0.admit(leaf_der, key, serial, id).map_err(|refused| match refused {
            NotAdmitted::Unrecorded => Refusal::Unrecorded,
            NotAdmitted::Revoked => Refusal::Revoked,
            NotAdmitted::UnknownHost => Refusal::UnknownHost,
            NotAdmitted::Unavailable(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot judge a client certificate"
                );
                Refusal::Unavailable
            }
        })
    }
}

/// A server whose listeners are bound: it answers as soon as [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    shared: Shared,
    certificate: Arc<LiveCertificate>,
    agents: AgentAnchors,
    live: LivePeers,
    https: TcpListener,
    grpc: TcpListener,
    socket: Socket,
    https_addr: SocketAddr,
    grpc_addr: SocketAddr,
}

impl Server {
    /// Refuses whatever can be refused without opening the store, so that a refusal changes no file.
    pub fn examine(config: &Config) -> Result<(), StartError> {
        let configured = configured_roots(config)?;
        let store = config.data_dir.join(store::FILE_NAME);
        // Where only a proper opening can tell, as after a crash, the start tells after it.
        let stored = Store::peek(&store, |view| Ok((view.hierarchy()?, has_hosts(view)?)));
        let (hierarchy, has_hosts) = stored.unwrap_or_default();
        if let Some(hierarchy) = hierarchy {
            let envelope = Envelope::find(&envelope_settings(config))?.ok_or(StartError::NoEnvelope)?;
            drop(Authority::open(&hierarchy, &envelope).map_err(UnsealError::from)?);
            anchors_for(&configured, &hierarchy)?;
        }
        if has_hosts || !own_certificate::is_missing(config) {
            LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?;
        } else {
            own_certificate::asked_for(config)?;
        }
        Ok(())
    }

    /// Refuses a certificate and settings from which no address follows that a host could be told, before anything is
    /// made: whoever prints a line to paste needs one.
    pub fn examine_address(config: &Config) -> Result<(), StartError> {
        if own_certificate::is_missing(config) {
            return Ok(());
        }
        let certificate = LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?;
        let listening = Some(Listening { https: config.listen, grpc: config.grpc_listen });
        let reach = Reach { listening, certificate: Some(Arc::new(certificate)), ..reach(config) };
        reach.address().map(|_| ()).ok_or(StartError::NoAddress)
    }

    /// Opens everything that a server stands on, and binds. Changes nothing when it fails.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::examine(config)?;
        prepare_data_dir(&config.data_dir)?;
        let live = LivePeers::default();
        let app = open_app(&config.data_dir, policy(config), &live)?;
        Self::start_with(config, app, live).await
    }

    /// The same, on an app that is already open.
    pub async fn start_with(config: &Config, app: Arc<App>, live: LivePeers) -> Result<Self, StartError> {
        let verifier = Arc::new(PeerVerifier::new(Arc::new(ByRegistry(Arc::clone(&app)))));
        let agents = AgentAnchors { verifier: Arc::clone(&verifier), configured: configured_roots(config)? };
        if app.hierarchy()?.is_some() {
            let envelope = Envelope::find(&envelope_settings(config))?.ok_or(StartError::NoEnvelope)?;
            agents.follow(&app.unseal(&envelope)?)?;
        } else {
            tracing::warn!(
                "there is no agent CA yet, so no host can enroll; create it with: muster agent-ca init"
            );
        }
        if own_certificate::is_missing(config) && !app.store().read(has_hosts)? {
            make_certificate(config, app.hierarchy()?.is_some())?;
        }
        let certificate = Arc::new(LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?);
        let (https, https_addr) = bind(config.listen).await?;
        let (grpc, grpc_addr) = bind(config.grpc_listen).await?;
        let socket = Socket::bind(&config.data_dir.join(crate::http::transport::socket::FILE_NAME))?;
        let reach = Reach {
            listening: Some(Listening { https: https_addr, grpc: grpc_addr }),
            certificate: Some(Arc::clone(&certificate)),
            ..reach(config)
        };
        warn_of_addresses(&reach);
        let install_dir = Some(config.data_dir.join(INSTALL_DIR));
        let facts = ServerFacts {
            reach,
            refused_handshakes: Arc::default(),
            envelope: envelope_settings(config),
            install_dir,
        };
        let shared = Shared::new(Arc::clone(&app), facts, config.trusted_proxies.clone());
        Ok(Self { app, shared, certificate, agents, live, https, grpc, socket, https_addr, grpc_addr })
    }

    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Where browsers and agents reach the HTTPS listener.
    pub fn public_address(&self) -> Result<HostPort, StartError> {
        self.shared.facts.reach.address().ok_or(StartError::NoAddress)
    }

    pub const fn https_addr(&self) -> SocketAddr {
        self.https_addr
    }

    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// The pin of what the HTTPS listener presents.
    pub fn pin(&self) -> Option<String> {
        self.certificate.current().pin().map(str::to_owned)
    }

    /// Serves until `stop`, then drains: streams are told, open requests finish, presence is saved, and the
    /// store closes.
    pub async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.app.record_missing_records().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "that the audit trail was cut short is not on record"
            );
        }
        if let Err(error) = sign_of_life(&self.app, &self.certificate).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the outage before this start is not on record"
            );
        }
        let ending = CancellationToken::new();
        let changes = self.app.authority_changes();
        let deps = GrpcDeps {
            certificate: Arc::clone(&self.certificate),
            verifier: Arc::clone(&self.agents.verifier),
            live: self.live.clone(),
            refused: Arc::clone(&self.shared.facts.refused_handshakes),
            deny: self.app.store().deny_list().clone(),
            fleet: Arc::clone(self.app.fleet()),
            history: Arc::clone(self.app.history()),
            clock: Arc::clone(self.app.clock()),
            heartbeat_interval: HEARTBEAT_INTERVAL,
        };
        let router = router(self.shared.clone());
        let https = crate::http::transport::tls::serve(
            self.https,
            Arc::clone(&self.certificate),
            Arc::clone(&self.shared.facts.refused_handshakes),
            router.clone(),
            Arc::clone(&self.shared.trusted_proxies),
            ending.clone(),
        );
        let tasks = [
            tokio::spawn(https),
            tokio::spawn(crate::grpc::server::serve(self.grpc, deps, ending.clone())),
            tokio::spawn(self.socket.serve(router, ending.clone())),
            tokio::spawn(Arc::clone(&self.certificate).watch(ending.clone())),
            tokio::spawn(crate::http::trust_documents::keep(self.shared.clone(), ending.clone())),
            tokio::spawn(housekeeping(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(signs_of_life(Arc::clone(&self.app), Arc::clone(&self.certificate), ending.clone())),
            tokio::spawn(tidying(Arc::clone(&self.app), self.shared.clone(), ending.clone())),
            tokio::spawn(watch_for_clones(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(self.agents.keep_following(Arc::clone(&self.app), changes, ending.clone())),
            tokio::spawn(watch_addresses(self.shared.clone(), ending.clone())),
        ];
        stop.cancelled().await;
        tracing::info!("stopping");
        self.shared.end();
        ending.cancel();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(error = &error as &dyn std::error::Error, "a part of the server failed");
            }
        }
        if let Err(error) = save_presence(&self.app).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last reports could not be saved");
        }
        if let Err(error) = self.app.record_repeated_refusals(true).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "repeated refusals could not be recorded"
            );
        }
        if let Err(error) = sign_of_life(&self.app, &self.certificate).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last sign of life could not be left"
            );
        }
        tracing::info!("stopped");
    }
}

/// Saves reports, and what the opening of the store after a failed commit may have found.
async fn save_presence(app: &App) -> Result<(), Unavailable> {
    app.record_missing_records().await?;
    app.save_presence().await?;
    app.record_repeated_refusals(false).await
}

/// Leaves a sign of life, from which an outage can be told later, if an agent could rotate now.
async fn sign_of_life(app: &App, certificate: &LiveCertificate) -> Result<(), Unavailable> {
    let expired = past_not_after(certificate.current().not_after(), app.clock().now());
    app.sign_of_life(!expired).await
}

async fn signs_of_life(app: Arc<App>, certificate: Arc<LiveCertificate>, ending: CancellationToken) {
    let mut due = tokio::time::interval(app.sign_of_life_every().unsigned_abs());
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
        }
        if let Err(error) = sign_of_life(&app, &certificate).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no sign of life could be left; if that goes on, it counts as an outage"
            );
        }
    }
}

async fn housekeeping(app: Arc<App>, ending: CancellationToken) {
    let mut save = tokio::time::interval(SAVE_PRESENCE_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            _ = save.tick() => save_presence(&app).await,
            _ = sweep.tick() => {
                app.fleet().sweep(app.clock().now());
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "housekeeping failed; it will be tried again"
            );
        }
    }
}

/// Drops leftovers, however long that takes; signs of life do not wait for it.
async fn tidying(app: Arc<App>, shared: Shared, ending: CancellationToken) {
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            done = async {
                tidy.tick().await;
                shared.tidy();
                app.forget_expired().await
            } => done,
        };
        if let Err(error) = done {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leftovers were not dropped; it will be tried again"
            );
        }
    }
}

async fn watch_for_clones(app: Arc<App>, ending: CancellationToken) {
    loop {
        let recorded = tokio::select! {
            () = ending.cancelled() => return,
            recorded = app.record_suspicions() => recorded,
        };
        if let Err(error) = recorded {
            tracing::warn!(error = &error as &dyn std::error::Error, "a possible clone is not on record");
        }
    }
}

/// The anchors of the gRPC listener that the configuration puts in place of the stored ones.
fn configured_roots(config: &Config) -> Result<ConfiguredRoots, StartError> {
    let Some(path) = &config.agent_tls_ca_file else {
        return Ok(None);
    };
    let failed = |source| StartError::AgentCaFile { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    let parsed = crate::pem::file::certificates(&pem);
    let roots = parsed.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Some((path.clone(), roots)))
}

/// Whether anybody depends on this server yet.
fn has_hosts(view: &View<'_>) -> Result<bool, ReadError> {
    let mut found = false;
    view.hosts(None, |_| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

fn make_certificate(config: &Config, has_agent_ca: bool) -> Result<(), StartError> {
    let (made, envelope) = own_certificate::make(config, has_agent_ca, SystemClock.now())?;
    if let Some(file) = envelope {
        tracing::warn!(
            file = %file.display(),
            "made an envelope key, which unseals the CA keys; keep a copy elsewhere, and in no backup beside the data"
        );
    }
    let names: Vec<String> = made.names.iter().map(ToString::to_string).collect();
    tracing::info!(
        names = names.join(", "),
        pin = made.ca_pin,
        "made a server certificate, as there was none"
    );
    Ok(())
}

/// What the settings put in the place of the agent CA's roots, and the file it is from.
type ConfiguredRoots = Option<(PathBuf, Vec<Vec<u8>>)>;

/// By whom agents of this CA are verified. Configured anchors under which none of them could connect are refused.
fn anchors_for<'a>(
    configured: &'a ConfiguredRoots,
    hierarchy: &'a Hierarchy,
) -> Result<&'a [Vec<u8>], StartError> {
    let Some((path, roots)) = configured else { return Ok(&hierarchy.roots) };
    match hierarchy.intermediates.last() {
        Some(issuing) if vouch_for(roots, &issuing.certificate) => Ok(roots),
        _ => Err(StartError::ForeignAgentCa { path: path.clone() }),
    }
}

/// By whom agents are verified while the server runs.
#[derive(Debug)]
struct AgentAnchors {
    verifier: Arc<PeerVerifier>,
    configured: ConfiguredRoots,
}

impl AgentAnchors {
    fn follow(&self, hierarchy: &Hierarchy) -> Result<(), StartError> {
        let roots = anchors_for(&self.configured, hierarchy)?;
        Ok(self.verifier.replace_roots(hierarchy.trust_domain.clone(), roots)?)
    }

    /// Takes over every agent CA that comes while the server runs.
    async fn keep_following(
        self,
        app: Arc<App>,
        mut changes: watch::Receiver<()>,
        ending: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let followed = match app.hierarchy() {
                Ok(Some(hierarchy)) => self.follow(&hierarchy),
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            match followed {
                Ok(()) => tracing::info!("agents are verified by the agent CA as it is now"),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    hint = error.hint(),
                    "AGENTS THAT ENROLL NOW CANNOT CONNECT"
                ),
            }
        }
    }
}

/// What the settings say of the addresses by which others reach the server.
pub fn reach(config: &Config) -> Reach {
    Reach {
        public_url: config.public_url.clone(),
        grpc_addr: config.grpc_addr.clone(),
        machine: own_certificate::machine(),
        ..Reach::default()
    }
}

/// Says which addresses would be found out by the fleet to be wrong.
fn warn_of_addresses(reach: &Reach) {
    for address in reach.uncertified() {
        tracing::warn!(
            %address,
            "THE SERVER'S CERTIFICATE IS NOT FOR AN ADDRESS THAT IS GIVEN OUT; agents and browsers will refuse it there. \
             Make a certificate that is ('muster gen-cert --name'), or correct public_url and grpc_addr"
        );
    }
    if reach.address().is_none() {
        tracing::warn!(
            "no address of this server is known that could be given out; set public_url (MUSTER_PUBLIC_URL) to what \
             agents and people reach it by"
        );
    }
}

/// Looks at the addresses again whenever another certificate is served.
async fn watch_addresses(shared: Shared, ending: CancellationToken) {
    let reach = &shared.facts.reach;
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    let mut seen = reach.certificate.as_ref().map(|certificate| certificate.current());
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let current = reach.certificate.as_ref().map(|certificate| certificate.current());
        let same = match (&seen, &current) {
            (Some(seen), Some(current)) => Arc::ptr_eq(seen, current),
            _ => true,
        };
        if !same {
            warn_of_addresses(reach);
            seen = current;
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
