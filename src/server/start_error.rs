//! Why a server does not start, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::Unavailable;
use crate::app::keep::agent_ca::UnsealError;
use crate::ca::envelope::EnvelopeError;
use crate::http::transport::socket::SocketError;
use crate::server::own_certificate::OwnCertificateError;
use crate::store::{OpenError, ReadError};
use crate::tls::client_verifier::RootsError;
use crate::tls::server_certificate::CertificateError;

/// Why the server did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data directory {}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
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
    AgentCaFile { path: PathBuf, source: io::Error },
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
    Listen { address: SocketAddr, source: io::Error },
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
                "where agents trust a certificate already, bring it back from a backup (muster restore --only-tls FILE); \
                 otherwise make one with 'muster gen-cert', or set tls_cert_file and tls_key_file"
            }
            _ => return None,
        })
    }
}
