//! What this machine says of itself.

use std::fs;
use std::net::IpAddr;

use crate::domain::host::{HostFacts, tells_machines_apart};
use crate::grpc::proto;

/// For whom an agent speaks.
#[derive(Debug, Clone, Default)]
pub enum Subject {
    /// The machine it runs on.
    #[default]
    ThisMachine,
    /// A machine that is only shown, as in a demonstration.
    Shown(HostFacts),
}

impl Subject {
    pub fn facts(&self) -> HostFacts {
        match self {
            Self::ThisMachine => collect(),
            Self::Shown(facts) => facts.clone(),
        }
    }
}

/// Collects the facts anew. What can't be learned is left out.
fn collect() -> HostFacts {
    let names = rustix::system::uname();
    let os = fs::read_to_string("/etc/os-release").ok().and_then(|text| pretty_name(&text));
    let machine_id = fs::read_to_string("/etc/machine-id").ok();
    let machine_id = machine_id.as_deref().map(str::trim).filter(|id| tells_machines_apart(id));
    HostFacts::bounded(
        [
            &names.nodename().to_string_lossy(),
            os.as_deref().unwrap_or("Linux"),
            &names.machine().to_string_lossy(),
            machine_id.unwrap_or_default(),
            env!("CARGO_PKG_VERSION"),
        ],
        addresses(),
    )
}

/// The facts as they travel in a heartbeat.
pub fn to_proto(facts: &HostFacts) -> proto::HostFacts {
    let text = |fact: &Option<String>| fact.clone().unwrap_or_default();
    proto::HostFacts {
        hostname: text(&facts.hostname),
        os: text(&facts.os),
        arch: text(&facts.arch),
        ips: facts.ips.iter().map(IpAddr::to_string).collect(),
        machine_id: text(&facts.machine_id),
        agent_version: text(&facts.agent_version),
    }
}

/// Addresses by which others may know this machine, in a stable order so that order is no change of facts.
fn addresses() -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .collect();
    ips.sort_unstable();
    ips
}

/// `PRETTY_NAME` of an os-release file, without its quotes.
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_names() {
        let name = |text| pretty_name(text);
        assert_eq!(name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
        assert_eq!(name("PRETTY_NAME='Alpine'\n").as_deref(), Some("Alpine"));
        assert_eq!(name("PRETTY_NAME=\n"), None);
        assert_eq!(name("NAME=x\n"), None);
    }

    #[test]
    fn this_machine_has_a_name_and_no_loopback_address() {
        let facts = collect();
        assert!(facts.hostname.is_some() && facts.arch.is_some());
        assert!(facts.ips.iter().all(|ip| !ip.is_loopback()));
        assert_eq!(facts, collect());
    }
}
