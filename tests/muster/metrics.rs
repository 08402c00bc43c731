//! Figures: what is served is what the reference lists, and the alert rules and the dashboard ask for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::grpc::Peer;
use crate::support::http::Http;
use crate::support::identity::{Identity, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;

/// Types by name, as the text format declares them.
async fn served(http: &Http) -> (BTreeMap<String, String>, String) {
    let answer = http.get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer}");
    let text = String::from_utf8(answer.body).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    (types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect(), text)
}

/// Rows of the reference: name, type, labels, and when it is served.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let page = std::fs::read_to_string("docs/metrics.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).map(|line| {
        let cells: Vec<_> = line.trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _, when] = cells[..] else { panic!("a row of five cells: {line}") };
        let labels = labels.split(", ").filter(|it| !it.is_empty()).map(|it| it.trim_matches('`').to_owned());
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels.collect(), when.to_owned()))
    });
    rows.collect()
}

/// Every name of ours, or of a process, in an expression.
fn names_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("muster_") || word.starts_with("process_"));
    ours.map(|word| {
        // Of a histogram, its parts are asked for.
        let part = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| word.strip_suffix(part));
        part.unwrap_or(word).to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_what_the_reference_lists() {
    let replica = tempfile::tempdir().unwrap();
    let entry = format!("url=file://{}", replica.path().display());
    let server = Server::quickstart_with(&[("MUSTER_REPLICAS", &entry)]);
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    identity.rotate(&http).await;
    let token = server.join_token(&[]);
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
    present_token(&http, &token, &Key::p256().csr()).await.refused(401, "token_used");
    Peer::anonymous(&server.hello.grpc_addr, &server.server_ca()).assert_refused().await;
    let backup = server.room().join("backup");
    server.cli(&["backup", backup.to_str().unwrap()]).run().ok();

    let (served, text) = served(&http).await;
    let documented = documented();
    for (name, kind) in &served {
        let (documented_kind, labels, _) =
            documented.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(kind, documented_kind, "{name}");
        for line in text.lines().filter(|line| line.starts_with(&format!("{name}{{"))) {
            let shown = line.split_once('{').unwrap().1.split_once('}').unwrap().0;
            let shown: BTreeSet<_> =
                shown.split(',').map(|it| it.split_once('=').unwrap().0.to_owned()).collect();
            assert_eq!(&shown, labels, "{line}");
        }
    }
    let exempt = ["muster_backup_size_bytes", "muster_shed_connections_total"];
    let missing: Vec<_> = documented
        .keys()
        .filter(|name| !served.contains_key(*name) && !exempt.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "in docs/metrics.md and not served: {missing:?}");
    assert!(exempt.iter().all(|name| documented[*name].2 != "always"));
    for line in ["muster_enrollments_total 2", "muster_rotations_total 1", "muster_commit_decisions_count "] {
        assert!(text.contains(&format!("\n{line}")), "{line}: {text}");
    }
    assert!(text.contains("muster_http_answers_total{status=\"401\",code=\"token_used\"} 1"), "{text}");
}

#[test]
fn the_rules_and_the_dashboard_ask_for_figures_that_there_are() {
    let documented = documented();
    let dashboard = std::fs::read_to_string("config/prometheus/grafana-dashboard.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let names = names_in(target["expr"].as_str().unwrap());
            assert!(!names.is_empty(), "{target}");
            asked.extend(names);
        }
    }
    asked.extend(names_in(&dashboard["templating"].to_string()));
    let shown = asked.clone();
    asked.extend(names_in(&std::fs::read_to_string("config/prometheus/muster.rules.yml").unwrap()));
    let unknown: Vec<_> = asked.iter().filter(|name| !documented.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(shown.len() > 30, "{shown:?}");
}

/// Debian's package `prometheus` has it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn promtool_is_content() {
    let server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let (_, text) = served(&server.http()).await;
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let rules = std::path::Path::new("config/prometheus").canonicalize().unwrap();
    let run = |args: &[&str], input: &str| {
        let mut command = crate::support::process::command(&promtool, &rules);
        let mut process = crate::support::process::Process::start(command.args(args).current_dir(&rules));
        process.feed(input.as_bytes());
        let finished = process.wait();
        assert!(finished.status.success() && finished.stderr.is_empty(), "{args:?}: {finished:?}");
    };
    run(&["check", "metrics"], &text);
    run(&["check", "rules", "muster.rules.yml"], "");
    run(&["test", "rules", "muster.rules.test.yml"], "");
}
