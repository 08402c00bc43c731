//! `muster gen-cert`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Global;
use super::custody::Custody;
use super::error::CliError;
use super::output::{print, print_json};
use crate::ca::envelope::EnvelopeError;
use crate::ca::server::{self, ServerName};
use crate::clock::{Clock, SystemClock};
use crate::server::{FIND_THE_ENVELOPE, envelope_for_new_keys, has_agent_ca, prepare_data_dir};

/// Make a self-signed CA and a server certificate for the HTTPS and gRPC listeners
///
/// Agents trust this CA by its pin. A second run keeps the CA, so pins stay valid, and issues a new server
/// certificate; a running server takes it over by itself. Not needed where the server has a certificate
/// from elsewhere (tls_cert_file and tls_key_file).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster gen-cert --name muster.example.org --name 192.0.2.10")]
pub(super) struct GenCert {
    /// A DNS name or IP address under which the server is reached; may be repeated
    /// [default: this machine's names and addresses]
    #[arg(long = "name", value_name = "DNS-or-IP")]
    names: Vec<ServerName>,
}

impl GenCert {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let config = global.local_config()?;
        prepare_data_dir(&config.data_dir).map_err(CliError::from)?;
        let _custody = Custody::of(&config.data_dir);
        let has_agent_ca = has_agent_ca(&config.data_dir);
        let (envelope, created) = envelope_for_new_keys(&config, has_agent_ca, SystemClock.now())
            .map_err(|error| envelope_refused(&error))?;
        if let Some(path) = created {
            remind_of_envelope(&path);
        }
        let names = if self.names.is_empty() { own_names() } else { self.names };
        let made = server::generate(&config.data_dir.join("tls"), &names, &envelope, SystemClock.now());
        let made = made.map_err(|error| CliError::caused(&error))?;
        let names: Vec<String> = made.names.iter().map(ToString::to_string).collect();
        if global.json {
            return print_json(&json!({
                "ca_file": made.ca_file,
                "certificate_file": made.certificate_file,
                "key_file": made.key_file,
                "ca_pin": made.ca_pin,
                "names": names,
            }));
        }
        print(&format!(
            "Server certificate for {}: {}\nPin of its CA: {}\n",
            names.join(", "),
            made.certificate_file.display(),
            made.ca_pin,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Why there is no envelope, and how a command finds the one there is.
pub(super) fn envelope_refused(error: &EnvelopeError) -> CliError {
    let said = CliError::caused(error);
    if matches!(error, EnvelopeError::NotFound) { said.hint(FIND_THE_ENVELOPE) } else { said }
}

/// Says where the envelope key went and what must not happen to it.
pub(super) fn remind_of_envelope(path: &std::path::Path) {
    eprintln!("Envelope key: {}", path.display());
    eprintln!("  It unseals the CA keys. Keep a copy elsewhere; key and data should not share a backup.");
}

/// Names under which this machine may be reached.
pub(super) fn own_names() -> Vec<ServerName> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let link_local = match interface.ip() {
            std::net::IpAddr::V4(v4) => v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !interface.is_loopback() && !link_local {
            names.push(interface.ip().to_string());
        }
    }
    let mut kept: Vec<ServerName> = Vec::new();
    // A host name that is no DNS name is left out; addresses still lead here.
    for name in names.iter().filter_map(|name| name.parse().ok()) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}
