//! Why connections end before they carry a request, for the log and for the count of refused handshakes.

use std::io;

use crate::tls::client_verifier::PeerError;
use crate::tls::listener::admission::PushedOut;
use crate::tls::live::TooManyConnections;

/// Why a connection ended before it carried a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("the TLS handshake took too long")]
    Slow,
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the client spoke HTTP without TLS")]
    PlainHttp,
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    TooMany(#[from] TooManyConnections),
    #[error(transparent)]
    PushedOut(#[from] PushedOut),
}

impl NotOpened {
    /// Whether one side has refused the other; bounds on connections have lines of their own.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Peer(_))
    }
}
