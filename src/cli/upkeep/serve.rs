//! `muster serve`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::cli::output::error::CliError;
use crate::cli::output::values::print;
use crate::cli::upkeep::leash::Leash;
use crate::config::Overrides;
use crate::process::{NotifyState, OnHangup, allow_descriptors, notify, stop_on_signals};
use crate::server::Server;

/// Run the server
///
/// It needs an agent CA ('muster agent-ca init'), without which it serves and is not ready, and a server
/// certificate: 'muster gen-cert' makes one, or bring your own; a server that nobody knows yet makes one itself.
/// It refuses to start, and says why, on anything that it can't use. SIGTERM and SIGINT end it cleanly.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeCommand {
    /// The configuration file; config/muster.reference.yml lists every setting
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where HTTPS listens [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where gRPC listens [default: 0.0.0.0:9443]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// Say whether the server would start with these settings, and don't
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    leash: Leash,
}

const EXAMPLES: &str = "Examples:
  muster agent-ca init > root-key.pem     # once; keep the key offline
  muster gen-cert --name muster.example.org
  muster serve --config /etc/muster/muster.yml
  muster serve --config /etc/muster/muster.yml --check";

impl ServeCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let overrides =
            Overrides { listen: self.listen, grpc_listen: self.grpc_listen, ..Overrides::default() };
        let config = global.config(self.config.as_deref(), overrides, Ipv4Addr::UNSPECIFIED)?;
        global.log(Some(&config))?;
        allow_descriptors()?;
        if self.check {
            Server::examine(&config)?;
            return verdict(global.json);
        }
        let stop = stop_on_signal()?;
        self.leash.hold(&stop);
        let server = Server::start(&config).await?;
        if global.json {
            print(&format!("{}\n", listening(&server)))?;
        }
        run(server, stop).await;
        Ok(())
    }
}

fn verdict(json: bool) -> Result<(), CliError> {
    if json {
        return crate::cli::output::values::print_json(&json!({ "usable": true }));
    }
    eprintln!("These settings are usable.");
    Ok(())
}

/// Where a server listens, for `--json`.
fn listening(server: &Server) -> serde_json::Value {
    json!({
        "url": server.public_address().ok().map(|address| format!("https://{address}")),
        "listen": server.https_addr().to_string(),
        "grpc_listen": server.grpc_addr().to_string(),
        "crl_listen": server.lists_addr().map(|address| address.to_string()),
        "ca_pin": server.pin().map(|pin| pin.to_string()),
    })
}

/// Tells the service manager and the log that the listeners accept, and serves until `stop`.
pub(crate) async fn run(server: Server, stop: CancellationToken) {
    let pin = server.pin().map(|pin| pin.to_string());
    let lists = server.lists_addr().map(tracing::field::display);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, https = %server.https_addr(), grpc = %server.grpc_addr(), lists, pin, "serving");
    notify(NotifyState::Ready);
    let ending = stop.clone();
    tokio::spawn(async move {
        ending.cancelled().await;
        notify(NotifyState::Stopping);
    });
    server.run(stop).await;
}

/// The server's stop token. It says itself that it is stopping, because that comes after having said that it is ready;
/// SIGHUP asks for the certificate to be read again (`LiveCertificate::watch`).
pub(crate) fn stop_on_signal() -> Result<CancellationToken, CliError> {
    Ok(stop_on_signals(OnHangup::HandledElsewhere, || {})?)
}
