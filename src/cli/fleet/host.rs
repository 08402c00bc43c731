//! `muster host`

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api::encoding::word::Word;
use crate::api::hosts::{HostBatchAction, HostBatchAnswer, HostBatchBody, HostEventItem, HostItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::fleet::which_host::host_id;
use crate::cli::output::error::CliError;
use crate::cli::output::form::OutputForm;
use crate::cli::output::table::{column, made, print_fields};
use crate::cli::output::values::{print, print_json, print_whole};
use crate::domain::host::HostState;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::identity::subject;
use crate::shell::quoted;

/// List, show, tag, decommission, re-enable and delete hosts
///
/// A host is the registry's row for one machine; it outlives its certificates. Decommissioning takes its identity
/// away within milliseconds and keeps its history. Deleting is for rows that should never have been.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum HostCommand {
    /// List hosts, the newest first
    List(Listing),
    /// Show one host and the latest of its timeline
    Show(WhichHost),
    /// Take hosts out of service: their certificates are revoked, their streams end, their history stays
    Decommission(WhichHosts),
    /// Give hosts tags, and take tags from them
    Tag {
        #[command(flatten)]
        which: WhichHosts,
        /// KEY or KEY:VALUE, of a-z, 0-9, '.', '_' and '-'
        #[arg(long, value_name = "TAG", required_unless_present = "remove")]
        add: Vec<String>,
        /// A tag that they shall have no more
        #[arg(long, value_name = "TAG")]
        remove: Vec<String>,
    },
    /// Let decommissioned or revoked hosts enroll again
    ///
    /// Their old certificates stay revoked. Each comes back by enrolling with a join token that names its agent id:
    /// muster enroll-token --agent AGENT-ID
    ReEnable(WhichHosts),
    /// Remove hosts with their certificates and history; what stays is the audit record
    Delete {
        #[command(flatten)]
        which: WhichHosts,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

const EXAMPLES: &str = "Examples:
  muster host list --search 10.0.0. --status offline
  muster host list --state revoked --sort -last_seen
  muster host list -o spiffe > allowed-agents
  muster host tag web-1 web-2 --add role:web --remove role:db
  muster host decommission web-1 web-2
  muster host re-enable web-1 && muster enroll-token --agent AGENT-ID";

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
    #[arg(long, value_parser = ["possible_clone", "possible_duplicate", "recovered"])]
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
    /// Only hosts that have this very tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only hosts that report and have not renewed their certificate although it was time
    #[arg(long)]
    overdue: bool,
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

/// The name of a host that may be let in, for the list of a program that knows no revocation lists.
fn name_of(form: OutputForm, host: &HostItem) -> Option<String> {
    let id = host.spiffe_id.as_ref().filter(|_| host.revoked_at.is_none())?;
    match form {
        OutputForm::Dn => Some(subject::rfc2253(&id.parse().ok()?)),
        _ => Some(id.clone()),
    }
}

/// The subject of a host's certificates in one of its forms.
fn subject_of(host: &HostItem, form: fn(&SpiffeId) -> String) -> String {
    let id: Option<SpiffeId> = host.spiffe_id.as_ref().and_then(|id| id.parse().ok());
    id.map(|id| form(&id)).unwrap_or_default()
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
            ("tag", self.tag),
            ("silent_for", self.silent_for),
            ("overdue", self.overdue.then(|| true.to_string())),
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
    /// The host's id, its agent id, or a hostname that only one host has
    host: String,
    /// The host's tenant [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

/// Several hosts of a tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichHosts {
    /// Their ids, agent ids, or hostnames that only one host each has
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// Their tenant [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

/// What is done to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Decommission,
    ReEnable,
    Delete,
}

impl Deed {
    const fn done(self) -> &'static str {
        match self {
            Self::Decommission => "decommissioned",
            Self::ReEnable => "re-enabled",
            Self::Delete => "deleted",
        }
    }

    /// Does it to one host; the answer, and a line that says so.
    async fn to(
        self,
        control: &Control,
        host: &str,
        tenant: Option<&str>,
    ) -> Result<(Value, String), CliError> {
        let id = host_id(control, host, tenant).await?;
        let path = match self {
            Self::Decommission => format!("/v1/hosts/{}/decommission", escape(&id)),
            Self::ReEnable => format!("/v1/hosts/{}/re-enable", escape(&id)),
            Self::Delete => format!("/v1/hosts/{}", escape(&id)),
        };
        if self == Self::Delete {
            control.call(Call::delete(&path).query("tenant", tenant)).await?;
            return Ok((json!({ "id": id, "deleted": true }), format!("Host {host} is deleted.\n")));
        }
        let answer = control.call(Call::post(&path).query("tenant", tenant)).await?;
        let raw = answer.raw.clone();
        let host: HostItem = answer.read()?;
        let line = format!("{} {}\n", host.hostname.as_deref().unwrap_or(&host.agent_id), self.done());
        Ok((raw, line))
    }
}

/// Does it to each, one after the other, and says what became of each; one that fails keeps the others from nothing.
async fn act(global: &Global, control: &Control, which: WhichHosts, deed: Deed) -> Result<(), CliError> {
    let WhichHosts { hosts, tenant } = which;
    let (mut documents, mut failed) = (Vec::new(), Vec::new());
    for host in &hosts {
        match deed.to(control, host, tenant.as_deref()).await {
            Ok((document, _)) if global.json => documents.push(document),
            Ok((document, line)) => {
                print(&line)?;
                if let (Deed::ReEnable, Some(agent)) = (deed, document["agent_id"].as_str()) {
                    eprintln!(
                        "Its old certificates stay revoked. Enroll it again: muster enroll-token --agent {}",
                        quoted(agent)
                    );
                }
            }
            Err(error) if hosts.len() == 1 => return Err(error),
            Err(error) => {
                if global.json {
                    documents.push(json!({ "host": host, "error": error.message }));
                } else {
                    eprintln!("{host}: {}", error.message);
                }
                failed.push(error);
            }
        }
    }
    if global.json {
        // One answer as it came, several as a list.
        match documents.as_slice() {
            [document] if hosts.len() == 1 => print_json(document)?,
            several => print_json(&json!({ "items": several }))?,
        }
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(CliError::new(format!("{count} of {} hosts were not {}", hosts.len(), deed.done()))
            .hint("what went wrong with each is said above; the others are done")),
    }
}

/// All of them in one transaction, or none.
async fn tag(
    global: &Global,
    control: &Control,
    which: WhichHosts,
    add: Vec<String>,
    remove: Vec<String>,
) -> Result<(), CliError> {
    let mut ids = Vec::with_capacity(which.hosts.len());
    for host in &which.hosts {
        ids.push(host_id(control, host, which.tenant.as_deref()).await?);
    }
    let (ids, filter, expect) = (Some(ids), None, None);
    let body = HostBatchBody { action: HostBatchAction::Tag, ids, filter, expect, add, remove };
    let call = Call::post("/v1/hosts/batch").query("tenant", which.tenant).body(&body);
    let answer = control.call(call).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let HostBatchAnswer { items } = answer.read()?;
    for (host, item) in which.hosts.iter().zip(&items) {
        print(&match item.outcome.as_ref() {
            "done" => format!("{host} tagged\n"),
            "unchanged" => format!("{host} was tagged so already\n"),
            _ => format!("{host} is not there any more\n"),
        })?;
    }
    Ok(())
}

impl HostCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::List(listing) => {
                let (call, narrowed) = listing.call();
                let hosts = control.list(call).await?;
                if let Some(form @ (OutputForm::Spiffe | OutputForm::Dn)) = global.output {
                    let names = hosts.items::<HostItem>()?;
                    let names = names.iter().filter_map(|host| name_of(form, host));
                    return print_whole(names.map(|name| name + "\n").collect::<String>().as_bytes());
                }
                let columns = [
                    column("ID", |host: &HostItem| &host.id),
                    column("HOSTNAME", |host| &host.hostname),
                    made("AGENT", agent).goes_first(3),
                    made("STATUS", state),
                    column("LAST SEEN", |host: &HostItem| &host.last_seen).goes_first(2),
                    column("ADDRESSES", |host: &HostItem| &host.ips).goes_first(4),
                    column("OS", |host: &HostItem| &host.os).goes_first(5),
                    column("FLAGS", |host: &HostItem| &host.flags).goes_first(1),
                    column("TAGS", |host: &HostItem| &host.tags).goes_first(3),
                ];
                let none = match narrowed {
                    true => "No such hosts.",
                    false => "No hosts yet. Mint a token: muster enroll-token",
                };
                hosts.print_list(global.json, &columns, none)
            }
            Self::Decommission(which) => act(global, &control, which, Deed::Decommission).await,
            Self::Tag { which, add, remove } => tag(global, &control, which, add, remove).await,
            Self::ReEnable(which) => act(global, &control, which, Deed::ReEnable).await,
            Self::Delete { which, yes } => {
                if !yes {
                    return Err(CliError::usage(
                        "deleting a host removes its history for good; nothing was done",
                    )
                    .hint("repeat the command with --yes, or keep the history: muster host decommission"));
                }
                act(global, &control, which, Deed::Delete).await
            }
            Self::Show(which) => {
                let id = host_id(&control, &which.host, which.tenant.as_deref()).await?;
                let path = format!("/v1/hosts/{}", escape(&id));
                let answer = control.call(Call::get(&path).query("tenant", which.tenant.as_deref())).await?;
                if global.json {
                    return print_json(&answer.raw);
                }
                let fields = [
                    column("Host", |host: &HostItem| &host.id),
                    column("Agent id", |host| &host.agent_id),
                    column("Hostname", |host| &host.hostname),
                    made("Status", state),
                    column("SPIFFE id", |host| &host.spiffe_id),
                    made("Subject", |host| subject_of(host, subject::in_order)),
                    made("for NATS, mosquitto", |host| subject_of(host, subject::rfc2253)),
                    made("for MariaDB", |host| subject_of(host, subject::slashes)),
                    column("OS", |host| &host.os),
                    column("Architecture", |host| &host.arch),
                    column("Addresses", |host| &host.ips),
                    column("Machine id", |host| &host.machine_id),
                    column("Agent version", |host| &host.agent_version),
                    column("First enrolled", |host| &host.first_enrolled_at),
                    column("Last seen", |host| &host.last_seen),
                    column("SVID until", |host| &host.svid_not_after),
                    made("Let in by", let_in_by),
                    column("Decommissioned", |host| &host.decommissioned_at),
                    column("Revoked", |host| &host.revoked_at),
                    column("Flags", |host| &host.flags),
                    column("Tags", |host| &host.tags),
                    column("Note", |host| &host.note),
                ];
                print_fields(&answer.read()?, &fields)?;
                show_timeline(&control, &id, which.tenant).await
            }
        }
    }
}

/// Events of the timeline that are shown beside a host.
const LATEST: usize = 10;

async fn show_timeline(control: &Control, id: &str, tenant: Option<String>) -> Result<(), CliError> {
    let path = format!("/v1/hosts/{}/events", escape(id));
    let events = control.list_up_to(Call::get(&path).query("tenant", tenant), LATEST).await?;
    print("\n")?;
    let columns = [
        column("AT", |event: &HostEventItem| &event.at),
        column("EVENT", |event| &event.kind),
        column("ACCORDING TO", |event| &event.source),
        column("DETAIL", |event| &event.detail),
    ];
    events.print_list(false, &columns, "Nothing has happened to it yet.")
}

/// The agent id where it says more than the host's id, which it is unless a token named another.
fn agent(host: &HostItem) -> String {
    if host.id == host.agent_id { "= ID".to_owned() } else { host.agent_id.clone() }
}

/// Whether it is there, where that is what matters.
fn state(host: &HostItem) -> String {
    match host.state {
        Word::Known(HostState::Decommissioned | HostState::Revoked) => host.state.to_string(),
        Word::Known(HostState::NeverReported) => "not reporting yet".to_owned(),
        Word::Known(HostState::InService) | Word::Unknown(_) => host.status.to_string(),
    }
}

fn let_in_by(host: &HostItem) -> String {
    let Some(credential) = &host.credential else { return String::new() };
    let name = credential.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{} {}{name} ({})", credential.kind, credential.id, credential.state)
}
