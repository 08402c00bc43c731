//! The server put together: what starts in which order, who hears of what, and how it all ends.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::insight::fleet::HEARTBEAT_INTERVAL;
use crate::app::keep::agent_ca::UnsealError;
use crate::ca::authority::Authority;
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::config::Config;
use crate::domain::network::host_port::HostPort;
use crate::domain::network::pin::Pin;
use crate::grpc::server::GrpcDeps;
use crate::http::reach::{Listening, Reach};
use crate::http::transport::socket::Socket;
use crate::http::{ServerFacts, Shared, router};
use crate::server::agent_answers::AgentAnswers;
use crate::server::agent_trust::{AgentAnchors, anchors_for, configured_roots};
use crate::server::background::{
    deny_what_is_shown, housekeeping, jwt_keys_kept, keep_jwt_keys, publish_waiting_lists, retaining,
    save_presence, scrubbing, sign_of_life, signs_of_life, tidying, warn_of, warn_of_addresses,
    warn_of_names_and_lists, watch_addresses, watch_for_clones,
};
use crate::server::backups::back_up_by_itself;
use crate::server::expiries::tell_of_expiries;
use crate::server::prepare::{
    INSTALL_DIR, bind, envelope_settings, has_hosts, make_certificate, open_app, prepare_data_dir, reach,
    secret_files,
};
use crate::server::renewal::keep_own_certificate;
use crate::server::webhooks::{tell_of_time, tell_receivers};
use crate::server::{StartError, own_certificate};
use crate::store::{self, Store};
use crate::tls::client_verifier::PeerVerifier;
use crate::tls::live::LivePeers;
use crate::tls::server_certificate::LiveCertificate;

/// A server whose listeners are bound: it answers as soon as [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    shared: Shared,
    certificate: Arc<LiveCertificate>,
    /// Where it lies and what unseals its CA's key, if the settings leave it to us.
    own_certificate: Option<(PathBuf, EnvelopeSettings)>,
    agents: AgentAnchors,
    live: LivePeers,
    https: TcpListener,
    grpc: TcpListener,
    /// Where revocation lists are served without TLS, if anywhere.
    lists: Option<(TcpListener, SocketAddr)>,
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
            let opened = Authority::open(&hierarchy, &envelope);
            drop(opened.map_err(UnsealError::from)?);
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
        let app = open_app(config, &live)?;
        Self::start_with(config, app, live).await
    }

    /// The same, on an app that is already open.
    pub async fn start_with(config: &Config, app: Arc<App>, live: LivePeers) -> Result<Self, StartError> {
        let verifier = Arc::new(PeerVerifier::new(Arc::<App>::clone(&app)));
        let agents = AgentAnchors { verifier: Arc::clone(&verifier), configured: configured_roots(config)? };
        if app.hierarchy()?.is_some() {
            let envelope = Envelope::find(&envelope_settings(config))?.ok_or(StartError::NoEnvelope)?;
            // Before anything is issued by what was stolen.
            app.revoke_denied_intermediates().await?;
            agents.follow(&app.unseal(&envelope)?)?;
        } else {
            tracing::warn!(
                "there is no agent CA yet, so no host can enroll; create it with: muster agent-ca init"
            );
        }
        if own_certificate::is_missing(config) && !app.store.read(has_hosts)? {
            make_certificate(config, app.hierarchy()?.is_some())?;
        }
        let certificate = Arc::new(LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file)?);
        let (https, https_addr) = bind(config.listen).await?;
        let (grpc, grpc_addr) = bind(config.grpc_listen).await?;
        let lists = match config.crl_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let socket = Socket::bind(&config.data_dir.join(crate::http::transport::socket::FILE_NAME))?;
        let reach = Reach {
            listening: Some(Listening { https: https_addr, grpc: grpc_addr }),
            certificate: Some(Arc::clone(&certificate)),
            ..reach(config)
        };
        warn_of_addresses(&reach);
        warn_of_names_and_lists(&app)?;
        let facts = ServerFacts {
            reach,
            refused_handshakes: Arc::default(),
            envelope: envelope_settings(config),
            secret_files: secret_files(config),
            install_dir: Some(config.data_dir.join(INSTALL_DIR)),
        };
        let shared = Shared::new(Arc::clone(&app), facts, config.trusted_proxies.clone());
        let own_certificate = own_certificate::is_ours(config)
            .then(|| (config.data_dir.join("tls"), envelope_settings(config)));
        Ok(Self {
            app,
            shared,
            certificate,
            own_certificate,
            agents,
            live,
            https,
            grpc,
            lists,
            socket,
            https_addr,
            grpc_addr,
        })
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

    /// Where revocation lists are served without TLS.
    pub fn lists_addr(&self) -> Option<SocketAddr> {
        self.lists.as_ref().map(|(_, address)| *address)
    }

    /// The pin of what the HTTPS listener presents.
    pub fn pin(&self) -> Option<Pin> {
        self.certificate.current().facts.pin
    }

    /// Serves until `stop`, then drains: streams are told, open requests finish, presence is saved, and the
    /// store closes.
    pub async fn run(self, stop: CancellationToken) {
        let sent = CancellationToken::new();
        let shipping = self.app.ship_to_replicas(&self.shared.facts.envelope, &sent);
        if let Err(error) = self.app.record_missing_records().await {
            let error = &error as &dyn Error;
            tracing::error!(error, "that the audit trail was cut short is not on record");
        }
        if let Err(error) = sign_of_life(&self.app, &self.certificate).await {
            tracing::error!(error = &error as &dyn Error, "the outage before this start is not on record");
        }
        warn_of(self.app.note_svid_lifetime().await, "how long certificates live is not on record");
        // Before anything that has their public halves is made for the first time.
        jwt_keys_kept(&self.app, &self.shared.facts.envelope, false).await;
        let ending = CancellationToken::new();
        let changes = self.app.authority_changes();
        let deps = GrpcDeps {
            certificate: Arc::clone(&self.certificate),
            verifier: Arc::clone(&self.agents.verifier),
            live: self.live.clone(),
            refused: Arc::clone(&self.shared.facts.refused_handshakes),
            deny: self.app.store.deny_list().clone(),
            fleet: Arc::clone(&self.app.fleet),
            history: Arc::clone(&self.app.history),
            trust: self.app.trust_feed(),
            clock: Arc::clone(&self.app.clock),
            heartbeat_interval: HEARTBEAT_INTERVAL,
            rotations_asked: self.app.rotations_asked(),
            jwt: Arc::clone(&self.app.jwt),
            app: Arc::clone(&self.app),
            answers: Arc::new(AgentAnswers(Arc::clone(&self.shared.facts))),
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
        let lists = self.lists.map(|(listener, _)| {
            tokio::spawn(crate::http::transport::plain::serve(listener, router.clone(), ending.clone()))
        });
        let tasks = [
            tokio::spawn(https),
            tokio::spawn(crate::grpc::server::serve(self.grpc, deps, ending.clone())),
            tokio::spawn(self.socket.serve(router, ending.clone())),
            tokio::spawn(Arc::clone(&self.certificate).watch(ending.clone())),
            tokio::spawn(crate::http::trust_documents::keep(self.shared.clone(), ending.clone())),
            tokio::spawn(housekeeping(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(signs_of_life(Arc::clone(&self.app), Arc::clone(&self.certificate), ending.clone())),
            tokio::spawn(tidying(Arc::clone(&self.app), self.shared.clone(), ending.clone())),
            tokio::spawn(keep_jwt_keys(
                Arc::clone(&self.app),
                self.shared.facts.envelope.clone(),
                ending.clone(),
            )),
            tokio::spawn(back_up_by_itself(
                Arc::clone(&self.app),
                self.shared.facts.envelope.clone(),
                ending.clone(),
            )),
            tokio::spawn(watch_for_clones(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(deny_what_is_shown(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(self.agents.keep_following(Arc::clone(&self.app), changes, ending.clone())),
            tokio::spawn(watch_addresses(self.shared.clone(), ending.clone())),
            tokio::spawn(publish_waiting_lists(Arc::clone(&self.app), self.live.clone(), ending.clone())),
            tokio::spawn(scrubbing(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(retaining(Arc::clone(&self.app), ending.clone())),
            tokio::spawn(keep_own_certificate(
                Arc::clone(&self.app),
                Arc::clone(&self.certificate),
                self.own_certificate,
                ending.clone(),
            )),
            tokio::spawn(tell_receivers(self.shared.clone(), ending.clone())),
            tokio::spawn(tell_of_time(self.shared.clone(), ending.clone())),
            tokio::spawn(tell_of_expiries(self.shared.clone(), ending.clone())),
        ];
        stop.cancelled().await;
        tracing::info!("stopping");
        self.shared.end();
        ending.cancel();
        for task in tasks.into_iter().chain(lists) {
            if let Err(error) = task.await {
                tracing::error!(error = &error as &dyn Error, "a part of the server failed");
            }
        }
        warn_of(save_presence(&self.app).await, "the last reports could not be saved");
        warn_of(self.app.save_all_presence().await, "the last reports could not be saved");
        let recorded = self.app.record_repeated_refusals(true).await;
        warn_of(recorded, "repeated refusals could not be recorded");
        let left = sign_of_life(&self.app, &self.certificate).await;
        warn_of(left, "the last sign of life could not be left");
        // After the last change.
        sent.cancel();
        let sending = tokio::task::spawn_blocking(|| {
            // A panic there has been told of.
            shipping.into_iter().for_each(|thread| drop(thread.join()));
        });
        let _ = sending.await;
        tracing::info!("stopped");
    }
}
