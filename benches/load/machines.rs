//! Machines that enroll and rotate: their keys and requests, made before the clock starts.

use std::collections::VecDeque;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde::Deserialize;
use serde_json::json;

use crate::load::https::post;
use crate::load::server::Server;

/// A machine with a key, and the request that is sent for it.
#[derive(Debug)]
pub struct Machine {
    key: KeyPair,
    pub request: Vec<u8>,
}

impl Machine {
    /// With what it was answered.
    pub fn with(self, svid: Svid) -> Host {
        Host { key: self.key, svid }
    }
}

/// A machine that has its identity.
#[derive(Debug)]
pub struct Host {
    pub key: KeyPair,
    pub svid: Svid,
}

/// What is needed of the server's answer.
#[derive(Debug, Deserialize)]
pub struct Svid {
    pub agent_id: String,
    pub certificate: String,
    pub intermediate: String,
}

impl Svid {
    /// Leaf and intermediate, PEM.
    pub fn chain(&self) -> String {
        format!("{}{}", self.certificate, self.intermediate)
    }
}

/// Every machine there is, and what lets in more.
#[derive(Debug)]
pub struct Fleet {
    secret: String,
    made: usize,
    enrolled: usize,
    /// Enrolled, and neither rotated nor attached yet.
    hosts: VecDeque<Host>,
}

impl Fleet {
    pub fn new(server: &Server) -> Self {
        let secret = server.operator(&["secret", "create", "--name", "bench"]);
        Self::let_in_by(secret["secret"].as_str().expect("a text").to_owned())
    }

    /// By a secret that is there, or for a server that asks for none.
    pub fn let_in_by(secret: String) -> Self {
        Self { secret, made: 0, enrolled: 0, hosts: VecDeque::new() }
    }

    /// Machines that want to enroll.
    pub fn newcomers(&mut self, count: usize) -> Vec<Machine> {
        (0..count).map(|_| self.newcomer()).collect()
    }

    fn newcomer(&mut self) -> Machine {
        self.made += 1;
        let key = KeyPair::generate().expect("a key");
        let csr = csr(&key).pem().expect("PEM");
        let [_, high, middle, low] = u32::try_from(self.made).expect("a small number").to_be_bytes();
        let facts = json!({
            "hostname": format!("host-{}", self.made),
            "os": "Debian GNU/Linux 12 (bookworm)",
            "arch": "x86_64",
            "ips": [format!("10.{high}.{middle}.{low}")],
            "machine_id": format!("{:032x}", self.made),
            "agent_version": "0.1.0",
        });
        let body = json!({"secret": self.secret, "csr": csr, "host": facts});
        Machine { key, request: post("/enroll/agent", "", &body.to_string()) }
    }

    /// Takes in what the server has answered to machines.
    pub fn welcome(&mut self, answered: impl IntoIterator<Item = (Machine, Vec<u8>)>) {
        for (Machine { key, .. }, answer) in answered {
            let svid = serde_json::from_slice(&answer).expect("an SVID");
            self.enrolled += 1;
            self.hosts.push_back(Host { key, svid });
        }
    }

    /// What lets in more.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    pub fn enrolled(&self) -> usize {
        self.enrolled
    }

    /// How many can be taken.
    pub fn at_hand(&self) -> usize {
        self.hosts.len()
    }

    /// Hosts, as long as there are some.
    pub fn take(&mut self, count: usize) -> Vec<Host> {
        self.hosts.drain(..count.min(self.hosts.len())).collect()
    }
}

/// A host that wants to rotate to a new key.
pub fn rotating(host: &Host) -> Machine {
    let key = KeyPair::generate().expect("a key");
    let csr = csr(&key);
    let proof = BASE64.encode(&host.key.sign(csr.der()).expect("a signature"));
    let body = json!({"chain": host.svid.chain(), "csr": csr.pem().expect("PEM"), "proof": proof});
    Machine { key, request: post("/enroll/agent/rotate", "", &body.to_string()) }
}

pub fn csr(key: &KeyPair) -> rcgen::CertificateSigningRequest {
    CertificateParams::default().serialize_request(key).expect("a request")
}
