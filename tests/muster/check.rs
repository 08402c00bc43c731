//! `muster check`: a whole store is said to be whole, and a flipped bit is found.

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
}
