//! Under which anchors the gRPC listener verifies agents: those of the agent CA, or configured ones.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::server::StartError;
use crate::tls::client_verifier::{PeerVerifier, vouch_for};

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
    match hierarchy.intermediates.iter().rfind(|it| !it.held) {
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
        let intermediates: Vec<_> = hierarchy.intermediates.iter().map(|it| it.certificate.clone()).collect();
        Ok(self.verifier.replace_roots(hierarchy.trust_domain.clone(), roots, &intermediates)?)
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
