//! Health of the Workload API (`grpc.health.v1`): serving while there is an identity to give.

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Offered;

/// What may be asked for by name, and everything together.
const SERVICES: [&str; 3] = ["", "SpiffeWorkloadAPI", "envoy.service.secret.v3.SecretDiscoveryService"];

/// Tells whoever asks, for as long as the agent lives.
pub(crate) async fn report(reporter: HealthReporter, mut offered: watch::Receiver<Option<Offered>>) {
    loop {
        let served = offered.borrow_and_update().is_some();
        let status = if served { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        if offered.changed().await.is_err() {
            return;
        }
    }
}
