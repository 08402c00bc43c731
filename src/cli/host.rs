//! `muster host`

use std::process::ExitCode;

use clap::Subcommand;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::error::CliError;
use super::output::{print_fields, print_json, print_table};

/// The registry's rows for machines.
#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// List hosts in the order of their enrollment
    List {
        /// List decommissioned hosts, and only those
        #[arg(long)]
        decommissioned: bool,
        /// The tenant to look at
        #[arg(long, value_name = "ID", default_value = "default")]
        tenant: String,
    },
    /// Show one host
    Show {
        /// The host's id, as the list shows it
        id: String,
        /// The host's tenant
        #[arg(long, value_name = "ID", default_value = "default")]
        tenant: String,
    },
}

impl HostCommand {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List { decommissioned, tenant } => {
                let call = Call::get("/v1/hosts").query("tenant", Some(tenant));
                let answer =
                    control.list(call.query("decommissioned", decommissioned.then_some(true))).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [
                    ("ID", "id"),
                    ("HOSTNAME", "hostname"),
                    ("AGENT", "agent_id"),
                    ("STATUS", "status"),
                    ("LAST SEEN", "last_seen"),
                    ("OS", "os"),
                ];
                print_table(items(&answer), &columns, "No hosts yet. Mint a token: muster enroll-token")
            }
            Self::Show { id, tenant } => {
                let path = format!("/v1/hosts/{}", escape(&id));
                let answer = control.call(Call::get(&path).query("tenant", Some(tenant))).await?;
                if global.json {
                    return print_json(&answer);
                }
                let fields = [
                    ("Host", "id"),
                    ("Hostname", "hostname"),
                    ("Status", "status"),
                    ("SPIFFE id", "spiffe_id"),
                    ("OS", "os"),
                    ("Architecture", "arch"),
                    ("Addresses", "ips"),
                    ("Machine id", "machine_id"),
                    ("Agent version", "agent_version"),
                    ("First enrolled", "first_enrolled_at"),
                    ("Last seen", "last_seen"),
                    ("SVID until", "svid_not_after"),
                    ("Decommissioned", "decommissioned_at"),
                ];
                print_fields(&answer, &fields)
            }
        }
    }
}
