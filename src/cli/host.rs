//! `muster host`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::error::CliError;
use super::output::{field, made, print, print_fields, print_json, print_table, time};
use crate::shell::quoted;

/// List, show, decommission, re-enable and delete hosts
///
/// A host is the registry's row for one machine; it outlives its certificates. Decommissioning takes its identity
/// away within milliseconds and keeps its history. Deleting is for rows that should never have been.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
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
        /// The tenant to look at [default: the tenant 'default']
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Show one host and the latest of its timeline
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
    ///
    /// Its old certificates stay revoked. It comes back by enrolling with a join token that names its agent id:
    /// muster enroll-token --agent AGENT-ID
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

const EXAMPLES: &str = "Examples:
  muster host list --search 10.0.0. --status offline
  muster host decommission HOST-ID
  muster host re-enable HOST-ID && muster enroll-token --agent AGENT-ID";

/// A host and its tenant.
#[derive(Debug, clap::Args)]
pub(super) struct WhichHost {
    /// The host's id, as the list shows it
    id: String,
    /// The host's tenant [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
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
        eprintln!(
            "Its old certificates stay revoked. Enroll it again: muster enroll-token --agent {}",
            quoted(agent)
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl HostCommand {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List { decommissioned, search, status, tenant } => {
                let narrowed = decommissioned || search.is_some() || status.is_some();
                let call =
                    Call::get("/v1/hosts").query("tenant", tenant).query("q", search).query("status", status);
                let answer =
                    control.list(call.query("decommissioned", decommissioned.then_some(true))).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [
                    field("ID", "id"),
                    field("HOSTNAME", "hostname"),
                    made("AGENT", agent),
                    made("STATUS", state),
                    time("LAST SEEN", "last_seen"),
                    field("ADDRESSES", "ips"),
                    field("OS", "os"),
                    field("FLAGS", "flags"),
                ];
                let none = match narrowed {
                    true => "No such hosts.",
                    false => "No hosts yet. Mint a token: muster enroll-token",
                };
                print_table(items(&answer), &columns, none)
            }
            Self::Decommission { which } => {
                act(global, &control, which, "decommission", |name| format!("{name} decommissioned")).await
            }
            Self::ReEnable { which } => {
                act(global, &control, which, "re-enable", |name| format!("{name} re-enabled")).await
            }
            Self::Delete { which, yes } => {
                if !yes {
                    return Err(CliError::usage(
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
                let answer = control.call(Call::get(&path).query("tenant", which.tenant.as_deref())).await?;
                if global.json {
                    return print_json(&answer);
                }
                let fields = [
                    field("Host", "id"),
                    field("Agent id", "agent_id"),
                    field("Hostname", "hostname"),
                    made("Status", state),
                    field("SPIFFE id", "spiffe_id"),
                    field("OS", "os"),
                    field("Architecture", "arch"),
                    field("Addresses", "ips"),
                    field("Machine id", "machine_id"),
                    field("Agent version", "agent_version"),
                    time("First enrolled", "first_enrolled_at"),
                    time("Last seen", "last_seen"),
                    time("SVID until", "svid_not_after"),
                    time("Decommissioned", "decommissioned_at"),
                    field("Flags", "flags"),
                ];
                print_fields(&answer, &fields)?;
                show_timeline(&control, which).await
            }
        }
    }
}

/// Events of the timeline that are shown beside a host.
const LATEST: usize = 10;

async fn show_timeline(control: &Control, which: WhichHost) -> Result<ExitCode, CliError> {
    let path = format!("/v1/hosts/{}/events", escape(&which.id));
    let answer = control.list_up_to(Call::get(&path).query("tenant", which.tenant), LATEST).await?;
    print("\n")?;
    let columns = [
        time("AT", "at"),
        field("EVENT", "kind"),
        field("ACCORDING TO", "source"),
        field("DETAIL", "detail"),
    ];
    print_table(items(&answer), &columns, "Nothing has happened to it yet.")
}

/// The agent id where it says more than the host's id, which it is unless a token named another.
fn agent(host: &Value) -> String {
    match host["agent_id"].as_str() {
        Some(agent) if host["id"] != agent => agent.to_owned(),
        _ => "= ID".to_owned(),
    }
}

fn state(host: &Value) -> String {
    let status = host["status"].as_str().unwrap_or_default();
    if host["decommissioned_at"].is_null() { status.to_owned() } else { "decommissioned".to_owned() }
}
