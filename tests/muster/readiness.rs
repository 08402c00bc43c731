//! Ready is who would answer an enrollment now: with an agent CA, with an intermediate that has not expired, and with a
//! store that takes writes.

use jiff::SignedDuration;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::fleet::{named_host, secret};
use crate::support::http::Http;
use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::serving::Serving;
use crate::support::wait::until_answered;

/// The figures, as soon as the store can be read.
async fn figures(http: &Http) -> String {
    let figures = async || {
        let answer = http.get("/metrics").await;
        (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
    };
    until_answered("there are figures", figures).await
}

async fn assert_ready(http: &Http) {
    assert_eq!(http.get("/readyz").await.status, 200);
    assert!(figures(http).await.contains("\nmuster_ready 1\n"));
}

/// Why it is not, in the words of the answer.
async fn why_not_ready(http: &Http) -> String {
    let problem = http.get("/readyz").await.refused(503, "unavailable");
    assert!(figures(http).await.contains("\nmuster_ready 0\n"));
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_ca_it_serves_and_takes_one_over_that_is_made_beside_it() {
    let serving = Serving::start(&[]);
    let http = serving.http();
    assert_eq!(http.get("/healthz").await.status, 200);
    let why = why_not_ready(&http).await;
    assert!(why.contains("muster agent-ca init"), "{why}");
    assert!(serving.log().contains("muster agent-ca init"), "{}", serving.log());
    let checked = serving.cli(&["check", "--json"]).run();
    assert_eq!(checked.code, Some(1), "{checked}");
    let findings: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(findings["findings"][0]["code"], "no_agent_ca", "{checked}");
    let token = serving.join_token();
    present_token(&http, &token, &Key::p256().csr()).await.refused(503, "ca_unavailable");

    let made = serving.cli(&["agent-ca", "init", "--trust-domain", "example.org"]).run().ok();
    assert!(made.stdout.starts_with("-----BEGIN PRIVATE KEY-----"), "the root key is the command's to print");
    assert_ready(&http).await;
    let identity = Identity::with_token(&http, &token).await;
    assert!(identity.field("spiffe_id").starts_with("spiffe://example.org/"));
    serving.peer(&identity).reports().await.unwrap();
    serving.cli(&["check"]).run().well();
    let again = serving.cli(&["agent-ca", "init"]).run().failed();
    assert!(again.stderr.contains("exists already"), "{again}");
    let audited = serving.cli(&["audit", "list", "--search", "agent_ca.init", "--json"]).run().items();
    assert_eq!(audited.len(), 1, "{audited:?}");

    let (room, finished) = serving.stop();
    assert!(!finished.stderr.contains("PRIVATE KEY"));
    let again = Serving::start_on(room, &[]);
    assert_ready(&again.http()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_intermediate_is_not_ready() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let last = server.intermediate_not_after();
    let http = server.http();
    assert_ready(&http).await;
    clock.stand_still_at(last - SignedDuration::from_hours(1));
    assert_ready(&http).await;
    clock.stand_still_at(last + SignedDuration::from_secs(1));
    let why = why_not_ready(&http).await;
    assert!(why.contains("muster agent-ca renew") && why.contains(&last.to_string()), "{why}");
    let checked = server.cli(&["check", "--json"]).run();
    assert_eq!(checked.code, Some(1), "{checked}");
    let findings: Value = serde_json::from_str(&checked.stdout).unwrap();
    let finding = &findings["findings"][0];
    assert_eq!((&finding["code"], &finding["severity"]), (&json!("intermediate_expiry"), &json!("critical")));
    assert!(finding["message"].as_str().unwrap().contains("expired"), "{finding}");
    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    // The command signs by the machine's clock, as the server does.
    let [(preload, library), (file, place)] = clock.env();
    let renew = server.cli(&["agent-ca", "renew"]).env(preload, library).env(file, place);
    renew.stdin(&root_key).run().ok();
    assert_ready(&http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_not_ready_until_a_commit_has_succeeded() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    named_host(&admin, "", "web-1").await;
    let (_, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
    assert_ready(&admin.http).await;
    let full = std::fs::metadata(server.store_file()).unwrap().len();
    limit_files(&mut server, Some(full));
    for _ in 0..3_000 {
        if present_secret(&admin.http, &secret, &Key::p256().csr()).await.status == 503 {
            break;
        }
    }
    let why = why_not_ready(&admin.http).await;
    assert!(why.contains("commit"), "{why}");
    // The file opens again soon, and is as full as before.
    let said = async || {
        let answer = admin.get("/v1/overview").await;
        let overview = (answer.status == 200).then(|| answer.json())?;
        let warnings = overview["warnings"].as_array()?.clone();
        warnings.iter().any(|w| w["code"] == "commit_failed" && w["severity"] == "critical").then_some(())
    };
    until_answered("the overview says so", said).await;
    let why = why_not_ready(&admin.http).await;
    assert!(why.contains("commit"), "{why}");
    let failed = async || {
        let figures = figures(&admin.http).await;
        let failed = figures.lines().find_map(|line| line.strip_prefix("muster_failed_commits_total "))?;
        (failed.parse::<u64>().unwrap() > 0).then_some(())
    };
    until_answered("failed commits are counted", failed).await;

    limit_files(&mut server, None);
    // Nobody writes anything but the server itself.
    let ready = async || admin.get("/readyz").await.status.eq(&200).then_some(());
    until_answered("a commit has succeeded", ready).await;
    assert_ready(&admin.http).await;
}

fn limit_files(server: &mut Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.process().id().try_into().unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_has_its_help_and_its_type_in_both_formats() {
    let server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let http = server.http();
    for accept in ["text/plain", "application/openmetrics-text; version=1.0.0"] {
        let headers = [("accept".to_owned(), accept.to_owned())];
        let answer = http.exchange("GET", "/metrics", &headers, Vec::new()).await.unwrap();
        let kind = answer.header("content-type").unwrap();
        let openmetrics = kind.starts_with("application/openmetrics-text");
        assert_eq!(openmetrics, accept.starts_with("application"), "{kind}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(text.ends_with("# EOF\n"), openmetrics, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut seen = 0;
        for line in samples {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = if openmetrics { name.strip_suffix("_total").unwrap_or(name) } else { name };
            // The parts of a histogram have those of the whole.
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| family.strip_suffix(part));
            let family =
                parts.filter(|it| text.contains(&format!("# TYPE {it} histogram"))).unwrap_or(family);
            for about in ["HELP", "TYPE"] {
                let told = format!("# {about} {family} ");
                let help = text.lines().find_map(|line| line.strip_prefix(&told));
                assert!(help.is_some_and(|help| !help.is_empty()), "no {about} of {name}: {text}");
            }
            seen += 1;
        }
        assert!(seen > 10, "{text}");
    }
}
