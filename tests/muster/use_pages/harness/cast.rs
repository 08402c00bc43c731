//! Who knocks: a live agent, its namesake of another tenant, and everybody else who must stay outside.

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType, SerialNumber};
use serde_json::json;
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use super::stage::{EXAMPLE_TENANT, Stage};
use crate::support::client::Client;
use crate::support::fleet::mint;
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::{ENROLL, Identity};
use crate::support::keys::{Key, certificates};
use crate::support::process::MUSTER;
use crate::support::server::Server;
use crate::support::wait::until_answered;

/// Somebody with a certificate and its key, or without.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub name: &'static str,
    /// Chain and key, DER.
    pub shows: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    pub chain_pem: String,
    pub key_pem: String,
    /// What it can rotate, if it is an agent of ours.
    identity: Option<Identity>,
}

impl Visitor {
    pub fn new(name: &'static str, identity: &Identity) -> Self {
        let chain = Self::with_chain(name, identity.chain(), &identity.key);
        Self { identity: Some(identity.clone()), ..chain }
    }

    pub fn with_chain(name: &'static str, chain_pem: String, key: &Key) -> Self {
        let shows = Some((certificates(&chain_pem), key.pair().serialize_der()));
        Self { name, shows, chain_pem, key_pem: key.pem(), identity: None }
    }

    /// The same agent with a fresh certificate.
    pub async fn rotated(&self, name: &'static str, cast: &Cast) -> Self {
        let identity = self.identity.as_ref().unwrap();
        Self::new(name, &identity.rotate(&cast.server.http()).await)
    }

    /// The certificate of its intermediate, DER.
    pub fn intermediate(&self) -> &[u8] {
        &self.shows.as_ref().unwrap().0[1]
    }

    /// Writes its certificate and key to the stage as `NAME.pem` and `NAME.key`, in a folder.
    pub fn lies_in(&self, stage: &Stage, folder: &str, certificate: &str, key: &str) {
        stage.write(&format!("{folder}/{certificate}"), &self.chain_pem);
        stage.write(&format!("{folder}/{key}"), &self.key_pem);
    }
}

/// The server with its tenants, and one of each who may knock.
pub struct Cast {
    pub server: Server,
    pub operator: Client,
    /// The tenant that a page lets in.
    pub ours: String,
    /// The other tenant.
    pub theirs: String,
    /// `web-1` of our tenant.
    pub good: Visitor,
    /// Another good one, `web-2`, which a test may revoke.
    pub later: Visitor,
    /// And another, `web-4`.
    pub sooner: Visitor,
    /// `web-1` of the other tenant.
    pub namesake: Visitor,
    /// `web-3` of our tenant, revoked.
    pub revoked: Visitor,
    /// Our agent's words, with a signature of our CA, a day late.
    pub expired: Visitor,
    /// Our agent's words, of another CA.
    pub foreign: Visitor,
    /// Our agent's words, by a thief of our intermediate's key: on no record, and on no list once that is revoked.
    pub forged: Visitor,
    pub nobody: Visitor,
    machines: AtomicU32,
}

impl Cast {
    pub async fn assemble() -> Self {
        Self::assemble_with(&[]).await
    }

    /// The same with settings of the server.
    pub async fn assemble_with(env: &[(&str, &str)]) -> Self {
        let mut server = Server::quickstart_with(env);
        let operator = Client::admin(&server).await;
        tokio::task::block_in_place(|| server.stop());
        let own = Hierarchy::stolen(&server);
        tokio::task::block_in_place(|| server.start_again_on_the_same_ports());
        let ours = server.hello.tenant_id.clone();
        let theirs = tokio::task::block_in_place(|| server.tenant("theirs"));
        let good = enrolled(&operator, "", "web-1").await;
        let later = enrolled(&operator, "", "web-2").await;
        let sooner = enrolled(&operator, "", "web-4").await;
        let revoked = enrolled(&operator, "", "web-3").await;
        let namesake = enrolled(&operator, &format!("?tenant={theirs}"), "web-1").await;
        let foreign = imitation("an agent of another CA", &Hierarchy::foreign(), &good, |_| ());
        let forged = imitation("a forged agent", &own, &good, |params| {
            params.serial_number = Some(SerialNumber::from_slice(&[1; 16]));
        });
        let expired = imitation("an expired agent", &own, &good, |params| {
            let days_ago = |days: i64| Timestamp::now().as_second() - days * 86_400;
            let date = |seconds| ASN1Time::from_timestamp(seconds).unwrap().to_datetime();
            (params.not_before, params.not_after) = (date(days_ago(2)), date(days_ago(1)));
        });
        let this = Self {
            good: Visitor::new("a good agent", &good),
            later: Visitor::new("an agent that is revoked later", &later),
            sooner: Visitor::new("an agent that is revoked sooner", &sooner),
            namesake: Visitor::new("the other tenant's agent of that name", &namesake),
            revoked: Visitor::new("a revoked agent", &revoked),
            nobody: Visitor {
                name: "somebody without a certificate",
                shows: None,
                chain_pem: String::new(),
                key_pem: String::new(),
                identity: None,
            },
            expired,
            foreign,
            forged,
            ours,
            theirs,
            operator,
            server,
            machines: AtomicU32::new(0),
        };
        this.revoke("web-3").await;
        this
    }

    /// How many certificates the issuing intermediate's list denies.
    async fn listed(&self) -> usize {
        let list = self.server.http().get("/agent-ca.crl").await.body;
        CertificateRevocationList::from_der(&list).unwrap().1.iter_revoked_certificates().count()
    }

    /// The agent id of a machine of ours: `app-1`, `app-2`.
    pub fn next_machine(&self) -> String {
        format!("app-{}", 1 + self.machines.fetch_add(1, Ordering::Relaxed))
    }

    /// Everybody who must stay outside, whatever else a page says.
    pub fn outsiders(&self) -> [&Visitor; 5] {
        [&self.nobody, &self.namesake, &self.revoked, &self.expired, &self.foreign]
    }

    /// Revokes an agent of ours and waits until the lists say so.
    pub async fn revoke(&self, agent: &str) {
        let before = self.listed().await;
        let path = format!("/v1/agents/{agent}/revoke");
        let answer = self.operator.act(&path).await;
        assert!(answer.status < 300, "{answer}");
        let listed = async || (self.listed().await > before).then_some(());
        until_answered("the list has it", listed).await;
    }

    /// What pages say of tenant and server, as it is here, and an operator's rights for `muster`.
    pub fn appears_on(&self, stage: &Stage) {
        let data = self.server.data_dir();
        stage.stand_in("muster", &format!("MUSTER_DATA_DIR='{}' exec {MUSTER} \"$@\"", data.display()));
        stage.say(EXAMPLE_TENANT, &*self.ours);
        stage.say("https://muster.example.org:8443", &*self.server.hello.url);
    }
}

/// An agent of today, which may have a DNS name in its certificate.
pub async fn enrolled(operator: &Client, query: &str, agent: &str) -> Identity {
    let token = mint(operator, query, &json!({"agent_id": agent})).await;
    let key = Key::p256();
    let body = json!({"token": token, "csr": key.csr().pem, "host": {"agent_version": "0.2.0"}});
    let answer = operator.http.post(ENROLL, &body).await.expect(201);
    Identity { key, answer }
}

/// The DNS names of a certificate.
fn dns_names(der: &[u8]) -> Vec<SanType> {
    let certificate = X509Certificate::from_der(der).unwrap().1;
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(SanType::DnsName((*name).try_into().unwrap())),
        _ => None,
    });
    names.collect()
}

/// What an agent's certificate says, signed by this hierarchy for a key of its own.
fn imitation(
    name: &'static str,
    by: &Hierarchy,
    of: &Identity,
    change: impl FnOnce(&mut CertificateParams),
) -> Visitor {
    let key = Key::p256();
    let leaf = by.imitate_with(of, key.pair(), |params| {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, of.agent_id());
        subject.push(DnType::OrganizationalUnitName, of.field("tenant_id"));
        subject.push(DnType::OrganizationName, "muster");
        params.distinguished_name = subject;
        params.subject_alt_names.extend(dns_names(&of.chain_der()[0]));
        change(params);
    });
    Visitor::with_chain(name, leaf + &by.intermediate_pem, &key)
}
