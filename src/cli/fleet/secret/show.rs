//! `muster secret show`: a secret with the hosts that it has let in, and those whom it was refused lately.

use serde_json::json;

use super::{ROUTE, uses};
use crate::api::audit::AuditItem;
use crate::api::credentials::SecretItem;
use crate::api::hosts::HostItem;
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made, print_fields, print_table, shown, when};
use crate::cli::output::values::{print, print_json};

/// Refusals that are shown, the latest first.
const REFUSALS: usize = 20;

pub(super) async fn show(
    global: &Global,
    control: &Control,
    named: &str,
    tenant: Option<String>,
) -> Result<(), CliError> {
    let call = |path| Call::get(path).query("tenant", tenant.clone());
    let secrets: Vec<SecretItem> = control.list(call(ROUTE)).await?.items()?;
    let secret = meant(secrets, named)?;
    let hosts = control.list(call("/v1/hosts").query("secret", Some(&secret.id))).await?;
    // Who may not read the audit trail sees the rest.
    let refused = call("/v1/audit").query("q", Some(&secret.id)).query("outcome", Some("refused"));
    let refused = control.list_up_to(refused.query("action", Some("agent.enroll")), REFUSALS).await.ok();
    if global.json {
        let refusals = refused.as_ref().map(|refused| &refused.raw["items"]);
        return print_json(&json!({
            "secret": secret, "hosts": hosts.raw["items"], "refusals": refusals,
        }));
    }
    let fields = [
        column("ID", |secret: &SecretItem| &secret.id),
        column("NAME", |secret| &secret.name),
        made("USES", uses),
        column("TAGS", |secret| &secret.tags),
        column("FROM", |secret| &secret.from),
        column("CREATED", |secret| &secret.created_at),
        column("LAST USED", |secret| &secret.last_used_at),
        column("EXPIRES", |secret| &secret.expires_at),
        column("REVOKED", |secret| &secret.revoked_at),
    ];
    print_fields(&secret, &fields)?;
    print("\nHosts that it has let in, newest first:\n")?;
    let columns = [
        column("HOST", |host: &HostItem| &host.id),
        column("HOSTNAME", |host| &host.hostname),
        column("FIRST ENROLLED", |host| &host.first_enrolled_at),
        column("LAST SEEN", |host| &host.last_seen),
    ];
    print_table(&hosts.items()?, &columns, "None.")?;
    let Some(refused) = refused else {
        return print("\nThe audit trail has whom it was refused, and is not yours to read.\n");
    };
    print(&format!("\nRefusals, the latest {REFUSALS}:\n"))?;
    let columns = [
        made("AT", |record: &AuditItem| when(record.at)),
        made("FROM", |record| shown(&record.source)),
        made("WHY", |record| shown(record.reason.as_deref().unwrap_or_default())),
    ];
    print_table(&refused.items()?, &columns, "None.")
}

/// The secret of an id, or of a name that only one has.
fn meant(secrets: Vec<SecretItem>, named: &str) -> Result<SecretItem, CliError> {
    let is_meant = |secret: &SecretItem| secret.id == named || secret.name == named;
    let mut meant: Vec<_> = secrets.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(secret), true) => Ok(secret),
        (Some(last), false) => {
            let ids: Vec<_> = meant.iter().chain([&last]).map(|secret| secret.id.as_str()).collect();
            Err(CliError::new(format!("{} secrets have the name {named:?}", ids.len()))
                .hint(format!("name one by its id: {}", ids.join(", "))))
        }
        (None, _) => Err(CliError::new(format!("there is no enrollment secret {named:?}"))
            .hint("'muster secret list' lists enrollment secrets; --tenant names another tenant")),
    }
}
