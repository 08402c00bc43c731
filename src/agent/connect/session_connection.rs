//! The session's connection, lent to whoever has a question for the server while it is open.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::transport::Channel;

use crate::domain::identity::serial::Serial;
use crate::domain::network::host_port::HostPort;
use crate::grpc::proto::agent_service_client::AgentServiceClient;
use crate::tls::server_verifier::FirstContact;

/// A connection that the server has accepted an identity on.
#[derive(Debug, Clone)]
pub struct SessionConnection {
    pub client: AgentServiceClient<Channel>,
    /// Where it leads.
    pub addr: HostPort,
    /// What was in use when it was dialed. It has proved that, or one that came meanwhile: whoever finds it in use still,
    /// knows which.
    pub serial: Serial,
    /// What the server has shown.
    pub server: Arc<FirstContact>,
}

/// Where the connection of the open session is to be had.
#[derive(Debug, Clone, Default)]
pub struct ServerCalls {
    lent: Arc<watch::Sender<Lent>>,
}

/// The connection, and how many have been lent before.
#[derive(Debug, Default)]
struct Lent {
    number: u64,
    connection: Option<SessionConnection>,
}

/// While it lives, the connection may be used.
#[derive(Debug)]
pub struct LentConnection {
    calls: ServerCalls,
    number: u64,
}

impl ServerCalls {
    /// Lends a connection in the place of the one before.
    #[must_use]
    pub fn lend(&self, connection: SessionConnection) -> LentConnection {
        let mut number = 0;
        self.lent.send_modify(|lent| {
            number = lent.number + 1;
            *lent = Lent { number, connection: Some(connection) };
        });
        LentConnection { calls: self.clone(), number }
    }

    /// A client of the connection, if there is one.
    pub(crate) fn client(&self) -> Option<AgentServiceClient<Channel>> {
        self.connection().map(|(_, connection)| connection.client)
    }

    /// The connection, if there is one, and which of all it is.
    pub(crate) fn connection(&self) -> Option<(u64, SessionConnection)> {
        let lent = self.lent.borrow();
        Some((lent.number, lent.connection.clone()?))
    }
}

impl Drop for LentConnection {
    fn drop(&mut self) {
        self.calls.lent.send_if_modified(|lent| {
            // The session that replaces this one may have lent its own by now.
            let ours = lent.number == self.number;
            if ours {
                lent.connection = None;
            }
            ours
        });
    }
}
