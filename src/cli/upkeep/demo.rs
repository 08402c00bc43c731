//! Demo agents for `muster quickstart --demo-agents`: real agents with real identities, for machines that
//! don't exist, inside the server's process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::config::{AgentConfig, EnrollConfig};
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
use crate::agent::enroll::enroll_on_start::Patience;
use crate::agent::facts::Subject;
use crate::agent::identity::IdentityDir;
use crate::agent::run::readiness::tell_nobody;
use crate::agent::run::runtime;
use crate::agent::workload::PER_USER_USUAL;
use crate::app::App;
use crate::app::access::caller::Caller;
use crate::app::issue::tokens::TokenOrder;
use crate::cli::output::error::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::enroll::credential::CredentialKind;
use crate::domain::host::HostFacts;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::TenantId;
use crate::server::Server;

const ROLES: [&str; 5] = ["web", "db", "cache", "queue", "build"];
const SYSTEMS: [&str; 4] = [
    "Debian GNU/Linux 12 (bookworm)",
    "Ubuntu 24.04.1 LTS",
    "Alpine Linux v3.22",
    "Fedora Linux 43 (Server Edition)",
];

/// Starts demo agents; they end with `stop`. Those that already have an identity go on with it.
pub(crate) async fn start(
    server: &Server,
    config: &Config,
    caller: &Caller,
    count: u16,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, CliError> {
    let mut agents = JoinSet::new();
    if count == 0 {
        return Ok(agents);
    }
    let home = config.data_dir.join("demo-agents");
    crate::durable::private_directory(&home)
        .map_err(|error| CliError::new(format!("cannot make {}: {error}", home.display())))?;
    let tenant = server.app().default_tenant()?;
    for number in 1..=count {
        let agent = demo_agent(server, caller, tenant, &home, number).await?;
        let (clock, stop): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), stop.clone());
        agents.spawn(async move {
            if let Err(error) = runtime::run(agent, clock, Patience::default(), stop, tell_nobody).await {
                tracing::warn!(number, error = &error as &dyn std::error::Error, "a demo agent ended");
            }
        });
    }
    Ok(agents)
}

async fn demo_agent(
    server: &Server,
    caller: &Caller,
    tenant: TenantId,
    home: &Path,
    number: u16,
) -> Result<AgentConfig, CliError> {
    let role = ROLES[usize::from(number) % ROLES.len()];
    let name = format!("demo-{role}-{number:03}");
    let directory = home.join(&name);
    let identity = IdentityDir::new(&directory);
    let app = server.app();
    let enrolled = identity.read().ok().flatten();
    let expired = |not_after| not_after <= app.clock.now();
    let credential = match enrolled {
        Some(enrolled) if !expired(enrolled.svid.not_after) => None,
        stale => {
            if stale.is_some() {
                std::fs::remove_dir_all(&directory).map_err(|error| {
                    CliError::new(format!("cannot remove {}: {error}", directory.display()))
                })?;
            }
            Some(token(app, caller, tenant, &name).await?)
        }
    };
    let url = ServerUrl::from(server.public_address()?);
    Ok(AgentConfig {
        identity,
        server_ca: None,
        grpc_addr: None,
        server: None,
        enroll: EnrollConfig { credential, server: Some(url), pin: server.pin() },
        workload_socket: None,
        workload_connections_per_user: PER_USER_USUAL,
        relying_party: None,
        subject: Subject::Shown(facts(number, &name)),
        // They live where the server does.
        dialer: Arc::default(),
    })
}

async fn token(
    app: &App,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
) -> Result<CredentialSource, CliError> {
    let agent: AgentId = name.parse()?;
    let order = TokenOrder { agent: Some(agent), ..TokenOrder::default() };
    let (_, credential) = app.mint_token(caller, tenant, order).await?;
    let text = SecretText::new(&credential.reveal());
    Ok(CredentialSource { kind: CredentialKind::JoinToken, place: CredentialPlace::Given(text) })
}

fn facts(number: u16, name: &str) -> HostFacts {
    let [high, low] = number.to_be_bytes();
    let system = SYSTEMS[usize::from(number) % SYSTEMS.len()];
    let machine_id = format!("{number:032x}");
    // TEST-NET-1 and its neighbours in documentation space can't be anybody's (RFC 5737).
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100_u8.wrapping_add(high), low));
    HostFacts::bounded([name, system, "x86_64", &machine_id, env!("CARGO_PKG_VERSION")], [address])
}
