//! `muster status`

use clap::Args;
use jiff::Timestamp;

use crate::api::overview::{
    AgentCaExpiry, BackupsItem, ForecastItem, OverviewAnswer, ReplicaGlance, ServerCertificateItem,
    ServerItem, WarningItem,
};
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{made, print_fields, shown, when};
use crate::cli::output::values::{print, print_json};
use crate::clock::{Clock, SystemClock};

/// Show on one screen how everything is: server, agent CA, certificate, fleet, backups, and what needs somebody
///
/// It works on a running server, on a stopped one and on one elsewhere. Its exit status says only whether that could be
/// found out; for scripts that decide by it there is 'muster check'.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster status\n  muster status --json | jq .warnings")]
pub(crate) struct StatusCommand {
    /// The tenant whose fleet is shown [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl StatusCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        let answer = control.call(Call::get("/v1/overview").query("tenant", self.tenant)).await?;
        if global.json {
            return print_json(&answer.raw);
        }
        let shown = Shown { overview: answer.read()?, now: SystemClock.now() };
        let fields = [
            made("Server", |it: &Shown| server(&it.overview.server)),
            made("Agent CA", |it| agent_ca(it.overview.agent_ca.as_ref(), it.now)),
            made("Server certificate", |it| certificate(it.overview.server_certificate.as_ref(), it.now)),
            made("Fleet", |it| fleet(&it.overview)),
            made("If the server stopped now", |it| forecast(&it.overview.outage_forecast)),
            made("Backups", |it| backups(&it.overview.backups, it.now)),
            made("Replicas", |it| replicas(&it.overview.replicas)),
            made("Needs somebody", |it| how_many(&it.overview.warnings)),
        ];
        print_fields(&shown, &fields)?;
        print(&shown.overview.warnings.iter().map(lines).collect::<String>())
    }
}

struct Shown {
    overview: OverviewAnswer,
    now: Timestamp,
}

fn server(server: &ServerItem) -> String {
    let ServerItem { version, serving, since, url, not_ready } = server;
    let state = match (serving, not_ready) {
        (false, _) => "stopped".to_owned(),
        (true, Some(why)) => format!("NOT READY: {}", why.trim_end_matches('.')),
        (true, None) => "ready".to_owned(),
    };
    let since = since.map(|since| format!("since {}", when(since)));
    let parts = [Some(format!("muster {version}")), Some(state), since, url.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn agent_ca(agent_ca: Option<&AgentCaExpiry>, now: Timestamp) -> String {
    let Some(AgentCaExpiry { trust_domain, root_not_after, intermediate_not_after }) = agent_ca else {
        return "none: muster agent-ca init".to_owned();
    };
    let until = |what, at: Option<Timestamp>| at.map(|at| format!("{what} {}", until(at, now)));
    let parts = [until("intermediate", *intermediate_not_after), until("root", *root_not_after)];
    format!("{trust_domain}; {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn certificate(certificate: Option<&ServerCertificateItem>, now: Timestamp) -> String {
    let Some(ServerCertificateItem { not_after, pin }) = certificate else { return "none".to_owned() };
    let pin = pin.as_ref().map(|pin| format!(", pin {pin}")).unwrap_or_default();
    until(*not_after, now) + &pin
}

/// An end, and how far away it is.
fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now);
    let days = left.as_hours().unsigned_abs() / 24;
    match left.is_negative() {
        true => format!("EXPIRED {}, {} ago", when(at), count(days, "day")),
        false => format!("until {}, {} left", when(at), count(days, "day")),
    }
}

fn fleet(overview: &OverviewAnswer) -> String {
    let OverviewAnswer { hosts_online, hosts_total, not_reported_24h, hosts_decommissioned, .. } = overview;
    let also = [(not_reported_24h, "silent for a day"), (hosts_decommissioned, "decommissioned")];
    let also =
        also.into_iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("; {count} {what}"));
    format!("{hosts_online} of {} online{}", count(*hosts_total as u64, "host"), also.collect::<String>())
}

fn forecast(forecast: &ForecastItem) -> String {
    match (forecast.first_expiry, forecast.half_expired, forecast.all_expired) {
        (Some(first), Some(half), Some(all)) => {
            format!("SVIDs would end from {}, half by {}, all by {}", when(first), when(half), when(all))
        }
        _ => "no SVID is valid".to_owned(),
    }
}

fn backups(backups: &BackupsItem, now: Timestamp) -> String {
    let newest = match backups.newest_at {
        Some(at) => {
            let hours = now.duration_since(at).as_hours().unsigned_abs();
            let age = if hours < 48 { count(hours, "hour") } else { count(hours / 24, "day") };
            format!("the newest of {}, {age} old", when(at))
        }
        None => "none yet".to_owned(),
    };
    let own = match backups.every_seconds {
        Some(every) => format!("one every {} by itself", count(every.div_ceil(3_600), "hour")),
        None => "none by itself".to_owned(),
    };
    format!("{newest}; {own}{}", if backups.failed { "; THE LAST ONE FAILED" } else { "" })
}

fn replicas(replicas: &[ReplicaGlance]) -> String {
    let one = |it: &ReplicaGlance| {
        let behind =
            if it.lag_seconds > 0 { format!(", {} s behind", it.lag_seconds) } else { String::new() };
        format!("{} {}{behind}", shown(&it.url), it.state)
    };
    if replicas.is_empty() {
        "none".to_owned()
    } else {
        replicas.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

fn how_many(warnings: &[WarningItem]) -> String {
    match warnings.len() {
        0 => "nothing".to_owned(),
        many => count(many as u64, "thing"),
    }
}

fn lines(warning: &WarningItem) -> String {
    let WarningItem { severity, code, message, hint, .. } = warning;
    let severity = severity.to_string().to_uppercase();
    let [severity, code, message, hint] = [&severity, code.as_ref(), message, hint].map(shown);
    format!("  {severity}: {message} ({code})\n    {hint}\n")
}

fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
