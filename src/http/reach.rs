//! By which addresses others reach this server: what people are shown, and what agents are told to dial.
//!
//! An agent keeps what it is told, and verifies the certificate by the name it dials. So nothing is told that the
//! certificate is not for, unless the operator has set it; then that is found and said before any agent finds it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::network::public_url::{PublicUrl, PublicUrls};
use crate::tls::server_certificate::{LiveCertificate, ServerCertificate};

/// What the settings, the listeners and the certificate say of it.
#[derive(Debug, Default)]
pub struct Reach {
    pub public_url: PublicUrls,
    /// The setting `grpc_addr`.
    pub grpc_addr: Option<HostPort>,
    /// `None` where nothing listens, as in a command that opened the store itself.
    pub listening: Option<Listening>,
    /// What is presented, as far as it is known.
    pub certificate: Option<Arc<LiveCertificate>>,
    /// This machine's own name, which a wildcard in the certificate may cover.
    pub machine: Option<HostName>,
}

/// Where the two listeners are bound.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    pub https: SocketAddr,
    pub grpc: SocketAddr,
}

/// What an agent is told with its certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReachableAddresses {
    pub servers: Vec<PublicUrl>,
    pub grpc_addr: Option<HostPort>,
    pub grpc_addrs: Vec<HostPort>,
}

impl Reach {
    /// The address that people are shown and that join links lead to: the first of `public_url`, else one that the
    /// certificate is for, else the one listened on; `None` where there is none that could be dialled.
    pub fn address(&self) -> Option<HostPort> {
        if let Some(url) = self.public_url.as_slice().first() {
            return Some(url.address().clone());
        }
        let Listening { https, .. } = self.listening?;
        Some(HostPort { host: self.own_host()?, port: https.port() })
    }

    /// What an agent is told that came by an address.
    pub fn told(&self, came_by: Option<&HostPort>) -> ReachableAddresses {
        let urls = self.public_url.as_slice();
        let came_by = came_by.filter(|address| !address.host.is_unspecified() && self.is_for(&address.host));
        let servers = match came_by {
            Some(address) if urls.is_empty() => vec![PublicUrl::from(address.clone())],
            _ => urls.to_vec(),
        };
        let grpc_addrs = self.grpc_addrs(&servers);
        let same_name = |address: &&HostPort| came_by.is_some_and(|by| by.host == address.host);
        let grpc_addr = grpc_addrs.iter().find(same_name).or(grpc_addrs.first()).cloned();
        ReachableAddresses { servers, grpc_addr, grpc_addrs }
    }

    fn grpc_addrs(&self, servers: &[PublicUrl]) -> Vec<HostPort> {
        if let Some(set) = &self.grpc_addr {
            return vec![set.clone()];
        }
        let Some(Listening { https, grpc }) = self.listening else { return Vec::new() };
        let own = HostName::Ip(grpc.ip());
        // A listener with an address of its own is not where the other one is.
        if !own.is_unspecified() && grpc.ip() != https.ip() && self.is_for(&own) && servers.is_empty() {
            return vec![HostPort { host: own, port: grpc.port() }];
        }
        let mut hosts: Vec<HostName> = Vec::new();
        for server in servers {
            if !hosts.contains(&server.address().host) {
                hosts.push(server.address().host.clone());
            }
        }
        if hosts.is_empty() {
            hosts.extend(self.own_host());
        }
        hosts.into_iter().map(|host| HostPort { host, port: grpc.port() }).collect()
    }

    /// The host part where no setting says it.
    fn own_host(&self) -> Option<HostName> {
        let own = self.listening.map(|listening| HostName::Ip(listening.https.ip()));
        let own = own.filter(|host| !host.is_unspecified());
        if let Some(own) = own.as_ref().filter(|own| self.is_for(own)) {
            return Some(own.clone());
        }
        let names: Vec<HostName> = self.current().map(|current| current.hosts()).unwrap_or_default();
        let afar = names.iter().find(|name| !name.is_loopback());
        let covered = || self.machine.clone().filter(|machine| self.is_for(machine));
        afar.cloned().or_else(covered).or_else(|| names.first().cloned()).or(own)
    }

    /// Addresses that are given out although the certificate is not for them: whoever dials them refuses the server.
    pub fn uncertified(&self) -> Vec<HostPort> {
        let given = self.public_url.as_slice().iter().map(|url| url.address().clone());
        let given = given.chain(self.grpc_addr.clone()).chain(self.address());
        let mut uncertified: Vec<HostPort> = Vec::new();
        for address in given.filter(|address| !self.is_for(&address.host)) {
            if !uncertified.contains(&address) {
                uncertified.push(address);
            }
        }
        uncertified
    }

    /// The warning about an address that is about to be given out.
    pub fn warning(&self) -> Option<String> {
        let address = self.address()?;
        (!self.is_for(&address.host)).then(|| {
            format!(
                "The server's certificate is not for {}, so hosts will refuse this server. Make one that is \
                 (muster gen-cert --name {}), or set public_url to an address that it is for.",
                address.host, address.host
            )
        })
    }

    /// Whether the certificate, as far as it is known, is for this host.
    fn is_for(&self, host: &HostName) -> bool {
        self.current().is_none_or(|current| current.is_for(host))
    }

    /// What is presented now, as far as it is known.
    pub(crate) fn current(&self) -> Option<Arc<ServerCertificate>> {
        self.certificate.as_ref().map(|certificate| certificate.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::specimens::ServerFiles;

    /// A server whose certificate has these names.
    fn reach(names: &[&str], https: &str, public_url: &str) -> (ServerFiles, Reach) {
        let files = ServerFiles::for_names(names);
        let reach = Reach {
            public_url: public_url.parse().unwrap(),
            grpc_addr: None,
            listening: Some(Listening {
                https: https.parse().unwrap(),
                grpc: "0.0.0.0:9443".parse().unwrap(),
            }),
            certificate: Some(files.live()),
            machine: Some("server.example.org".parse().unwrap()),
        };
        (files, reach)
    }

    fn told(reach: &Reach, came_by: &str) -> (Vec<String>, Option<String>, Vec<String>) {
        let came_by = HostPort::with_default_port(came_by, 443).unwrap();
        let ReachableAddresses { servers, grpc_addr, grpc_addrs } = reach.told(Some(&came_by));
        let text = |addresses: &[HostPort]| addresses.iter().map(ToString::to_string).collect();
        (
            servers.iter().map(ToString::to_string).collect(),
            grpc_addr.map(|address| address.to_string()),
            text(&grpc_addrs),
        )
    }

    #[test]
    fn a_wildcard_is_told_to_nobody() {
        let (_files, reach) = reach(&["*.example.org", "*.example.net"], "0.0.0.0:8443", "");
        assert_eq!(reach.address().unwrap().to_string(), "server.example.org:8443");
        assert!(reach.uncertified().is_empty() && reach.warning().is_none());
        let (servers, grpc_addr, grpc_addrs) = told(&reach, "muster.example.org:8443");
        assert_eq!(servers, ["https://muster.example.org:8443"]);
        assert_eq!(grpc_addr.as_deref(), Some("muster.example.org:9443"));
        assert_eq!(grpc_addrs, ["muster.example.org:9443"]);
        let (servers, grpc_addr, _) = told(&reach, "deep.muster.example.org:8443");
        assert_eq!(servers, [""; 0], "a wildcard stands for one label");
        assert_eq!(grpc_addr.as_deref(), Some("server.example.org:9443"));

        let nobody = Reach { machine: None, ..reach };
        assert_eq!(nobody.address(), None);
        assert_eq!(
            told(&nobody, "192.0.2.1"),
            (vec![], None, vec![]),
            "nothing is better than a name of none"
        );
    }

    #[test]
    fn the_name_that_an_agent_came_by_counts_when_the_certificate_has_it() {
        let (_files, reach) = reach(&["localhost", "a.example", "192.0.2.7"], "0.0.0.0:8443", "");
        assert_eq!(reach.address().unwrap().to_string(), "a.example:8443");
        assert_eq!(told(&reach, "192.0.2.7:8443").1.as_deref(), Some("192.0.2.7:9443"));
        assert_eq!(told(&reach, "A.Example").0, ["https://a.example:443"]);
        let (servers, grpc_addr, _) = told(&reach, "evil.example:8443");
        assert_eq!((servers, grpc_addr.as_deref()), (vec![], Some("a.example:9443")));
        assert_eq!(told(&reach, "0.0.0.0:8443").0, [""; 0]);
    }

    #[test]
    fn public_url_is_told_whole_and_in_its_order() {
        let urls = "https://a.example:8443,https://b.example,https://a.example";
        let (_files, mut reach) = reach(&["a.example", "192.0.2.7"], "127.0.0.1:8443", urls);
        let (servers, grpc_addr, grpc_addrs) = told(&reach, "192.0.2.7:8443");
        assert_eq!(servers, ["https://a.example:8443", "https://b.example:443", "https://a.example:443"]);
        assert_eq!(grpc_addr.as_deref(), Some("a.example:9443"));
        assert_eq!(grpc_addrs, ["a.example:9443", "b.example:9443"]);
        let uncertified =
            |reach: &Reach| reach.uncertified().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(uncertified(&reach), ["b.example:443"]);
        assert_eq!(reach.warning(), None, "the one that is shown is good");

        reach.grpc_addr = Some("grpc.example:9443".parse().unwrap());
        let (_, grpc_addr, grpc_addrs) = told(&reach, "192.0.2.7:8443");
        assert_eq!(
            (grpc_addr.as_deref(), grpc_addrs),
            (Some("grpc.example:9443"), vec!["grpc.example:9443".into()])
        );
        assert_eq!(uncertified(&reach), ["b.example:443", "grpc.example:9443"]);
        let stopped = Reach { listening: None, ..reach };
        assert_eq!(stopped.address().unwrap().to_string(), "a.example:8443");
    }

    #[test]
    fn the_address_listened_on_makes_way_for_a_name_that_can_be_verified() {
        let (_files, reach) = reach(&["muster.example.org"], "192.0.2.9:8443", "");
        assert_eq!(reach.address().unwrap().to_string(), "muster.example.org:8443");
        let (_files, reach) = reach_of_none("192.0.2.9:8443");
        assert_eq!(reach.address().unwrap().to_string(), "192.0.2.9:8443");
        assert!(reach.warning().unwrap().contains("192.0.2.9"));
    }

    fn reach_of_none(https: &str) -> (ServerFiles, Reach) {
        let (files, mut made) = reach(&["*.example.net"], https, "");
        made.machine = None;
        (files, made)
    }
}
