//! `muster host`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use crate::cli::Global;
use crate::cli::control::{Call, Control, escape, items};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{field, made, print, print_fields, print_json, print_table, time};
use crate::shell::quoted;

/// List, show, decommission, re-enable and delete hosts
///
/// A host is the registry's row for one machine; it outlives its certificates. Decommissioning takes its identity
/// away within milliseconds and keeps its history. Deleting is for rows that should never have been.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum HostCommand {
    /// List hosts, the newest first
    List(Listing),
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
  muster host list --state revoked --sort -last_seen
  muster host decommission HOST-ID
  muster host re-enable HOST-ID && muster enroll-token --agent AGENT-ID";

/// Which hosts to list, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    /// List decommissioned hosts, and only those
    #[arg(long)]
    decommissioned: bool,
    /// Only hosts with each of these words in hostname, address or OS
    ///
    /// A whole hostname, agent id or host id finds a decommissioned host, too.
    #[arg(long, short = 's', value_name = "TEXT")]
    search: Option<String>,
    /// Only hosts that are online, or only those that are not
    #[arg(long, value_parser = ["online", "offline"])]
    status: Option<String>,
    /// Only hosts in this state
    #[arg(long, value_parser = ["decommissioned", "revoked", "never_reported", "in_service"])]
    state: Option<String>,
    /// Only hosts with this flag
    #[arg(long, value_parser = ["possible_clone", "possible_duplicate"])]
    flag: Option<String>,
    /// Only hosts that this enrollment secret let in
    #[arg(long, value_name = "ID")]
    secret: Option<String>,
    /// Only hosts with this text in their OS
    #[arg(long, value_name = "TEXT")]
    os: Option<String>,
    /// Only agents of this version (0.2.0), or of older ones ('<0.2.0')
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// Only hosts that have not reported for so long, such as 24h
    #[arg(long, value_name = "TIME")]
    silent_for: Option<String>,
    /// Sort by enrolled, hostname, last_seen or expires, with a '-' in front turned round [default: enrolled]
    #[arg(long, value_name = "ORDER", allow_hyphen_values = true)]
    sort: Option<String>,
    /// The tenant to look at [default: the tenant 'default']
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

impl Listing {
    /// The request, and whether it leaves some hosts out.
    fn call(self) -> (Call<'static>, bool) {
        let filters = [
            ("q", self.search),
            ("status", self.status),
            ("state", self.state),
            ("flag", self.flag),
            ("secret", self.secret),
            ("os", self.os),
            ("version", self.agent_version),
            ("silent_for", self.silent_for),
            ("decommissioned", self.decommissioned.then(|| true.to_string())),
        ];
        let narrowed = filters.iter().any(|(_, value)| value.is_some());
        let call = Call::get("/v1/hosts").query("tenant", self.tenant).query("sort", self.sort);
        (filters.into_iter().fold(call, |call, (name, value)| call.query(name, value)), narrowed)
    }
}

/// A host and its tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichHost {
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
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List(listing) => {
                let (call, narrowed) = listing.call();
                let answer = control.list(call).await?;
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
                    made("Let in by", let_in_by),
                    time("Decommissioned", "decommissioned_at"),
                    time("Revoked", "revoked_at"),
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

/// Whether it is there, where that is what matters.
fn state(host: &Value) -> String {
    match host["state"].as_str() {
        Some(out @ ("decommissioned" | "revoked")) => out.to_owned(),
        Some("never_reported") => "not reporting yet".to_owned(),
        _ => host["status"].as_str().unwrap_or_default().to_owned(),
    }
}

fn let_in_by(host: &Value) -> String {
    let credential = &host["credential"];
    let text = |name: &str| credential[name].as_str().unwrap_or_default();
    match text("kind") {
        "" => String::new(),
        kind => format!("{kind} {} {} ({})", text("id"), text("name"), text("state")).replace("  ", " "),
    }
}
