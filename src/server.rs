//! The server put together: what starts in which order, who hears of what, and how it all ends.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::admission::NotAdmitted;
use crate::app::agent_ca::UnsealError;
use crate::app::fleet::HEARTBEAT_INTERVAL;
use crate::app::{App, Policy, Unavailable};
use crate::ca::authority::Authority;
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::enrollment::{SpkiHash, past_not_after};
use crate::domain::ids::HostId;
use crate::domain::serial::Serial;
use crate::domain::spiffe::SpiffeId;
use crate::grpc::server::GrpcDeps;
use crate::http::socket::{Socket, SocketError};
use crate::http::{ServerFacts, Shared, router};
use crate::store::{self, OpenError, Store};
use crate::tls::certificate::{CertificateError, LiveCertificate};
use crate::tls::live::LivePeers;
use crate::tls::peer::{PeerVerifier, Refusal, Registry, RootsError};

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
    #[error("the agent CA's certificates cannot be used")]
    Roots(#[from] RootsError),
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
}

impl StartError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unseal(UnsealError::Missing) => {
                "create it with 'muster agent-ca init', or start with 'muster quickstart'"
            }
            Self::Unseal(UnsealError::Unusable(_)) => {
                "use the envelope key that the agent CA was created with (envelope_key_file, envelope_passphrase_file)"
            }
            Self::NoEnvelope => "set envelope_key_file, or put envelope.key back into the data directory",
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

/// The envelope's settings, as the configuration and systemd have them.
pub fn envelope_settings(config: &Config) -> EnvelopeSettings {
    EnvelopeSettings {
        data_dir: config.data_dir.clone(),
        key_file: config.envelope_key_file.clone(),
        passphrase_file: config.envelope_passphrase_file.clone(),
        credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    }
}

/// Creates the data directory if it is not there, for its owner only.
pub fn prepare_data_dir(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
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
    verifier: Arc<PeerVerifier>,
    live: LivePeers,
    https: TcpListener,
    grpc: TcpListener,
    socket: Socket,
    https_addr: SocketAddr,
    grpc_addr: SocketAddr,
    public_host: String,
}

impl Server {
    /// Opens everything that a server stands on, and binds. Changes nothing when it fails.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let store = config.data_dir.join(store::FILE_NAME);
        if !store.exists() {
            return Err(UnsealError::Missing.into());
        }
        // Everything that can be refused without opening the store is, so that a refusal changes no file.
        let envelope = Envelope::find(&envelope_settings(config))?.ok_or(StartError::NoEnvelope)?;
        LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?;
        configured_roots(config)?;
        match Store::peek(&store, |view| view.hierarchy()) {
            Some(None) => return Err(UnsealError::Missing.into()),
            Some(Some(hierarchy)) => drop(Authority::open(&hierarchy, &envelope).map_err(UnsealError::from)?),
            None => {}
        }
        prepare_data_dir(&config.data_dir)?;
        let live = LivePeers::default();
        let app = open_app(&config.data_dir, policy(config), &live)?;
        Self::start_with(config, app, live).await
    }

    /// The same, on an app that is already open.
    pub async fn start_with(config: &Config, app: Arc<App>, live: LivePeers) -> Result<Self, StartError> {
        if app.hierarchy()?.is_none() {
            return Err(UnsealError::Missing.into());
        }
        let envelope = Envelope::find(&envelope_settings(config))?.ok_or(StartError::NoEnvelope)?;
        let hierarchy = app.unseal(&envelope)?;
        drop(envelope);
        let certificate = Arc::new(LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?);
        let verifier = Arc::new(PeerVerifier::new(Arc::new(ByRegistry(Arc::clone(&app)))));
        let roots = configured_roots(config)?.unwrap_or_else(|| hierarchy.roots.clone());
        verifier.replace_roots(hierarchy.trust_domain.clone(), &roots)?;
        let (https, https_addr) = bind(config.listen).await?;
        let (grpc, grpc_addr) = bind(config.grpc_listen).await?;
        let socket = Socket::bind(&config.data_dir.join(crate::http::socket::FILE_NAME))?;
        let public_host = public_host(https_addr, &certificate);
        let told = config.grpc_addr.clone().unwrap_or_else(|| {
            let host = if grpc_addr.ip().is_unspecified() { public_host.clone() } else { host_of(grpc_addr) };
            format!("{host}:{}", grpc_addr.port())
        });
        let facts = ServerFacts {
            https_addr: Some(format!("{public_host}:{}", https_addr.port())),
            grpc_addr: Some(told),
            certificate: Some(Arc::clone(&certificate)),
            envelope: envelope_settings(config),
        };
        let shared = Shared::new(Arc::clone(&app), facts, config.trusted_proxies.clone());
        Ok(Self {
            app,
            shared,
            certificate,
            verifier,
            live,
            https,
            grpc,
            socket,
            https_addr,
            grpc_addr,
            public_host,
        })
    }

    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Where browsers and agents reach the HTTPS listener, `host:port`.
    pub fn public_authority(&self) -> String {
        format!("{}:{}", self.public_host, self.https_addr.port())
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
        let deps = GrpcDeps {
            certificate: Arc::clone(&self.certificate),
            verifier: Arc::clone(&self.verifier),
            live: self.live.clone(),
            deny: self.app.store().deny_list().clone(),
            fleet: Arc::clone(self.app.fleet()),
            history: Arc::clone(self.app.history()),
            clock: Arc::clone(self.app.clock()),
            heartbeat_interval: HEARTBEAT_INTERVAL,
        };
        let router = router(self.shared.clone());
        let https = crate::http::tls::serve(
            self.https,
            Arc::clone(&self.certificate),
            router.clone(),
            ending.clone(),
        );
        let tasks = [
            tokio::spawn(https),
            tokio::spawn(crate::grpc::server::serve(self.grpc, deps, ending.clone())),
            tokio::spawn(self.socket.serve(router, ending.clone())),
            tokio::spawn(Arc::clone(&self.certificate).watch(ending.clone())),
            tokio::spawn(housekeeping(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(signs_of_life(Arc::clone(&self.app), Arc::clone(&self.certificate), ending.clone())),
            tokio::spawn(tidying(Arc::clone(&self.app), self.shared.clone(), ending.clone())),
            tokio::spawn(watch_for_clones(Arc::clone(&self.app), ending.clone())),
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
    app.save_presence().await
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
fn configured_roots(config: &Config) -> Result<Option<Vec<Vec<u8>>>, StartError> {
    let Some(path) = &config.agent_tls_ca_file else {
        return Ok(None);
    };
    let failed = |source| StartError::AgentCaFile { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    let parsed: Result<Vec<_>, _> = rustls::pki_types::pem::PemObject::pem_slice_iter(&pem).collect();
    let certificates: Vec<rustls::pki_types::CertificateDer<'static>> =
        parsed.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    if certificates.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate")));
    }
    Ok(Some(certificates.into_iter().map(|certificate| certificate.to_vec()).collect()))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The host part under which others reach this server: the address listened on, else the first name in the
/// certificate that is not this machine's own loopback.
fn public_host(listening: SocketAddr, certificate: &LiveCertificate) -> String {
    if !listening.ip().is_unspecified() {
        return host_of(listening);
    }
    let certificate = certificate.current();
    let loopback = |name: &str| {
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let name = certificate.names().iter().find(|name| !loopback(name)).cloned();
    let name = name.unwrap_or_else(|| "127.0.0.1".to_owned());
    if name.contains(':') { format!("[{name}]") } else { name }
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
