//! `muster check`: a whole store is said to be whole, and a flipped bit is found.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use muster::domain::insight::finding_code::FindingCode;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::grpc::Peer;
use crate::support::identity::Identity;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_store_is_whole_running_and_stopped() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    identity.rotate(&server.http()).await;
    Identity::enroll(&server, "web-2").await;
    server.revoke("web-1");
    let gone = Identity::enroll(&server, "web-3").await;
    server.cli(&["host", "delete", &gone.host_id(), "--yes"]).run().ok();
    for _ in 0..2 {
        let checked = server.cli(&["check", "--json"]).run();
        let checked: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
        let rows = |name: &str| {
            let tables = checked["tables"].as_array().unwrap();
            tables.iter().find(|table| table["table"] == name).unwrap()["rows"].as_u64().unwrap()
        };
        assert_eq!((rows("hosts_v1"), rows("hosts_by_agent_v1")), (2, 2), "{checked}");
        assert_eq!((rows("enrollments_v1"), rows("live_keys_v1")), (3, 3), "{checked}");
        assert!(rows("audit_v1") > 5 && rows("denied_serials_v1") == 3, "{checked}");
        assert!(server.cli(&["check"]).run().well().stdout.contains("hosts_v1"));
        if server.process().is_running() {
            server.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    server.stop();
    let whole = std::fs::read(server.store_file()).unwrap();
    // In the middle of every copy of a host's row that the file holds.
    let needle = b"\"first_enrolled_at\"";
    let places: Vec<_> = whole
        .windows(needle.len())
        .enumerate()
        .filter(|(_, part)| part == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    let mut damaged = whole;
    for at in &places {
        damaged[at + 5] ^= 1;
    }
    std::fs::write(server.store_file(), &damaged).unwrap();
    let found = server.cli(&["check"]).run().failed();
    assert!(found.stderr.contains("damaged"), "{found}");
    let found = server.cli(&["check", "--json"]).run();
    let told: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((found.code, &told["findings"][0]["code"]), (Some(1), &"store_damaged".into()), "{found}");
}

/// What a check finds, by code, and its exit status.
fn findings(server: &Server) -> (Option<i32>, BTreeSet<String>) {
    let checked = server.cli(&["check", "--json"]).run();
    let document: Value = serde_json::from_str(&checked.stdout).unwrap_or_else(|e| panic!("{e}: {checked}"));
    let found = document["findings"].as_array().unwrap().iter();
    (checked.code, found.map(|it| it["code"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn every_code_of_a_finding_has_its_row() {
    let page = std::fs::read_to_string("docs/findings.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: BTreeSet<_> = rows.map(|(code, _)| code.to_owned()).collect();
    let codes: BTreeSet<_> = FindingCode::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(rows, codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_figures_check_and_overview_agree_on_every_day() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let admin = Client::admin(&server).await;
    let intermediate = server.intermediate_not_after();
    let day = SignedDuration::from_hours(24);
    for (at, expected) in [
        (intermediate - day * 100, None),
        (intermediate - day * 59, Some("soon")),
        (intermediate - day * 6, Some("critical")),
        (intermediate - SignedDuration::from_secs(30), Some("critical")),
        (intermediate + day, Some("critical")),
        (intermediate + day * 35, Some("critical")),
    ] {
        clock.stand_still_at(at);
        // Sessions end meanwhile.
        let admin = Client::admin(&server).await;
        let ready = admin.get("/readyz").await.status == 200;
        let figures = String::from_utf8(admin.get("/metrics").await.body).unwrap();
        assert!(figures.contains(&format!("\nmuster_ready {}\n", u8::from(ready))), "{at}");
        let overview = admin.get("/v1/overview").await.expect(200);
        let of = |code: &str| {
            let warnings = overview["warnings"].as_array().unwrap().iter();
            warnings.filter(|it| it["code"] == code).map(|it| it["severity"].as_str().unwrap()).next()
        };
        assert_eq!(of("intermediate_expiry"), expected, "{at}");
        let (code, found) = findings(&server);
        let shown: BTreeSet<_> = overview["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["code"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, shown, "{at}");
        let critical = overview["warnings"].as_array().unwrap().iter().any(|it| it["severity"] == "critical");
        assert_eq!(code, Some(if critical { 1 } else { 4 }), "{at}: {found:?}");
        assert!(ready || critical, "{at}: who is not ready needs somebody");
        for code in &found {
            assert!(figures.contains(&format!("code=\"{code}\"")), "{at}: {code} is not in the figures");
        }
    }
    drop(admin);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_amiss_with_files_clock_and_agents_is_found() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let identity = Identity::enroll(&server, "web-1").await;
    Peer::new(&server.hello.grpc_addr, &server.server_ca(), &identity.chain_der(), identity.key.pair())
        .reports()
        .await
        .unwrap();
    let (code, found) = findings(&server);
    assert_eq!(
        (code, found.contains("file_mode"), found.contains("clock")),
        (Some(4), false, false),
        "{found:?}"
    );
    let key = server.file("tls/server.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, found) = findings(&server);
    assert!(code == Some(1) && found.contains("file_mode"), "{found:?}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    clock.set_off(SignedDuration::from_hours(20));
    let (code, found) = findings(&server);
    assert!(code == Some(4) && found.contains("agents_overdue"), "{found:?}");
    clock.set_off(SignedDuration::from_hours(2));
    let (code, found) = findings(&server);
    assert!(code == Some(1) && found.contains("clock"), "{found:?}");
}
