//! Certificates that must open no door, shown at both: to rotate, and to speak over gRPC.
//!
//! Most of them are signed by the server's own intermediate, whose key the test takes as a thief of store and envelope
//! would, and name a host and a serial that are on record: what refuses them is what is wrong with each.

use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use serde_json::json;

use crate::support::cli::openssl;
use crate::support::grpc::Peer;
use crate::support::hierarchy::Hierarchy;
use crate::support::http::Answer;
use crate::support::identity::{Identity, ROTATE};
use crate::support::keys::{Key, certificates};
use crate::support::server::Server;

/// How long a refusal may take, on a busy machine and unoptimised. Far less than a handshake's timeout.
const SOON: Duration = Duration::from_secs(5);
/// What a refusal may cost the server, unoptimised: a tenth of a handshake's timeout.
const CHEAP: Duration = Duration::from_secs(1);

/// A server with an enrolled host, and its intermediate's key in the wrong hands.
struct Theft {
    server: Server,
    identity: Identity,
    ca: Hierarchy,
}

impl Theft {
    async fn new() -> Self {
        let mut server = Server::quickstart();
        let identity = Identity::enroll(&server, "web-1").await;
        server.stop();
        let ca = Hierarchy::stolen(&server);
        server.start_again();
        Self { server, identity, ca }
    }

    /// The host's own certificate, but for `change`.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        self.ca.imitate_with(&self.identity, self.identity.key.pair(), change)
    }

    async fn rotate(&self, chain: &str, key: &KeyPair) -> Answer {
        let csr = Key::p256().csr();
        let proof = data_encoding::BASE64.encode(&rcgen::SigningKey::sign(key, &csr.der).unwrap());
        let request = json!({"chain": chain, "csr": csr.pem, "proof": proof});
        self.server.http().post(ROTATE, &request).await
    }

    fn peer(&self, chain: &[Vec<u8>], key: &KeyPair) -> Peer {
        Peer::new(&self.server.hello.grpc_addr, &self.server.server_ca(), chain, key)
    }

    /// Demands a quick refusal at the gRPC listener that costs little.
    async fn assert_no_peer(&self, case: &str, chain: &[Vec<u8>], key: &KeyPair) {
        let (started, spent) = (Instant::now(), self.server.cpu_time());
        let outcome = self.peer(chain, key).reports().await;
        assert!(outcome.is_err(), "{case}: {outcome:?}");
        let (took, spent) = (started.elapsed(), self.server.cpu_time() - spent);
        assert!(took < SOON && spent < CHEAP, "{case} took {took:?} and cost {spent:?}: {outcome:?}");
    }

    /// Demands that all is as if nothing had happened.
    async fn assert_unharmed(&self) {
        self.identity.peer(&self.server).reports().await.unwrap();
        self.identity.rotate(&self.server.http()).await;
        assert_eq!(self.server.http().get("/readyz").await.status, 200);
        assert!(!self.server.log().contains("panicked"), "{}", self.server.log());
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn extension(oid: &[u64], content: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

type Change = Box<dyn Fn(&mut CertificateParams)>;

/// What is wrong with each, when everything else is right.
fn unsound(identity: &Identity) -> Vec<(&'static str, Change)> {
    let ours = identity.field("spiffe_id");
    let named = |names: Vec<SanType>| -> Change { Box::new(move |p| p.subject_alt_names = names.clone()) };
    let path = |from: &str, to: &str| named(vec![uri(&ours.replace(from, to))]);
    let serial = |octets: &'static [u8]| -> Change {
        Box::new(|p| p.serial_number = Some(SerialNumber::from_slice(octets)))
    };
    let with = |extensions: Vec<CustomExtension>| -> Change {
        Box::new(move |p| p.custom_extensions.extend(extensions.clone()))
    };
    let usage =
        |usages: &'static [KeyUsagePurpose]| -> Change { Box::new(|p| p.key_usages = usages.to_vec()) };
    let dns = || SanType::DnsName("web-2.example".try_into().unwrap());
    let empty_purpose = extension(&[2, 5, 29, 37], &[0x30, 0], false);
    vec![
        ("two URIs", named(vec![uri(&ours), uri("spiffe://muster")])),
        ("its URI twice", named(vec![uri(&ours), uri(&ours)])),
        ("another agent's DNS name beside the URI", named(vec![uri(&ours), dns()])),
        ("an address beside the URI", named(vec![uri(&ours), SanType::IpAddress([10, 0, 0, 5].into())])),
        ("a DNS name only", named(vec![dns()])),
        ("no name but the common one", {
            let id = ours.clone();
            Box::new(move |p| {
                p.subject_alt_names.clear();
                p.distinguished_name.push(DnType::CommonName, id.as_str());
            })
        }),
        ("a foreign trust domain", path("//muster/", "//other/")),
        ("the trust domain's own id", named(vec![uri("spiffe://muster")])),
        ("dots in the path", path("web-1", "..")),
        ("an empty segment", path("/agent/", "//agent/")),
        ("a trailing slash", path("web-1", "web-1/")),
        ("an upper-case scheme", path("spiffe:", "SPIFFE:")),
        ("the path of something else", path("/agent/", "/host/")),
        ("a CA's", Box::new(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)))),
        ("no word on being a CA", Box::new(|p| p.is_ca = IsCa::NoCa)),
        ("may sign certificates", usage(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign])),
        ("may sign revocation lists", usage(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign])),
        ("no key usage", usage(&[])),
        ("key agreement only", usage(&[KeyUsagePurpose::KeyAgreement])),
        ("for servers only", Box::new(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        (
            "for nothing at all",
            Box::new(move |p| {
                p.extended_key_usages.clear();
                p.custom_extensions.push(empty_purpose.clone());
            }),
        ),
        ("an unknown critical extension", with(vec![extension(&[1, 2, 3], &[5, 0], true)])),
        ("an unknown extension twice", with(vec![extension(&[1, 2, 3], &[5, 0], false); 2])),
        ("a second list of names", with(vec![extension(&[2, 5, 29, 17], &[0x30, 0], false)])),
        ("serial zero", serial(&[0])),
        ("a serial of 20 octets", serial(&[1; 20])),
        ("a serial of 21 octets", serial(&[1; 21])),
        ("not valid yet", Box::new(|p| p.not_before = date_time_ymd(2090, 1, 1))),
        (
            "over before it begins",
            Box::new(|p| {
                p.not_before = date_time_ymd(2020, 1, 2);
                p.not_after = date_time_ymd(2020, 1, 1);
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_no_svid_opens_neither_door() {
    let theft = Theft::new().await;
    let Theft { identity, ca, .. } = &theft;
    let key = identity.key.pair();
    for (case, change) in unsound(identity) {
        let chain = theft.leaf(|params| change(params)) + &ca.intermediate_pem;
        let answer = theft.rotate(&chain, key).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_chain"), "{case}: {answer}");
        theft.assert_no_peer(case, &certificates(&chain), key).await;
    }
    // What only openssl would make.
    let room = theft.server.room();
    std::fs::write(room.join("ca.pem"), &ca.intermediate_pem).unwrap();
    std::fs::write(room.join("ca.key"), ca.key().serialize_pem()).unwrap();
    std::fs::write(room.join("csr.pem"), identity.key.csr().pem).unwrap();
    let profile = format!(
        "subjectAltName=URI:{}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
         extendedKeyUsage=clientAuth\n",
        identity.field("spiffe_id")
    );
    std::fs::write(room.join("profile"), profile).unwrap();
    let serial = format!("0x{}", identity.serial());
    let negative = format!("-{serial}");
    for (case, options) in [
        ("signed with SHA-1", ["-sha1", "-set_serial", &serial]),
        ("a negative serial", ["-sha256", "-set_serial", &negative]),
    ] {
        let args =
            ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "profile"];
        let leaf = openssl(room, &[&args[..], &options].concat()).ok().stdout;
        let chain = leaf + &ca.intermediate_pem;
        theft.rotate(&chain, key).await.refused(401, "bad_chain");
        theft.assert_no_peer(case, &certificates(&chain), key).await;
    }

    // What the profile allows is still not what was issued: the registry has the last word, not the CA's key.
    let other = Key::p256();
    let made = [
        (
            "another serial",
            theft.leaf(|p| p.serial_number = Some(SerialNumber::from_slice(&[1; 16]))),
            &identity.key,
        ),
        (
            "another host's name",
            {
                let foreign = identity.field("spiffe_id").replace("web-1", "web-2");
                theft.leaf(move |p| p.subject_alt_names = vec![uri(&foreign)])
            },
            &identity.key,
        ),
        ("another key", ca.imitate(identity, &other), &other),
    ];
    for (case, leaf, key) in made {
        let chain = leaf + &ca.intermediate_pem;
        let answer = theft.rotate(&chain, key.pair()).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unknown_serial"), "{case}: {answer}");
        theft.assert_no_peer(case, &certificates(&chain), key.pair()).await;
    }
    // A copy that says everything right and is held by whom it names: not octet for octet, and harmless.
    let copy = theft.leaf(|_| {}) + &ca.intermediate_pem;
    theft.assert_no_peer("a copy", &certificates(&copy), key).await;
    let own_name = || SanType::DnsName("web-1.example".try_into().unwrap());
    let named = theft.leaf(|params| params.subject_alt_names.push(own_name())) + &ca.intermediate_pem;
    theft.assert_no_peer("a copy with a DNS name of its own", &certificates(&named), key).await;
    for (case, year) in [("a copy that has expired", 2020), ("a copy for eight thousand years", 9999)] {
        let dated =
            theft.leaf(|params| params.not_after = date_time_ymd(year, 12, 31)) + &ca.intermediate_pem;
        theft.assert_no_peer(case, &certificates(&dated), key).await;
    }
    theft.rotate(&copy, key).await.expect(200);
    theft.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_nobody() {
    let theft = Theft::new().await;
    let Theft { server, identity, ca } = &theft;
    let root_key = KeyPair::from_pem(&std::fs::read_to_string(server.file("root-key.pem")).unwrap()).unwrap();
    let (root, intermediate) = (&ca.root_pem, &ca.intermediate_pem);
    for (case, chain, key, code) in [
        ("the intermediate", intermediate.clone(), ca.key(), "bad_chain"),
        ("the intermediate below itself", intermediate.repeat(2), ca.key(), "bad_chain"),
        ("the intermediate below the root", format!("{intermediate}{root}"), ca.key(), "bad_chain"),
        ("the root", root.clone(), &root_key, "bad_chain"),
        ("the root below itself", root.repeat(2), &root_key, "bad_chain"),
        ("the root below the intermediate", format!("{root}{intermediate}"), &root_key, "bad_chain"),
        (
            "an agent's certificate for the intermediate's key",
            ca.imitate_with(identity, ca.key(), |_| {}) + intermediate,
            ca.key(),
            "unknown_serial",
        ),
        (
            "an agent's certificate for the root's key",
            ca.imitate_with(identity, &root_key, |_| {}) + intermediate,
            &root_key,
            "unknown_serial",
        ),
    ] {
        let answer = theft.rotate(&chain, key).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{case}: {answer}");
        theft.assert_no_peer(case, &certificates(&chain), key).await;
    }
    theft.assert_unharmed().await;
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// A leaf and so many intermediates, each below the next, the last below `root`.
fn ladder(root: &Issuer<'_, KeyPair>, rungs: usize, leaf: &CertificateParams, key: &KeyPair) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    let mut above: Option<CertifiedIssuer<'_, KeyPair>> = None;
    for rung in 0..rungs {
        let (params, key) = (ca_params(&format!("rung {rung}")), KeyPair::generate().unwrap());
        let next = match &above {
            Some(above) => CertifiedIssuer::signed_by(params, key, above),
            None => CertifiedIssuer::signed_by(params, key, root),
        };
        let next = next.unwrap();
        chain.push(next.der().to_vec());
        above = Some(next);
    }
    chain.push(leaf.signed_by(key, &**above.as_ref().unwrap()).unwrap().der().to_vec());
    chain.reverse();
    chain
}

/// A leaf below CAs that all have one name, and that have all signed each other: every order of them may be a path.
fn mesh(size: usize, leaf: &CertificateParams, key: &KeyPair) -> Vec<Vec<u8>> {
    let issuer = || Issuer::new(ca_params("one of many"), KeyPair::generate().unwrap());
    let issuers: Vec<_> = (0..size).map(|_| issuer()).collect();
    let mut chain = vec![leaf.signed_by(key, &issuers[0]).unwrap().der().to_vec()];
    for below in &issuers {
        for above in &issuers {
            chain.push(ca_params("one of many").signed_by(below.key(), above).unwrap().der().to_vec());
        }
    }
    chain
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_of_any_length_and_size_are_refused_cheaply() {
    let theft = Theft::new().await;
    let Theft { server, identity, ca } = &theft;
    let key = identity.key.pair();
    let root_key = KeyPair::from_pem(&std::fs::read_to_string(server.file("root-key.pem")).unwrap()).unwrap();
    let genuine_root = Issuer::from_ca_cert_pem(&ca.root_pem, root_key).unwrap();
    let foreign_root = Issuer::new(ca_params("foreign root"), KeyPair::generate().unwrap());
    let leaf = Hierarchy::leaf_params(&[&identity.field("spiffe_id")], &identity.serial());

    let mut cases: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    for rungs in [2, 10, 100] {
        cases.push((format!("{rungs} foreign intermediates"), ladder(&foreign_root, rungs, &leaf, key)));
        cases.push((format!("{rungs} below the genuine root"), ladder(&genuine_root, rungs, &leaf, key)));
    }
    cases.push(("a mesh of 11 by 11".to_owned(), mesh(11, &leaf, key)));
    let own = identity.chain_der();
    let filled =
        |octets: usize| [vec![own[0].clone()], vec![own[1].clone(); octets / (own[1].len() + 5)]].concat();
    // TLS 1.3 puts 5 octets around each certificate (RFC 8446 4.4.2).
    cases.push(("nearly 64 KiB of foreign octets".to_owned(), vec![vec![0x30; 65_000]]));
    cases.push(("an own chain and the intermediate twice more".to_owned(), filled(3 * (own[1].len() + 5))));
    cases.push(("60,000 octets of intermediates".to_owned(), filled(60_000)));
    cases.push(("1 MiB of intermediates".to_owned(), filled(1 << 20)));
    cases.push(("16 MB in one certificate".to_owned(), vec![vec![0x30; 16_700_000]]));
    cases.push(("no certificate at all".to_owned(), Vec::new()));
    cases.push(("an empty certificate".to_owned(), vec![Vec::new()]));
    for (case, chain) in cases {
        theft.assert_no_peer(&case, &chain, key).await;
    }
    // An own chain with the root is one that some clients show; any more is nobody's.
    let with_root = [own.clone(), certificates(&ca.root_pem)].concat();
    theft.peer(&with_root, key).reports().await.unwrap();
    theft.assert_unharmed().await;
}
