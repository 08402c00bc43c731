//! The session's connection, lent to whoever has a question for the server while it is open.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::transport::Channel;

use crate::grpc::proto::agent_service_client::AgentServiceClient;

/// A client of the session that was opened last.
type Client = AgentServiceClient<Channel>;

/// Where the connection of the open session is to be had.
#[derive(Debug, Clone, Default)]
pub struct ServerCalls {
    lent: Arc<watch::Sender<Lent>>,
}

/// The connection, and how many have been lent before.
#[derive(Debug, Default)]
struct Lent {
    number: u64,
    client: Option<Client>,
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
    pub fn lend(&self, client: Client) -> LentConnection {
        let mut number = 0;
        self.lent.send_modify(|lent| {
            number = lent.number + 1;
            *lent = Lent { number, client: Some(client) };
        });
        LentConnection { calls: self.clone(), number }
    }

    /// The connection, if there is one.
    pub(crate) fn client(&self) -> Option<Client> {
        self.lent.borrow().client.clone()
    }
}

impl Drop for LentConnection {
    fn drop(&mut self) {
        self.calls.lent.send_if_modified(|lent| {
            // The session that replaces this one may have lent its own by now.
            let ours = lent.number == self.number;
            if ours {
                lent.client = None;
            }
            ours
        });
    }
}
