//! How the API answers with 100,000 hosts: list, search and overview at 100 requests a second; and how long the server takes to
//! start and to stop with them.
//!
//! The hosts come in through the real write path: each one enrolls with a key, a request and a signature of
//! its own. Requests go through the router as a local command's do, so everything but TLS is in the figures.
//! Run with `cargo bench --bench fleet [-- --hosts N --store DIRECTORY --binary PATH]`; a store of an earlier run that was kept in a
//! directory of yours is used again, and then only starts are measured.

#![allow(unreachable_pub, reason = "nothing leaves a benchmark")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures")]

#[path = "../load/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part")]
mod load;
mod starts;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use load::arguments::flag;
use muster::app::access::caller::{Caller, LocalVia};
use muster::app::issue::enroll::{EnrollError, EnrollRequest};
use muster::app::issue::secrets::SecretOrder;
use muster::app::{App, Policy, Unavailable};
use muster::ca::envelope::{Envelope, EnvelopeSettings};
use muster::clock::{Clock, SystemClock};
use muster::domain::enroll::credential::CredentialKind;
use muster::domain::host::HostFacts;
use muster::domain::network::networks::Networks;
use muster::http::transport::origin::Transport;
use muster::http::{ServerFacts, Shared, router};
use tower::ServiceExt;

const PER_SECOND: u32 = 100;
const SECONDS: u32 = 10;
const AT_ONCE: usize = 64;

fn main() {
    let hosts = flag("--hosts").unwrap_or(100_000);
    let binary: PathBuf = flag("--binary").unwrap_or_else(|| env!("CARGO_BIN_EXE_muster").into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
        let kept: Option<PathBuf> = flag("--store");
        let directory = kept.as_deref().unwrap_or(room.path());
        if !directory.join(muster::store::FILE_NAME).exists() {
            std::fs::create_dir_all(directory).expect("a directory");
            run(directory, hosts).await;
        }
        starts::measure(directory, &binary).await;
    });
}

async fn run(directory: &Path, hosts: usize) {
    let app = open(directory);
    let settings = EnvelopeSettings { data_dir: directory.to_owned(), ..EnvelopeSettings::default() };
    let (envelope, _) = Envelope::find_or_create(&settings, SystemClock.now()).expect("an envelope");
    let operator = Caller::Local { uid: 0, via: LocalVia::Process };
    let domain = "muster".parse().expect("a trust domain");
    app.init_agent_ca(&operator, &domain, &envelope, |_| Ok(())).await.expect("an agent CA");
    app.unseal(&envelope).expect("an unsealed agent CA");

    let begun = Instant::now();
    seed(&app, &operator, hosts).await;
    let rate = hosts as f64 / begun.elapsed().as_secs_f64();
    println!("{hosts} hosts enrolled in {:.1} s ({rate:.0}/s)", begun.elapsed().as_secs_f64());

    let router = router(Shared::new(app, ServerFacts::default(), Networks::default()));
    for (name, path) in [
        ("list", "/v1/hosts?limit=100"),
        ("search, one hit", "/v1/hosts?q=host-77777"),
        ("search, many hits", "/v1/hosts?q=debian&limit=100"),
        ("sorted by name", "/v1/hosts?sort=hostname&limit=100"),
        ("sorted by report", "/v1/hosts?sort=last_seen&limit=100"),
        ("duplicates", "/v1/hosts?flag=possible_duplicate&limit=100"),
        ("overview", "/v1/overview"),
    ] {
        measure(&router, name, path).await;
    }
}

fn open(directory: &Path) -> Arc<App> {
    Arc::new(App::open(directory, Arc::new(SystemClock), Policy::default(), |_| {}).expect("a store"))
}

async fn seed(app: &Arc<App>, operator: &Caller, hosts: usize) {
    let tenant = app.default_tenant().expect("the default tenant");
    let order = SecretOrder {
        name: "bench".parse().expect("a name"),
        max_uses: None,
        ttl_seconds: None,
        tags: std::collections::BTreeSet::new(),
        from: muster::domain::network::networks::Networks::default(),
    };
    let (_, secret) = app.create_secret(operator, tenant, order).await.expect("a secret");
    let secret = secret.reveal();
    let mut enrolling = tokio::task::JoinSet::new();
    for number in 0..hosts {
        if enrolling.len() >= AT_ONCE {
            enrolling.join_next().await.expect("one is running").expect("it does not panic");
        }
        let (app, credential) = (Arc::clone(app), secret.clone());
        enrolling.spawn(async move {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::default();
            let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).expect("a request");
            let [_, high, middle, low] = u32::try_from(number).expect("a small number").to_be_bytes();
            let ip = std::net::IpAddr::from([10, high, middle, low]);
            let facts = HostFacts::bounded(
                [
                    &format!("host-{number}"),
                    "Debian GNU/Linux 12 (bookworm)",
                    "x86_64",
                    &format!("{number:032x}"),
                    "0.1.0",
                ],
                [ip],
            );
            loop {
                let (credential, csr, facts) = (credential.clone(), csr.clone(), facts.clone());
                let kind = CredentialKind::EnrollmentSecret;
                let answer = app.enroll(EnrollRequest { kind, credential, csr, facts, peer: None }).await;
                if !matches!(answer, Err(EnrollError::Unavailable(Unavailable::Busy))) {
                    answer.expect("it enrolls");
                    return;
                }
                // The machine is busy with something else.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    while let Some(enrolled) = enrolling.join_next().await {
        enrolled.expect("it does not panic");
    }
}

/// Sends requests on a fixed beat, whatever the answers take, and prints how long they took.
async fn measure(router: &Router, name: &str, path: &'static str) {
    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut answering = tokio::task::JoinSet::new();
    for _ in 0..PER_SECOND * SECONDS {
        beat.tick().await;
        let router = router.clone();
        answering.spawn(async move {
            let begun = Instant::now();
            let mut request = Request::get(path).body(Body::empty()).expect("a request");
            request.extensions_mut().insert(Transport::Process { uid: 0 });
            let Ok(response) = router.oneshot(request).await;
            assert!(response.status().is_success(), "{}", response.status());
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (begun.elapsed(), body.len())
        });
    }
    let mut times = Vec::new();
    let mut bytes = 0;
    while let Some(answer) = answering.join_next().await {
        let (took, length) = answer.expect("it does not panic");
        times.push(took);
        bytes = length;
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{name:<18} {PER_SECOND}/s  p50 {:>6.2} ms  p99 {:>6.2} ms  max {:>6.2} ms  ({bytes} bytes)",
        at(50),
        at(99),
        at(100)
    );
}
