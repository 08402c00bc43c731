//! `muster host`

use std::process::ExitCode;

use clap::Subcommand;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::error::CliError;
use super::output::{print, print_fields, print_json, print_table};

/// The registry's rows for machines.
#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// List hosts in the order of their enrollment
    List {
        /// List decommissioned hosts, and only those
        #[arg(long)]
        decommissioned: bool,
        /// Only hosts with this text in hostname, address or OS
        #[arg(long, short = 's', value_name = "TEXT")]
        search: Option<String>,
        /// Only hosts that are online, or only those that are not
        #[arg(long, value_parser = ["online", "offline"])]
        status: Option<String>,
        /// The tenant to look at
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// Show one host, and what happened to it lately
    Show {
        #[command(flatten)]
        which: WhichHost,
    },
    /// Take a host out of service: its certificates are revoked, its streams end, its history stays
    Decommission {
        #[command(flatten)]
        which: WhichHost,
    },
    /// Let a decommissioned or revoked host enroll again
    ReEnable {
        #[command(flatten)]
        which: WhichHost,
    },
    /// Remove a host with its certificates and history; what stays is the audit record
    Delete {
        #[command(flatten)]
        which: WhichHost,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

/// Entries of the timeline that are shown, newest first.
const ENTRIES_SHOWN: usize = 10;

/// A host and its tenant.
#[derive(Debug, clap::Args)]
pub(super) struct WhichHost {
    /// The host's id, as the list shows it
    id: String,
    /// The host's tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

async fn act(
    global: &Global,
    control: &Control,
    which: WhichHost,
    verb: &str,
    done: impl Fn(&str) -> String,
) -> Result<ExitCode, CliError> {
    let path = format!("/v1/hosts/{}/{verb}", escape(&which.id));
    let answer = control.call(Call::post(&path).query("tenant", which.tenant)).await?;
    if global.json {
        return print_json(&answer);
    }
    let name = answer["hostname"].as_str().or_else(|| answer["agent_id"].as_str()).unwrap_or_default();
    print(&format!("{}\n", done(name)))?;
    if verb == "re-enable" {
        let agent = answer["agent_id"].as_str().unwrap_or_default();
        eprintln!("Its old certificates stay revoked. Enroll it again: muster enroll-token --agent {agent}");
    }
    Ok(ExitCode::SUCCESS)
}

impl HostCommand {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List { decommissioned, search, status, tenant } => {
                let call =
                    Call::get("/v1/hosts").query("tenant", tenant).query("q", search).query("status", status);
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
            Self::Decommission { which } => {
                act(global, &control, which, "decommission", |name| format!("{name} decommissioned")).await
            }
            Self::ReEnable { which } => {
                act(global, &control, which, "re-enable", |name| format!("{name} re-enabled")).await
            }
            Self::Delete { which, yes } => {
                if !yes {
                    return Err(CliError::new(
                        "deleting a host removes its history for good; nothing was done",
                    )
                    .hint("repeat the command with --yes, or keep the history: muster host decommission"));
                }
                let path = format!("/v1/hosts/{}", escape(&which.id));
                control.call(Call::delete(&path).query("tenant", which.tenant)).await?;
                if global.json {
                    return print_json(&serde_json::json!({ "id": which.id, "deleted": true }));
                }
                print(&format!("Host {} is deleted.\n", which.id))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { which } => {
                let path = format!("/v1/hosts/{}", escape(&which.id));
                let answer = control.call(Call::get(&path).query("tenant", which.tenant.as_ref())).await?;
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
                    ("Flags", "flags"),
                ];
                print_fields(&answer, &fields)?;
                print("\n")?;
                let path = format!("{path}/events");
                let newest =
                    Call::get(&path).query("tenant", which.tenant).query("limit", Some(ENTRIES_SHOWN));
                let timeline = control.call(newest).await?;
                let columns = [("WHEN", "at"), ("WHAT", "kind"), ("ACCORDING TO", "source"), ("", "detail")];
                print_table(items(&timeline), &columns, "Nothing has happened yet")
            }
        }
    }
}
