//! Stores that earlier versions have left: each is opened by the program of today, serves, and keeps what it knew.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::process::{MUSTER, command};
use crate::support::server::Server;

fn stores() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let entries = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// Puts an old version's data directory where a server of today looks for it.
fn put_back(store: &Path, data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    let done = |mut command: std::process::Command| assert!(command.status().unwrap().success());
    let mut copy = command("cp", data);
    copy.args(["-R", "--preserve=mode"]).arg(store.join(".")).arg(data);
    done(copy);
    let mut unpack = command("gzip", data);
    unpack.args(["--decompress", "muster.redb.gz"]);
    done(unpack);
    // A version control system keeps no modes but the executable bit.
    let mut narrow = command("chmod", data);
    narrow.args(["-R", "go-rwx", "."]);
    done(narrow);
}

#[test]
fn a_store_of_each_released_version_is_opened_and_keeps_what_it_knew() {
    for store in stores() {
        let server = Server::quickstart_on(|data| put_back(&store, data));
        let seen = store.display();
        let hosts = server.hosts();
        let host = |agent: &str| hosts.iter().find(|host| host["agent_id"] == agent);
        assert!(host("web-1").is_some() && host("web-2").is_some(), "{seen}: {hosts:?}");
        assert!(host("gone-1").is_none(), "{seen}: {hosts:?}");
        for agent in ["web-1", "web-2"] {
            let credential = &host(agent).unwrap()["credential"];
            assert!(credential["id"].is_string(), "{seen}: what let {agent} in: {credential}");
        }
        let again = server.enrollments(host("web-2").unwrap()["id"].as_str().unwrap());
        assert_eq!(again.len(), 2, "{seen}: {again:?}");
        assert_eq!(server.cli(&["tenant", "list", "--json"]).run().items().len(), 2, "{seen}");
        assert_eq!(server.cli(&["user", "list", "--json"]).run().items().len(), 6, "{seen}");
        assert_eq!(server.cli(&["secret", "list", "--json"]).run().items().len(), 2, "{seen}");
        server.cli(&["audit", "verify"]).run().ok();
        // The root of then has signed no list, which only its key can mend.
        let checked = server.cli(&["check"]).run();
        let lacks_lists = checked.code == Some(4) && checked.to_string().contains("has no revocation list");
        assert!(lacks_lists, "{seen}: {checked}");
        // The identity that was revoked then is revoked now.
        let refused = server.cli(&["enroll-token", "--agent", "revoked-1", "--json"]).run();
        refused.ok();
        assert!(server.log().contains("the store's layout was migrated"), "{seen}: {}", server.log());
    }
}

#[test]
fn a_store_of_an_older_layout_is_kept_beside_the_migrated_one() {
    for store in stores() {
        let server = Server::quickstart_on(|data| put_back(&store, data));
        let names: Vec<_> = std::fs::read_dir(server.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let kept = names.iter().find(|name| name.starts_with("muster.redb.layout-"));
        let kept = kept.unwrap_or_else(|| panic!("{}: {names:?}", store.display()));
        let unpacked = tempfile::tempdir().unwrap();
        put_back(&store, &unpacked.path().join("data"));
        let before = std::fs::read(unpacked.path().join("data/muster.redb")).unwrap();
        assert_eq!(std::fs::read(server.file(kept)).unwrap(), before);
    }
}

#[test]
fn a_backup_of_each_released_version_is_restored_to_the_layout_of_today() {
    for store in stores() {
        let room = tempfile::tempdir().unwrap();
        let data = room.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for name in ["envelope.key", "revocations.log"] {
            std::fs::copy(store.join(name), data.join(name)).unwrap();
            // A version control system keeps no modes but the executable bit.
            std::fs::set_permissions(data.join(name), PermissionsExt::from_mode(0o600)).unwrap();
        }
        // A version control system keeps no modes but the executable bit.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(data.join("envelope.key"), private).unwrap();
        let restore = |more: &[&str]| {
            let mut restore = command(MUSTER, room.path());
            restore.arg("restore").arg(store.join("backup.age")).args(more).env("MUSTER_DATA_DIR", &data);
            restore.output().unwrap()
        };
        if store.ends_with("0.1.0") {
            // Its backups carry nothing that says who made them.
            let refused = restore(&[]);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && said.contains("--accept-unauthenticated"), "{said}");
            let out = restore(&["--accept-unauthenticated", "--accept-revocation-loss"]);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{said}");
            assert!(said.contains("Administrators:  admin"), "{said}");
        } else {
            let out = restore(&[]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        let mut check = command(MUSTER, room.path());
        let checked = check.args(["audit", "verify"]).env("MUSTER_DATA_DIR", &data).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
