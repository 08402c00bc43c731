//! How a request came in. Each transport puts this into the request; nothing a client sends can.

use std::net::SocketAddr;

/// The transport of a request, with what it proves about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS from somewhere.
    Tls { peer: SocketAddr },
    /// Over TCP from somewhere, without TLS: public documents alone.
    Plain { peer: SocketAddr },
    /// Over the UNIX socket, from a process of this user.
    Socket { uid: u32 },
    /// Inside a command that opened the store itself.
    Process { uid: u32 },
}
