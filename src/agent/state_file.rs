//! What the agent remembers beside its identity: where its server is, what it said last, how its clock differs.
//!
//! AgentState are a convenience: with the file gone or damaged the identity still works, so reading never fails.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::connect::server_url::ServerUrl;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::network::host_port::HostPort;

/// A difference between the clocks that is worth a warning: certificates are dated back by five minutes.
pub(crate) const CLOCK_DIFFERENCE_MS_WARNED: i64 = 240_000;

/// The contents of `agent.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentState {
    pub server: Option<ServerUrl>,
    /// The first of `grpc_addrs`.
    pub grpc_addr: Option<HostPort>,
    /// Where the server last said that it is, in its order.
    pub servers: Vec<ServerUrl>,
    pub grpc_addrs: Vec<HostPort>,
    pub spiffe_id: Option<String>,
    pub host_id: Option<HostId>,
    /// The certificate that `issued_at` speaks of.
    pub serial: Option<Serial>,
    /// By the server's clock.
    pub issued_at: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// The server's clock minus this machine's, in milliseconds, when the server last told.
    pub clock_difference_ms: Option<i64>,
    pub last_refusal: Option<LastRefusal>,
    /// Why rotation fails at present, when that is not a refusal.
    pub last_failure: Option<Failed>,
    /// Why the proxy is of no use at present.
    pub proxy_failure: Option<Failed>,
    /// When the server first answered a report of the agent that runs or ran last.
    pub reported_at: Option<Timestamp>,
    /// Connections to the Workload API that were one too many, since the agent started.
    pub workload_turned_away: u64,
}

/// The last time the server said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefusal {
    pub at: Timestamp,
    pub code: String,
    pub detail: String,
    /// What to do about it.
    #[serde(default)]
    pub hint: String,
}

/// A trouble that keeps coming back until it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When it was first met, by this machine's clock.
    pub since: Timestamp,
    pub what: String,
    pub hint: String,
}

impl AgentState {
    pub fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    pub fn to_text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("notes hold only strings and numbers");
        text.push(b'\n');
        text
    }
}
