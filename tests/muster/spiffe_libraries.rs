//! The SPIFFE libraries for Go, Java, Python and Rust, each in a program that keeps running: what they fetch verifies, through
//! rotations of the certificate and of the key that signs tokens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use spiffe::{BundleSource, JwtSource, JwtSvid, WorkloadApiClient, X509Source};
use tokio::task::{JoinHandle, block_in_place};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::support::cli::{program, python_command};
use crate::support::process::{Process, command};
use crate::support::served::Served;
use crate::support::toolchains::{Go, build_java, has_java};
use crate::support::wait::until;

const ISSUER: &str = "https://id.example/muster";

/// Whatever a program has verified until now.
#[derive(Debug, Default)]
struct Seen {
    ids: BTreeSet<String>,
    serials: Vec<String>,
    tokens: Vec<String>,
}

impl Seen {
    /// Of its whole lines, `x509 ID SERIAL` and `jwt ID TOKEN`.
    fn read(said: &str) -> Self {
        let mut seen = Self::default();
        for line in said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, id, what] = words[..] else { panic!("{line}") };
            seen.ids.insert(id.to_owned());
            match kind {
                "x509" => seen.serials.push(what.to_owned()),
                "jwt" => seen.tokens.push(what.to_owned()),
                _ => panic!("{line}"),
            }
        }
        seen
    }

    fn signed_with(&self, algorithm: &str) -> usize {
        let header = |token: &str| {
            let header = token.split('.').next().unwrap();
            String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).unwrap()).unwrap()
        };
        self.tokens.iter().filter(|token| header(token).contains(algorithm)).count()
    }
}

/// Whoever runs beside the test and says what it has verified.
enum Watcher {
    Program(Process),
    Task(JoinHandle<()>, Arc<Mutex<String>>),
}

impl Watcher {
    fn seen(&mut self) -> Seen {
        match self {
            Self::Program(program) => {
                assert!(program.is_running(), "it has ended: {}", program.stderr.text());
                Seen::read(&program.stdout.text())
            }
            Self::Task(task, said) => {
                assert!(!task.is_finished(), "it has ended");
                Seen::read(&said.lock())
            }
        }
    }
}

/// Id and serial of a certificate that verifies as a client's. The library hands over roots and has no verifier: webpki is one.
fn verified(source: &X509Source) -> Option<(String, String)> {
    let svid = source.svid().unwrap();
    let chain: Vec<_> =
        svid.cert_chain().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec())).collect();
    let bundle = source.bundle_for_trust_domain(svid.spiffe_id().trust_domain()).unwrap()?;
    let roots: Vec<_> =
        bundle.authorities().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec())).collect();
    let anchors: Vec<_> = roots.iter().map(|root| anchor_from_trusted_cert(root).unwrap()).collect();
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        UnixTime::now(),
        KeyUsage::client_auth(),
        None,
        None,
    )
    .unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    Some((svid.spiffe_id().to_string(), parsed.raw_serial_as_string()))
}

/// The library for Rust does what the programs of the others do.
async fn watch_in_rust(endpoint: String, say: impl Fn(&str, &str, &str)) {
    let agent = WorkloadApiClient::connect_to(&endpoint).await.unwrap();
    let certificates = X509Source::builder().endpoint(&endpoint).build().await.unwrap();
    let tokens = JwtSource::builder().endpoint(&endpoint).build().await.unwrap();
    let (mut serial, mut token) = (String::new(), String::new());
    loop {
        if let Some((id, now)) = verified(&certificates)
            && now != serial
        {
            say("x509", &id, &now);
            serial = now;
        }
        // The server may be away, and its new key under way: what counts is that a token comes in the end.
        if let Ok(fetched) = tokens.fetch_jwt_svid(["db", "api"]).await
            && fetched.token() != token
            && JwtSvid::parse_and_validate(fetched.token(), &tokens, &["api"]).is_ok()
            && agent.validate_jwt_token("db", fetched.token()).await.is_ok()
        {
            fetched.token().clone_into(&mut token);
            assert!(JwtSvid::parse_and_validate(&token, &tokens, &["mail"]).is_err());
            assert!(agent.validate_jwt_token("mail", &token).await.is_err());
            say("jwt", &fetched.spiffe_id().to_string(), &token);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A program or task for each library, started once.
fn watchers(go: Option<PathBuf>, java: Option<String>, served: &Served) -> Vec<(&'static str, Watcher)> {
    let (home, socket) = (served.machine.home(), &served.socket);
    let start = |mut command: Command| Watcher::Program(Process::start(command.arg(socket)));
    let mut watchers = vec![("py-spiffe", start(python_command(home, "workload_rotations.py")))];
    if let Some(built) = go {
        watchers.push(("go-spiffe", start(command(built.to_str().unwrap(), home))));
    }
    if let Some(classes) = java {
        let mut java = command("java", home);
        java.args(["-cp", &classes, "org.example.Workload"]);
        watchers.push(("java-spiffe", start(java)));
    }
    let said = Arc::<Mutex<String>>::default();
    let say = {
        let said = Arc::clone(&said);
        move |kind: &str, id: &str, what: &str| said.lock().push_str(&format!("{kind} {id} {what}\n"))
    };
    let task = tokio::spawn(watch_in_rust(served.endpoint(), say));
    watchers.push(("spiffe", Watcher::Task(task, said)));
    watchers
}

/// Rotations of the certificate, new tokens, another key for them and another agent on the same socket.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_libraries_fetch_verifies_through_rotations_and_restarts() {
    block_in_place(|| {
        let go = Go::found("the program with go-spiffe").map(|go| go.build("workload"));
        let java = has_java("the program with java-spiffe", &["java", "mvn"]).then(build_java);
        let mut served = Served::start(&[("MUSTER_SVID_TTL", "12s")]);
        let mut watchers = watchers(go, java, &served);
        let mut all_see = |what: &str, enough: &dyn Fn(&Seen, &Seen) -> bool| {
            let before: Vec<Seen> = watchers.iter_mut().map(|(_, watcher)| watcher.seen()).collect();
            for ((library, watcher), before) in watchers.iter_mut().zip(&before) {
                until(&format!("{library} sees {what}"), || enough(before, &watcher.seen()).then_some(()));
            }
        };
        all_see("a rotation and another token", &|_, seen| {
            seen.serials.len() >= 2 && seen.signed_with("ES256") >= 2
        });
        served.sign_with("RS256");
        served.replace_keys();
        all_see("a token by the new key", &|_, seen| seen.signed_with("RS256") > 0);
        served.start_agent_again();
        all_see("a rotation and a token after its agent's restart", &|before, seen| {
            seen.serials.len() > before.serials.len() && seen.tokens.len() > before.tokens.len()
        });
        for (library, mut watcher) in watchers {
            let Seen { ids, serials, .. } = watcher.seen();
            assert_eq!(ids, BTreeSet::from([served.id()]), "{library}");
            assert_eq!(
                serials.iter().collect::<BTreeSet<_>>().len(),
                serials.len(),
                "{library}: {serials:?}"
            );
        }
    });
}

/// A library that knows no SPIFFE and has nothing but the issuer, which is what verifiers in clouds do.
#[test]
fn go_s_openid_library_believes_a_token_by_discovery() {
    let Some(go) = Go::found("the program with go-oidc") else { return };
    let built = go.build("discovery");
    for algorithm in ["ES256", "RS256"] {
        let served = Served::start(&[("MUSTER_JWT_ISSUER", ISSUER), ("MUSTER_JWT_SVID_ALG", algorithm)]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let token =
            runtime.block_on(async { served.client().await.fetch_jwt_svid(["db"], None).await.unwrap() });
        let ca = served.machine.file("server-ca.pem");
        let url = served.server.hello.url.trim_end_matches('/');
        let args = [ISSUER, url, ca.to_str().unwrap(), "db", token.token()];
        let judged = program(built.to_str().unwrap(), served.machine.home(), &args).ok();
        assert_eq!(judged.stdout.trim_end(), served.id());
    }
}
