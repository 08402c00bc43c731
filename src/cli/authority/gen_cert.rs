//! `muster gen-cert`

use clap::Args;
use serde_json::json;

use crate::api::local::ServerTrustAnswer;
use crate::api::overview::OverviewAnswer;
use crate::api::people::TenantItem;
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::server::{NewKey, ServerCaError, ServerName};
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{print, print_json};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::server::{FIND_THE_ENVELOPE, has_agent_ca, own_certificate, prepare_data_dir};
use crate::{ca, server, store};

/// Make a self-signed CA and a server certificate for the HTTPS and gRPC listeners
///
/// Agents trust this CA by its pin. A second run keeps the CA, the key and the names, so that every pin and every
/// address stays good, and issues a new server certificate; a running server takes it over by itself. Not needed
/// where the server has a certificate from elsewhere (tls_cert_file and tls_key_file).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GenCertCommand {
    /// A DNS name or IP address under which the server is reached; may be repeated
    /// [default: the names of the certificate that is there; else those in MUSTER_PUBLIC_URL and
    /// MUSTER_CERT_NAMES, and this machine's names and addresses]
    #[arg(long = "name", value_name = "DNS-or-IP")]
    names: Vec<ServerName>,
    /// Only replace a certificate that is there, and fail where there is none
    #[arg(long)]
    renew: bool,
    /// Make another key, too; what trusts this very key, and not its CA, will refuse the server
    #[arg(long)]
    new_key: bool,
    /// With --new-key, go on although hosts depend on the server
    #[arg(long)]
    yes: bool,
    /// Make a new CA although hosts are on record, who trust another one and will refuse the server for good
    ///
    /// Only where the CA that they trust is lost: each of them has to be told the new pin, one by one. Where a backup is
    /// left, 'muster restore --only-tls FILE' brings that CA back instead.
    #[arg(long)]
    new_ca: bool,
}

const EXAMPLES: &str = "Examples:
  muster gen-cert --name muster.example.org --name 192.0.2.10
  muster gen-cert --renew";

impl GenCertCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let config = global.local_config()?;
        prepare_data_dir(&config.data_dir)?;
        let _custody = Custody::of(&config.data_dir);
        let tls = config.data_dir.join("tls");
        let before = ca::server::names_of(&tls);
        if self.renew && matches!(before, Ok(None)) {
            return Err(CliError::new(format!("there is no certificate in {} to renew", tls.display()))
                .hint("make one: muster gen-cert --name NAME"));
        }
        if self.new_key && ca::server::has_key(&tls) {
            self.another_key(global, &config).await?;
        }
        if !self.new_ca && !ca::server::has_ca(&tls) {
            refuse_new_ca(hosts_on_record(global, &config).await?, &tls)?;
        }
        let names = self.names_after(before, &config)?;
        let new_key = if self.new_key { NewKey::Always } else { NewKey::IfNone };
        let has_agent_ca = has_agent_ca(&config.data_dir);
        let envelope = envelope_for_new_keys(&config, has_agent_ca)?;
        let made = ca::server::generate(&tls, &names, &envelope, new_key, SystemClock.now())?;
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
        ))
    }
}

impl GenCertCommand {
    /// Another key needs a word where hosts depend on the server.
    async fn another_key(&self, global: &Global, config: &Config) -> Result<(), CliError> {
        if !config.data_dir.join(store::FILE_NAME).exists() {
            return Ok(());
        }
        let control = Control::open_local(global).await?;
        let trust: ServerTrustAnswer = control.call(Call::get("/local/hosts/server-trust")).await?.read()?;
        let ServerTrustAnswer { hosts, leaf_alone, unsaid } = trust;
        if hosts == 0 {
            return Ok(());
        }
        let who = format!(
            "hosts are on record ({hosts}): {leaf_alone} have reported that they trust the server's own certificate instead of its CA \
             and will refuse another key, {unsaid} have not said"
        );
        if self.yes {
            eprintln!("warning: {who}");
            return Ok(());
        }
        Err(CliError::new(who).hint("leave --new-key out to keep the key; to go on all the same: --yes"))
    }

    /// The names that were given, else those that are in use: the fleet knows the server by them.
    fn names_after(
        &self,
        before: Result<Option<Vec<ServerName>>, ServerCaError>,
        config: &Config,
    ) -> Result<Vec<ServerName>, CliError> {
        if !self.names.is_empty() {
            return Ok(self.names.clone());
        }
        let before = before?;
        let own = if before.is_none() { own_certificate::own_names() } else { Vec::new() };
        let asked_for = own_certificate::asked_for(config)?;
        Ok(before.into_iter().flatten().chain(asked_for).chain(own).collect())
    }
}

/// How many hosts depend on the server.
async fn hosts_on_record(global: &Global, config: &Config) -> Result<usize, CliError> {
    if !config.data_dir.join(store::FILE_NAME).exists() {
        return Ok(0);
    }
    let control = Control::open_local(global).await?;
    let mut hosts = 0;
    for tenant in control.list(Call::get("/v1/tenants")).await?.items::<TenantItem>()? {
        let overview = control.call(Call::get("/v1/overview").query("tenant", Some(tenant.id))).await?;
        hosts += overview.read::<OverviewAnswer>()?.hosts_total;
    }
    Ok(hosts)
}

/// Another CA locks every host out that trusts the one before.
fn refuse_new_ca(hosts: usize, tls: &std::path::Path) -> Result<(), CliError> {
    match hosts {
        0 => Ok(()),
        hosts => Err(CliError::new(format!(
            "hosts are on record ({hosts}), and {} has no CA: they trust the one that was there, or elsewhere, and would \
             refuse a server with a new one for good",
            tls.display()
        ))
        .hint(
            "bring it back from a backup: muster restore --only-tls FILE; where it is lost, --new-ca makes another one, and \
             then each host has to be given the new pin",
        )),
    }
}

/// The envelope for new keys. Says, if its key was made for them, where that went and what must not happen to it.
pub(crate) fn envelope_for_new_keys(config: &Config, has_agent_ca: bool) -> Result<Envelope, CliError> {
    let found = server::envelope_for_new_keys(config, has_agent_ca, SystemClock.now());
    let (envelope, created) = found.map_err(|error| match error {
        EnvelopeError::NotFound => CliError::from(error).hint(FIND_THE_ENVELOPE),
        error => error.into(),
    })?;
    if let Some(path) = created {
        eprintln!("Envelope key: {}", path.display());
        eprintln!("  It unseals the CA keys. Keep a copy elsewhere; key and data should not share a backup.");
    }
    Ok(envelope)
}
