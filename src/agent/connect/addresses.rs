//! Where the server is: what it last named, in its order, then what the settings name, or else where it was found
//! before. An address is a hint and no condition: one that can't be used is left out and said so, and never a
//! reason to refuse a certificate.

use crate::agent::config::AgentConfig;
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::state_file::AgentState;
use crate::api::enroll::SvidAnswer;
use crate::domain::network::host_port::HostPort;

/// Most addresses of one kind that are taken from one answer.
const TOLD_MAX: usize = 16;

/// The addresses in the server's answer to an enrollment or rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAddresses {
    /// Where to rotate.
    pub servers: Vec<ServerUrl>,
    /// Where to hold sessions.
    pub grpc: Vec<HostPort>,
    /// How many of those that were named can't be used here.
    pub unusable: usize,
}

/// By which way an answer came.
#[derive(Debug, Clone, Copy)]
pub enum AnsweredAt<'a> {
    /// It was asked for there.
    Https(&'a ServerUrl),
    /// Over the connection of a session. By which address HTTPS is reached is not known there, so what the answer leaves
    /// out is no news.
    Session(&'a HostPort),
}

impl ServerAddresses {
    /// From an answer that came from `at`.
    pub(crate) fn read(answer: &SvidAnswer, at: AnsweredAt<'_>) -> Self {
        let mut told = Self::default();
        for text in answer.servers.iter().take(TOLD_MAX) {
            let usable = text.parse::<ServerUrl>().ok();
            let usable = usable.filter(|server| !server.host_port().host.is_unspecified());
            told.unusable += usize::from(usable.is_none());
            told.servers.extend(usable);
        }
        let named = answer.grpc_addrs.iter().take(TOLD_MAX).chain(&answer.grpc_addr).map(String::as_str);
        let mut named: Vec<_> = named.map(Some).collect();
        let beside = match at {
            // A server that names no gRPC address has it beside the HTTPS one.
            AnsweredAt::Https(server) => {
                if named.is_empty() {
                    named.push(None);
                }
                server.clone()
            }
            AnsweredAt::Session(addr) => ServerUrl::from(addr.clone()),
        };
        for text in named {
            let usable = beside.grpc_addr(text).ok();
            told.unusable += usize::from(usable.is_none());
            told.grpc.extend(usable);
        }
        told.servers = distinct(told.servers);
        told.grpc = distinct(told.grpc);
        told
    }

    /// What is to be noted in the place of what was noted earlier. Where it was before is better than nowhere.
    pub(crate) fn after(&self, at: AnsweredAt<'_>, servers: &[ServerUrl], grpc: &[HostPort]) -> Self {
        let mut next = self.clone();
        match at {
            AnsweredAt::Session(addr) if next.servers.is_empty() => {
                next.servers = servers.to_vec();
                // The server has to guess by which name it is reached, and this one has just been good.
                next.grpc.insert(0, addr.clone());
                next.grpc = distinct(next.grpc);
            }
            _ => {}
        }
        if next.grpc.is_empty() {
            next.grpc = grpc.to_vec();
        }
        next
    }
}

/// Where to rotate, in the order in which to try.
pub fn servers(config: &AgentConfig, notes: &AgentState) -> Vec<ServerUrl> {
    let set = config.server.as_ref().or(notes.server.as_ref()).or(config.enroll.server.as_ref());
    distinct(notes.servers.iter().chain(set).cloned())
}

/// Where to hold sessions, in the order in which to try.
pub fn grpc(config: &AgentConfig, notes: &AgentState) -> Vec<HostPort> {
    let told = notes.grpc_addrs.iter().cloned().chain(notes.grpc_addr.clone());
    let known = distinct(told.chain(config.grpc_addr.clone()));
    if !known.is_empty() {
        return known;
    }
    distinct(servers(config, notes).iter().filter_map(|server| server.grpc_addr(None).ok()))
}

fn distinct<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    /// An answer with these fields about addresses.
    fn answer(addresses: &Value) -> SvidAnswer {
        let mut answer = json!({
            "agent_id": "", "host_id": "", "tenant_id": "", "spiffe_id": "", "certificate": "", "intermediate": "",
            "trust_bundle": "", "serial": "", "issued_at": "2026-11-22T20:52:44Z", "not_after": "2026-11-23T20:52:44Z",
        });
        answer.as_object_mut().unwrap().extend(addresses.as_object().unwrap().clone());
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn an_answer_over_a_session_takes_no_address_away_that_it_can_not_know() {
        let (old, by): (ServerUrl, HostPort) = ("https://old:8443".parse().unwrap(), "by:1".parse().unwrap());
        let check = |addresses: Value, servers: &[&str], grpc: &[&str]| {
            let at = AnsweredAt::Session(&by);
            let told = ServerAddresses::read(&answer(&addresses), at);
            let noted = told.after(at, std::slice::from_ref(&old), &["old:9443".parse().unwrap()]);
            let found: Vec<_> = noted.servers.iter().map(ToString::to_string).collect();
            assert_eq!(found, servers, "{addresses}");
            let found: Vec<_> = noted.grpc.iter().map(ToString::to_string).collect();
            assert_eq!(found, grpc, "{addresses}");
        };
        check(json!({}), &["https://old:8443"], &["by:1"]);
        check(json!({"grpc_addr": "guessed:9443"}), &["https://old:8443"], &["by:1", "guessed:9443"]);
        check(json!({"grpc_addrs": [":9443", "by:1"]}), &["https://old:8443"], &["by:1", "by:9443"]);
        check(
            json!({"servers": ["https://new:8443"], "grpc_addr": "new:9443"}),
            &["https://new:8443"],
            &["new:9443"],
        );
        check(json!({"servers": ["https://new:8443"]}), &["https://new:8443"], &["old:9443"]);
        check(json!({"servers": ["nonsense"]}), &["https://old:8443"], &["by:1"]);
    }

    #[test]
    fn what_can_not_be_used_is_left_out() {
        let at: ServerUrl = "https://control.example:8443".parse().unwrap();
        let check = |addresses: Value, servers: &[&str], grpc: &[&str], unusable: usize| {
            let told = ServerAddresses::read(&answer(&addresses), AnsweredAt::Https(&at));
            let shown =
                |items: &[&dyn std::fmt::Display]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
            let found: Vec<_> = told.servers.iter().map(|one| one as &dyn std::fmt::Display).collect();
            assert_eq!(shown(&found), servers, "{addresses}");
            let found: Vec<_> = told.grpc.iter().map(|one| one as &dyn std::fmt::Display).collect();
            assert_eq!(shown(&found), grpc, "{addresses}");
            assert_eq!(told.unusable, unusable, "{addresses}");
        };
        check(json!({}), &[], &["control.example:9443"], 0);
        check(json!({"grpc_addr": null, "servers": null}), &[], &["control.example:9443"], 0);
        check(json!({"grpc_addr": "a:1"}), &[], &["a:1"], 0);
        check(
            json!({"grpc_addr": "a:1", "grpc_addrs": ["b:2", "a:1", ":3"]}),
            &[],
            &["b:2", "a:1", "control.example:3"],
            0,
        );
        for bad in ["https://a:1", "a", "[::1]", ":99999", " ", "a b:1"] {
            check(json!({"grpc_addr": bad}), &[], &[], 1);
            check(json!({"grpc_addr": bad, "grpc_addrs": [bad, "b:2", 7]}), &[], &["b:2"], 3);
        }
        check(json!({"grpc_addr": {"a": 1}, "servers": 7}), &[], &[], 2);
        let named =
            json!({"servers": ["https://a:1", "http://b", "https://0.0.0.0:1", "https://a:1", "https://c"]});
        check(named, &["https://a:1", "https://c:443"], &["control.example:9443"], 2);
        let many: Vec<_> = (1..100).map(|port| format!("a:{port}")).collect();
        let many = answer(&json!({ "grpc_addrs": many }));
        assert_eq!(ServerAddresses::read(&many, AnsweredAt::Https(&at)).grpc.len(), TOLD_MAX);
    }

    #[test]
    fn the_servers_latest_word_comes_first_and_settings_stay_a_way_back() {
        let env = |_: &str| None;
        let mut config = AgentConfig::of_directory(Path::new("/d"), &env).unwrap();
        let mut notes = AgentState::default();
        assert!(servers(&config, &notes).is_empty() && grpc(&config, &notes).is_empty());
        config.enroll.server = Some("https://enrolled:1".parse().unwrap());
        assert_eq!(grpc(&config, &notes), ["enrolled:9443".parse().unwrap()]);
        config.server = Some("https://set:1".parse().unwrap());
        config.grpc_addr = Some("set:2".parse().unwrap());
        notes.server = Some("https://found:1".parse().unwrap());
        notes.servers = vec!["https://told:1".parse().unwrap(), "https://set:1".parse().unwrap()];
        notes.grpc_addrs = vec!["told:2".parse().unwrap()];
        let order: Vec<_> = servers(&config, &notes).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["https://told:1", "https://set:1"]);
        config.server = None;
        let order: Vec<_> = servers(&config, &notes).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["https://told:1", "https://set:1", "https://found:1"]);
        let order: Vec<_> = grpc(&config, &notes).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["told:2", "set:2"]);
        // What an agent of before has noted.
        notes.grpc_addrs.clear();
        notes.grpc_addr = Some("noted:2".parse().unwrap());
        let order: Vec<_> = grpc(&config, &notes).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["noted:2", "set:2"]);
    }
}
