//! Which host is meant: by its id, its agent id, or a hostname that only one host has.

use crate::api::hosts::HostItem;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::domain::ids::HostId;

/// Hosts that are named where a hostname is not enough.
const NAMED: usize = 10;

/// The id of the host that is meant. An id is one, whether or not there is such a host: the server says that.
pub(crate) async fn host_id(control: &Control, text: &str, tenant: Option<&str>) -> Result<String, CliError> {
    if text.parse::<HostId>().is_ok() {
        return Ok(text.to_owned());
    }
    // A whole hostname or agent id finds a decommissioned host, too.
    let call = Call::get("/v1/hosts").query("q", Some(text)).query("tenant", tenant);
    let found = control.list(call).await?.items::<HostItem>()?;
    let is_agent = |host: &&HostItem| host.agent_id == text;
    if let Some(host) = found.iter().find(is_agent) {
        return Ok(host.id.clone());
    }
    let named = |host: &&HostItem| {
        host.hostname.as_deref().is_some_and(|name| name.to_lowercase() == text.to_lowercase())
    };
    let hosts: Vec<_> = found.iter().filter(named).collect();
    match hosts.as_slice() {
        [host] => Ok(host.id.clone()),
        [] => Err(CliError::new(format!("there is no host '{text}'"))
            .hint("name it by its id, its agent id or its whole hostname: muster host list --search TEXT")),
        several => {
            let mut lines: Vec<_> = several.iter().take(NAMED).map(|host| line_of(host)).collect();
            if several.len() > NAMED {
                lines.push(format!("and {} more", several.len() - NAMED));
            }
            Err(CliError::new(format!(
                "{} hosts are called '{text}':\n  {}",
                several.len(),
                lines.join("\n  ")
            ))
            .hint("name the one that is meant by its id"))
        }
    }
}

fn line_of(host: &HostItem) -> String {
    let seen = host.last_seen.map_or_else(|| "never reported".to_owned(), |at| format!("last seen {at:.0}"));
    let addresses: Vec<_> = host.ips.iter().map(ToString::to_string).collect();
    format!("{}  {}  {seen}  {}", host.id, host.state, addresses.join(", ")).trim_end().to_owned()
}
