//! Envoy's secret discovery service on the Workload API's socket: certificate, key, roots and revocation lists, pushed at
//! each change.

mod proto;
mod secrets;
mod service;

pub(crate) use proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
pub(crate) use service::SecretDiscovery;
