//! Which agents the gRPC listener lets in: the anchors of the agent CA, and the registry.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::issue::admission::NotAdmitted;
use crate::config::Config;
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::server::StartError;
use crate::tls::client_verifier::{ClientRefusal, PeerVerifier, Registry, vouch_for};

/// Judges client certificates by the registry.
#[derive(Debug)]
pub(crate) struct ByRegistry(pub(crate) Arc<App>);

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
    ) -> Result<HostId, ClientRefusal> {
        self.0.admit(leaf_der, key, serial, id).map_err(|refused| match refused {
            NotAdmitted::Unrecorded => ClientRefusal::Unrecorded,
            NotAdmitted::Revoked => ClientRefusal::Revoked,
            NotAdmitted::UnknownHost => ClientRefusal::UnknownHost,
            NotAdmitted::Unavailable(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot judge a client certificate"
                );
                ClientRefusal::Unavailable
            }
        })
    }
}

/// The anchors of the gRPC listener that the configuration puts in place of the stored ones.
pub(crate) fn configured_roots(config: &Config) -> Result<ConfiguredRoots, StartError> {
    let Some(path) = &config.agent_tls_ca_file else {
        return Ok(None);
    };
    let failed = |source| StartError::AgentCaFile { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    let parsed = crate::pem::file::certificates(&pem);
    let roots = parsed.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Some((path.clone(), roots)))
}

/// What the settings put in the place of the agent CA's roots, and the file it is from.
pub(crate) type ConfiguredRoots = Option<(PathBuf, Vec<Vec<u8>>)>;

/// By whom agents of this CA are verified. Configured anchors under which none of them could connect are refused.
pub(crate) fn anchors_for<'a>(
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
pub(crate) struct AgentAnchors {
    pub(crate) verifier: Arc<PeerVerifier>,
    pub(crate) configured: ConfiguredRoots,
}

impl AgentAnchors {
    pub(crate) fn follow(&self, hierarchy: &Hierarchy) -> Result<(), StartError> {
        let roots = anchors_for(&self.configured, hierarchy)?;
        Ok(self.verifier.replace_roots(hierarchy.trust_domain.clone(), roots)?)
    }

    /// Takes over every agent CA that comes while the server runs.
    pub(crate) async fn keep_following(
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
