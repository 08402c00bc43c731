//! `muster quickstart`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::access::caller::{Caller, LocalVia};
use crate::app::access::users::FIRST_ADMIN;
use crate::app::issue::tokens::TokenOrder;
use crate::app::keep::agent_ca::ROOT_KEY_FILE;
use crate::cli::Global;
use crate::cli::authority::gen_cert::envelope_for_new_keys;
use crate::cli::output::error::CliError;
use crate::cli::output::values::SecretOutput;
use crate::cli::upkeep::leash::Leash;
use crate::cli::upkeep::serve::{run, stop_on_signal};
use crate::config::{Config, Overrides};
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::identity::spiffe::TrustDomain;
use crate::process::allow_descriptors;
use crate::server::{self, Server};
use crate::shell::quoted;
use crate::tls::live::LivePeers;

/// From nothing to a serving system in one command
///
/// Creates what is missing (store, envelope key, agent CA, server certificate, first administrator), prints
/// a line to paste on a host, and serves. Run again, it serves what is there. Meant for trying Muster out
/// and for small sites; 'muster serve' is for everything else.
///
/// With --json the first line on stdout says all of that as one document, once the listeners accept.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QuickstartCommand {
    /// Where HTTPS listens; port 0 takes a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where gRPC listens; port 0 takes a free one [default: 127.0.0.1:9443]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// Enroll and run this many agents inside the server, to have something to look at
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    demo_agents: u16,
    #[command(flatten)]
    leash: Leash,
}

const EXAMPLES: &str = "Examples:
  muster quickstart --data-dir ./muster-data
  muster quickstart --listen 0.0.0.0:8443 --grpc-listen 0.0.0.0:9443
  muster quickstart --demo-agents 20";

/// The quickstart's trust domain.
const TRUST_DOMAIN: &str = "muster";

impl QuickstartCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let overrides =
            Overrides { listen: self.listen, grpc_listen: self.grpc_listen, ..Overrides::default() };
        let config = global.config(None, overrides, Ipv4Addr::LOCALHOST)?;
        global.log(Some(&config))?;
        allow_descriptors()?;
        let mut output = SecretOutput::open()?;
        let stop = stop_on_signal()?;
        self.leash.hold(&stop);
        Server::examine(&config)?;
        Server::examine_address(&config)?;
        server::prepare_data_dir(&config.data_dir)?;
        let live = LivePeers::default();
        let app = server::open_app(&config, &live)?;
        let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
        prepare(&config, &app, &caller).await?;
        let server = Server::start_with(&config, app, live).await?;
        // Last, when nothing can fail any more that would keep the password from being shown.
        let admin_password = server.app().create_first_admin(&caller).await?;
        let password = admin_password.as_ref().map(|password| password.as_str());
        let text = greeting(&config, &server, &caller, password, global.json).await?;
        output.print(&text).map_err(|error| {
            CliError::new(format!("the first password and the join token could not be printed: {error}"))
                .hint("set a password with: muster user set-password admin")
        })?;
        drop(output);
        let demo =
            crate::cli::upkeep::demo::start(&server, &config, &caller, self.demo_agents, &stop).await?;
        run(server, stop).await;
        drop(demo);
        Ok(())
    }
}

/// Creates what a server needs and does not have; its certificate it makes itself.
async fn prepare(config: &Config, app: &Arc<App>, caller: &Caller) -> Result<(), CliError> {
    let has_agent_ca = app.hierarchy()?.is_some();
    let envelope = envelope_for_new_keys(config, has_agent_ca)?;
    if !has_agent_ca {
        let trust_domain: TrustDomain = TRUST_DOMAIN.parse().expect("a constant valid trust domain");
        let path = config.data_dir.join(ROOT_KEY_FILE);
        if path.exists() {
            return Err(CliError::new(format!(
                "{} is in the way: it is another agent CA's root key",
                path.display()
            ))
            .hint("move it to a safe place; a backup of that CA needs it"));
        }
        let keep = |key: &str| crate::durable::create(&path, crate::durable::OWNER_ONLY, key.as_bytes());
        app.init_agent_ca(caller, &trust_domain, &envelope, keep).await?;
        remind_of_root_key(&path);
    }
    Ok(())
}

fn remind_of_root_key(path: &Path) {
    eprintln!("ROOT KEY: {}", path.display());
    eprintln!("  Whoever holds it can make agents of their own. Move it offline NOW and delete this copy:");
    eprintln!("  it is needed only to renew the intermediate, in a year.");
}

/// What the first look at a new system needs: an address, a password, and a credential for a first host.
async fn greeting(
    config: &Config,
    server: &Server,
    caller: &Caller,
    admin_password: Option<&str>,
    json: bool,
) -> Result<Zeroizing<String>, CliError> {
    let tenant = server.app().default_tenant()?;
    let (_, credential) = server.app().mint_token(caller, tenant, TokenOrder::default()).await?;
    let address = server.public_address()?;
    let (url, pin) = (format!("https://{address}"), server.pin().map(|pin| pin.to_string()));
    let data_dir = config.data_dir.to_string_lossy();
    if json {
        let document = json!({
            "url": url,
            "grpc_addr": server.grpc_addr().to_string(),
            "admin_user": FIRST_ADMIN,
            "admin_password": admin_password,
            "ca_pin": pin,
            "join_token": credential.reveal().as_str(),
            "tenant_id": tenant.to_string(),
            "data_dir": data_dir,
        });
        return Ok(Zeroizing::new(format!("{document}\n")));
    }
    let password = match admin_password {
        Some(password) => format!("{password} (shown this one time)"),
        None => "as printed on the first run".to_owned(),
    };
    let link = JoinLink { server: address, pin: server.pin(), credential };
    Ok(Zeroizing::new(format!(
        "\nMuster is serving.\n\n  \
         Address          {url}\n  \
         Administrator    {FIRST_ADMIN}\n  \
         Password         {password}\n  \
         Server pin       {}\n  \
         Data directory   {data_dir}\n\n\
         To enroll a host, paste this on it within an hour (it works once):\n\n  \
         muster agent enroll {} --dir ./muster-agent\n\n",
        pin.as_deref().unwrap_or("none: the system's roots vouch for the certificate"),
        quoted(link.reveal().as_str()),
    )))
}
