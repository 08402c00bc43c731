//! `muster agent-ca show` and `export`

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::authority::{AgentCaAnswer, CaCertificateItem, RootChangeItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made, print_table, when};
use crate::cli::output::values::{print, print_json, print_whole};
use crate::clock::{Clock, SystemClock};

pub(super) async fn export(global: &Global, roots: bool, path: &Path) -> Result<(), CliError> {
    let control = Control::open(global).await?;
    let document = if roots { "/agent-ca-root.crt" } else { "/agent-ca.crt" };
    let bundle = control.bytes(Call::get(document)).await?;
    if path.as_os_str() == "-" {
        return print_whole(&bundle);
    }
    crate::durable::replace(path, crate::durable::WORLD_READABLE, &bundle)
        .map_err(|error| CliError::cannot_write(path, &error))?;
    if global.json {
        return print_json(&json!({ "path": path }));
    }
    eprintln!("Agent CA bundle: {}", path.display());
    Ok(())
}

pub(super) async fn show(global: &Global) -> Result<(), CliError> {
    let answer = Control::open(global).await?.call(Call::get("/v1/agent-ca")).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let agent_ca: AgentCaAnswer = answer.read()?;
    print(&format!("Trust domain: {}\n", agent_ca.trust_domain))?;
    let columns = [
        column("ROLE", |certificate: &CaCertificateItem| &certificate.role),
        // As 'revoke-intermediate' takes it.
        made("ID", |certificate| certificate.sha256.get(..12).unwrap_or_default().to_owned()),
        column("VALID UNTIL", |certificate| &certificate.not_after),
        made("STATE", |certificate| state_of(certificate).to_owned()),
        column("SUBJECT", |certificate: &CaCertificateItem| &certificate.subject).goes_first(1),
        column("ISSUES FROM", |certificate: &CaCertificateItem| &certificate.issuing_from).goes_first(2),
        column("VALID FROM", |certificate: &CaCertificateItem| &certificate.not_before).goes_first(3),
        column("SHA-256", |certificate: &CaCertificateItem| &certificate.sha256).goes_first(4),
    ];
    print_table(&agent_ca.certificates, &columns, "No certificates.")?;
    let lines: String = due(&agent_ca, SystemClock.now()).into_iter().map(|line| line + "\n").collect();
    print(&format!("\n{lines}"))
}

/// How long before the end of something it is time to look after it.
const DUE_BEFORE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A root that ends before an intermediate of a year would, and some time to replace it in.
const ROOT_DUE_BEFORE: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// What is to be done, with the command that does it, and what comes next.
fn due(agent_ca: &AgentCaAnswer, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(open) = &agent_ca.open_request {
        let what = open.task.replace('_', "-");
        lines.push(format!(
            "A request for the root ({what}) is open since {}. Next: muster agent-ca sign REQUEST --root-key KEY > SIGNED where the \
             root key is, then here: muster agent-ca renew --install SIGNED",
            when(open.made_at)
        ));
    }
    if let Some(change) = &agent_ca.root_change {
        lines.push(step_of(change, now));
    }
    for revoked in agent_ca.certificates.iter().filter(|it| state_of(it) == "revoked, not published") {
        lines.push(format!(
            "Relying parties are not told yet of the revoked intermediate; to tell them now: muster agent-ca revoke-intermediate {} \
             --now",
            revoked.sha256.get(..12).unwrap_or_default()
        ));
    }
    let root = agent_ca.certificates.iter().rfind(|it| it.role == "root");
    let root = root.filter(|_| agent_ca.root_change.is_none());
    if let Some(root) = root.filter(|root| root.not_after.duration_since(now) < ROOT_DUE_BEFORE) {
        lines.push(format!(
            "The root ends at {}, and no intermediate can outlive it. Next: muster agent-ca prepare-root",
            when(root.not_after)
        ));
    }
    let trusted = |it: &&CaCertificateItem| it.issuing_from.is_some() && it.revoked_at.is_none();
    match agent_ca.certificates.iter().rfind(trusted) {
        None => lines.push("Nothing issues. Next: muster agent-ca renew --now".to_owned()),
        Some(newest) if newest.not_after.duration_since(now) < DUE_BEFORE => lines.push(format!(
            "The intermediate ends at {}. Next: muster agent-ca renew --request FILE where the root key is kept offline, else \
             muster agent-ca renew --root-key KEY",
            when(newest.not_after)
        )),
        Some(newest) if lines.is_empty() => {
            let due = newest.not_after.saturating_sub(DUE_BEFORE).unwrap_or(newest.not_after);
            lines.push(format!("Nothing is due before {}; then: muster agent-ca renew", when(due)));
        }
        Some(_) => {}
    }
    lines
}

/// Where a change of roots has come to.
fn step_of(change: &RootChangeItem, now: Timestamp) -> String {
    let RootChangeItem { prepared_at, activated_at, retire_from, agents_seen, agents_without } = change;
    let known = agents_seen.saturating_sub(*agents_without);
    match (activated_at, retire_from) {
        (Some(activated_at), Some(from)) => {
            let time = if *from > now { format!("from {} on", when(*from)) } else { "now".to_owned() };
            format!(
                "The new root issues since {}, and the one before is still believed. Next, {time}: muster agent-ca retire-root",
                when(*activated_at)
            )
        }
        _ => format!(
            "A new root is prepared since {}; {known} of {agents_seen} agents seen in the last week know it. Next{}: muster agent-ca \
             activate-root",
            when(*prepared_at),
            if *agents_without > 0 { ", when all do" } else { "" }
        ),
    }
}

/// What is to be said of an intermediate that does not simply issue, or has issued.
fn state_of(certificate: &CaCertificateItem) -> &'static str {
    match (certificate.revoked_at, certificate.revocation_published) {
        (Some(_), true) => "revoked",
        (Some(_), false) => "revoked, not published",
        (None, _) if certificate.issuing_from.is_some_and(|from| from > SystemClock.now()) => "waits",
        (None, _) if certificate.issuing_from.is_none() && certificate.role == "intermediate" => "prepared",
        (None, _) => "",
    }
}
