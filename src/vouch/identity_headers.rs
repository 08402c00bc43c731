//! Who a vouched agent is, as proxies hand it on to what stands behind them.

use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;

/// The names of the headers that say who it is. A proxy removes them from what its clients send.
pub const SPIFFE_ID: &str = "x-muster-spiffe-id";
/// Its agent id.
pub const AGENT: &str = "x-muster-agent";
/// Its tenant's id.
pub const TENANT: &str = "x-muster-tenant";
/// The serial of the certificate that it has shown.
pub const SERIAL: &str = "x-muster-serial";

/// Each header with its value, which is printable ASCII.
pub fn identity_headers(id: &SpiffeId, serial: Serial) -> [(&'static str, String); 4] {
    [
        (SPIFFE_ID, id.to_string()),
        (AGENT, id.agent.to_string()),
        (TENANT, id.tenant.to_string()),
        (SERIAL, serial.to_string()),
    ]
}
