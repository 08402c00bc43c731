//! Before the server starts: data directory, envelope, policy, certificate.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::Access;
use tokio::net::TcpListener;

use crate::app::issue::jwt_svids::JwtPolicy;
use crate::app::{App, Policy};
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::code::Code;
use crate::http::reach::Reach;
use crate::server::{StartError, own_certificate};
use crate::store::{self, ReadError, Store, View};
use crate::tls::live::LivePeers;

/// Below the data directory: programs for other platforms, which the server offers to machines that join.
pub(crate) const INSTALL_DIR: &str = "install";

/// The envelope's settings, as the configuration and systemd have them.
pub(crate) fn envelope_settings(config: &Config) -> EnvelopeSettings {
    EnvelopeSettings {
        data_dir: config.data_dir.clone(),
        key_file: config.envelope_key_file.clone(),
        passphrase_file: config.envelope_passphrase_file.clone(),
        credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        of_the_unit: CREDENTIALS_OF_THE_UNIT.map(PathBuf::from).into(),
    }
}

/// Where a running unit has its credential, and where systemd takes it from: systemd/muster.service names it so.
pub(crate) const CREDENTIALS_OF_THE_UNIT: [&str; 3] = [
    "/run/credentials/muster.service/envelope.key",
    "/etc/credstore/muster-envelope.key",
    "/run/credstore/muster-envelope.key",
];

/// What helps a command that does not find the envelope.
pub(crate) const FIND_THE_ENVELOPE: &str = match Code::NoEnvelope.advice() {
    Some(advice) => advice,
    None => "",
};

/// The envelope for new keys. One is made only where nothing is sealed yet; then it says where.
pub(crate) fn envelope_for_new_keys(
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
pub(crate) fn has_agent_ca(data_dir: &Path) -> bool {
    let store = data_dir.join(store::FILE_NAME);
    store.exists() && Store::peek(&store, |view| view.hierarchy()).is_none_or(|hierarchy| hierarchy.is_some())
}

/// Creates the data directory if it is not there, for its owner only.
///
/// One that root has given to the server's group (`root:muster 2775`, as volumes with an `fsGroup` are) stays as it is, if it is
/// closed to everybody else's writing: its files are for their owner alone whatever it is.
pub(crate) fn prepare_data_dir(path: &Path) -> Result<(), StartError> {
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

/// Opens the store of the data directory and puts the use cases on top.
pub(crate) fn open_app(config: &Config, live: &LivePeers) -> Result<Arc<App>, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let live = live.clone();
    let app = App::open(&config.data_dir, clock, policy(config), move |denied| live.end(denied))?;
    Ok(Arc::new(app))
}

/// The use cases' policy, from the configuration.
fn policy(config: &Config) -> Policy {
    Policy {
        svid_ttl: config.svid_ttl,
        svid_server_auth: config.svid_server_auth,
        svid_dns_suffixes: config.svid_dns_suffix.clone(),
        crl_url: config.crl_url.clone(),
        rotation_grace: config.rotation_grace,
        write_pace: config.write_pace,
        open_join_tokens_max: config.max_open_join_tokens,
        reserved_agent_ids: config.reserved_agent_ids.clone(),
        clone_policy: config.clone_policy,
        readmit_decommissioned: config.readmit_decommissioned,
        retention: config.retention,
        backups: config.backup.clone(),
        replicas: config.replicas.clone(),
        jwt: JwtPolicy {
            alg: config.jwt_svid_alg,
            ttl: config.jwt_svid_ttl,
            issuer: config.jwt_issuer.clone(),
        },
    }
}

/// Whether anybody depends on this server yet.
pub(crate) fn has_hosts(view: &View<'_>) -> Result<bool, ReadError> {
    let mut found = false;
    view.all_hosts(None, |_| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

pub(crate) fn make_certificate(config: &Config, has_agent_ca: bool) -> Result<(), StartError> {
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

/// Files that the settings have elsewhere and that are the server's alone.
pub(crate) fn secret_files(config: &Config) -> Vec<PathBuf> {
    let key = Some(config.tls_key_file.clone());
    let set = [key, config.envelope_key_file.clone(), config.envelope_passphrase_file.clone()];
    set.into_iter().flatten().collect()
}

/// What the settings say of the addresses by which others reach the server.
pub(crate) fn reach(config: &Config) -> Reach {
    Reach {
        public_url: config.public_url.clone(),
        grpc_addr: config.grpc_addr.clone(),
        machine: own_certificate::machine(),
        ..Reach::default()
    }
}

pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
