//! What a backup is worth on the worst day: whole, provably ours, verified without a server, made by itself.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use jiff::SignedDuration;
use serde_json::Value;

use crate::support::cli::{Cli, Output};
use crate::support::clock::Clock;
use crate::support::files;
use crate::support::http::Http;
use crate::support::identity::Identity;
use crate::support::server::{Server, text};
use crate::support::wait::until_answered;

fn backup(server: &Server, name: &str) -> PathBuf {
    let path = server.room().join(name);
    server.cli(&["backup", path.to_str().unwrap()]).run().ok();
    path
}

/// A command on another machine, which has a data directory of its own and, where it is given, a key.
fn elsewhere(data: &Path, key: Option<&Path>, args: &[&str]) -> Output {
    let home = data.parent().unwrap();
    let mut cli = Cli::new(home, args).env("MUSTER_DATA_DIR", data.to_str().unwrap());
    if let Some(key) = key {
        cli = cli.env("MUSTER_ENVELOPE_KEY_FILE", key.to_str().unwrap());
    }
    cli.run()
}

fn pin_of_a_root(server: &Server) -> String {
    let shown = server.cli(&["agent-ca", "show", "--json"]).run().json();
    text(&shown["certificates"][0], "sha256")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_the_envelope_key_are_enough_on_another_machine() {
    let mut server = Server::quickstart();
    let (kept, revoked) =
        (Identity::enroll(&server, "web-1").await, Identity::enroll(&server, "web-2").await);
    server.revoke("web-2");
    let (root, pin) = (pin_of_a_root(&server), server.hello.ca_pin.clone());
    let path = backup(&server, "backup.age");
    let file = path.to_str().unwrap();

    // Verified where there is nothing but the key.
    let spare = tempfile::tempdir().unwrap();
    let key = server.room().join("kept.key");
    std::fs::copy(server.file("envelope.key"), &key).unwrap();
    let verified =
        elsewhere(&spare.path().join("none"), Some(&key), &["backup", "verify", file, "--json"]).json();
    assert_eq!(verified["hosts"], 2, "{verified}");
    assert_eq!((&verified["certificates_denied"], &verified["identities_denied"]), (&1.into(), &1.into()));
    assert_eq!(verified["roots"], Value::from(vec![root.clone()]));
    assert_eq!((&verified["trust_domain"], &verified["server_pin"]), (&"muster".into(), &pin.clone().into()));
    assert_eq!((&verified["authenticated"], &verified["journal"]), (&true.into(), &true.into()));
    assert!(verified["audit_records"].as_u64().unwrap() > 3, "{verified}");
    assert!(!spare.path().join("none").exists(), "it makes nothing");
    let told = elsewhere(&spare.path().join("none"), Some(&key), &["backup", "verify", file]).ok().stdout;
    assert!(
        told.contains("is whole") && told.contains(&root) && told.contains("Hosts            2"),
        "{told}"
    );

    // The machine is gone, and another one has its address.
    server.kill();
    std::fs::rename(server.data_dir(), server.room().join("lost")).unwrap();
    std::fs::create_dir(server.data_dir()).unwrap();
    std::fs::copy(&key, server.file("envelope.key")).unwrap();
    let other = "0".repeat(64);
    let refused = server.cli(&["restore", file, "--expect-root", &other]).run().failed();
    assert!(refused.stderr.contains(&root) && refused.stderr.contains("another deployment's"), "{refused}");
    assert_eq!(files::below(&server.data_dir()).len(), 1, "nothing is left of it");
    let restored = server
        .cli(&["restore", file, "--expect-root", &root, "--accept-revocation-loss", "--json"])
        .run()
        .json();
    assert_eq!(restored["server_certificate"], "restored", "{restored}");
    assert_eq!(
        restored["journal_applied"], false,
        "the one in the backup knows nothing that the backup does not"
    );
    server.start_again_on_the_same_ports();
    assert_eq!(server.hello.ca_pin, pin, "agents trust it as before");
    assert!(!server.log().contains("JOURNAL WAS MISSING"), "{}", server.log());
    kept.peer(&server).reports().await.unwrap();
    revoked.peer(&server).assert_refused().await;
}

/// The table of what somebody may have done to a file, and what is said of it.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_a_whole_backup_of_ours_is_refused_and_says_what_to_do() {
    let (server, other) = (Server::quickstart(), Server::quickstart());
    Identity::enroll(&server, "web-1").await;
    let whole = std::fs::read(backup(&server, "whole.age")).unwrap();
    let foreign = std::fs::read(backup(&other, "foreign.age")).unwrap();
    let read_key = |server: &Server| std::fs::read_to_string(server.file("envelope.key")).unwrap();
    let identity = |text: &str| {
        let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
        line.parse::<age::x25519::Identity>().unwrap()
    };
    let (ours, theirs) = (identity(&read_key(&server)), identity(&read_key(&other)));
    let sealed_by_them = age::decrypt(&theirs, &foreign).unwrap();
    let sealed_by_us = age::decrypt(&ours, &whole).unwrap();
    let to_us = |content: &[u8]| age::encrypt(&ours.to_public(), content).unwrap();
    let turned = |at: usize| {
        let mut content = sealed_by_us.clone();
        content[at] ^= 1;
        content
    };
    let middle = sealed_by_us.len() / 2;
    let table: &[(&str, Vec<u8>, &str, &str)] = &[
        ("empty", Vec::new(), "damaged", "another copy"),
        ("noise", vec![7; 5000], "damaged", "another copy"),
        ("its head alone", whole[..100].to_vec(), "damaged", "another copy"),
        ("half", whole[..whole.len() / 2].to_vec(), "", "another copy"),
        ("all but an octet", whole[..whole.len() - 1].to_vec(), "", "another copy"),
        ("an octet more", [&whole[..], b"x"].concat(), "", "another copy"),
        ("another deployment's", foreign, "another envelope", "the envelope that the server had"),
        ("its own, sealed to us", to_us(&sealed_by_them), "sealed by another envelope", "# muster envelope"),
        ("without a seal", to_us(&sealed_by_us[48..sealed_by_us.len() - 64]), "not authenticated", "0.1.0"),
        ("changed and sealed to us", to_us(&turned(middle)), "", "another copy"),
        ("signed by nobody", to_us(&turned(sealed_by_us.len() - 1)), "signature is wrong", "another copy"),
        ("cut and sealed to us", to_us(&sealed_by_us[..middle]), "", "another copy"),
    ];
    let spare = tempfile::tempdir().unwrap();
    let data = spare.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(server.file("envelope.key"), data.join("envelope.key")).unwrap();
    let before = files::contents(&data);
    let file = spare.path().join("file.age");
    for (what, content, why, next) in table {
        std::fs::write(&file, content).unwrap();
        for command in [&["backup", "verify"][..], &["restore"]] {
            let refused = elsewhere(&data, None, &[command, &[file.to_str().unwrap()]].concat()).failed();
            assert!(refused.stderr.contains(why) && refused.stderr.contains(next), "{what}: {refused}");
            assert_eq!(files::contents(&data), before, "{what}");
        }
    }
    std::fs::write(&file, &whole).unwrap();
    elsewhere(&data, None, &["restore", file.to_str().unwrap(), "--accept-revocation-loss"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_new_ca_is_made_where_hosts_trust_another_one() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let path = backup(&server, "backup.age");
    server.stop();
    let (tls, lost) = (server.file("tls"), server.room().join("lost"));
    std::fs::rename(&tls, &lost).unwrap();
    let refused = server.try_start_again().unwrap_err();
    assert!(refused.stderr.contains("restore --only-tls"), "{}", refused.stderr);
    let refused = server.cli(&["gen-cert", "--name", "127.0.0.1"]).run().failed();
    assert!(refused.stderr.contains("hosts are on record (1)"), "{refused}");
    assert!(
        refused.stderr.contains("restore --only-tls") && refused.stderr.contains("--new-ca"),
        "{refused}"
    );
    assert!(!tls.exists());

    let only_tls = || server.cli(&["restore", "--only-tls", path.to_str().unwrap()]).run();
    only_tls().ok();
    let same = |name: &str| std::fs::read(tls.join(name)).unwrap() == std::fs::read(lost.join(name)).unwrap();
    assert!(["ca.crt", "ca.key.age", "server.crt", "server.key"].into_iter().all(same));
    server.start_again();
    identity.peer(&server).reports().await.unwrap();
    server.stop();

    // Who says so gets one, and then the backup's does not replace it unasked.
    std::fs::remove_dir_all(&tls).unwrap();
    server.cli(&["gen-cert", "--name", "127.0.0.1", "--new-ca"]).run().ok();
    assert!(!same("ca.crt"));
    let refused = server.cli(&["restore", "--only-tls", path.to_str().unwrap()]).run().failed();
    assert!(refused.stderr.contains("another server certificate"), "{refused}");
}

/// The names of the findings of `check`, and its exit status.
fn checked(server: &Server) -> (Option<i32>, Vec<String>) {
    let checked = server.cli(&["check", "--json"]).run();
    let document: Value = serde_json::from_str(&checked.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    (checked.code, findings.iter().map(|finding| text(finding, "code")).collect())
}

fn key_file(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_identity_alone_opens_a_backup_and_runs_the_server() {
    let mut server = Server::quickstart();
    std::fs::remove_file(server.file("root-key.pem")).unwrap();
    let kept = Identity::enroll(&server, "web-1").await;
    assert_eq!(checked(&server), (Some(4), vec!["envelope_beside_data".to_owned()]));
    let before = backup(&server, "before.age");
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let recovery = |action: &str, recipient: &str| {
        server.cli(&["envelope", "recovery", action, recipient, "--json"]).run()
    };
    for no_other in ["nobody", identity.to_string().expose_secret()] {
        assert_eq!(recovery("add", no_other).code, Some(2), "wrong usage");
    }
    recovery("remove", &recipient).failed();
    let line = text(&recovery("add", &recipient).json(), "line");
    assert_eq!(recovery("add", &recipient).json()["recipients"], Value::from(vec![recipient.clone()]));
    assert_eq!(checked(&server), (Some(0), Vec::new()));
    let own = std::fs::read_to_string(server.file("envelope.key")).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let refused = recovery("add", &own).failed();
    assert!(refused.stderr.contains("kept elsewhere"), "{refused}");
    let with = backup(&server, "with.age");
    let removed = server.cli(&["envelope", "recovery", "remove", &recipient]).run().ok();
    assert!(removed.stderr.contains("made before"), "{removed}");
    let after = backup(&server, "after.age");
    let (with, key) = (with.to_str().unwrap(), server.room().join("recovery.key"));
    key_file(&key, identity.to_string().expose_secret());

    server.kill();
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    std::fs::create_dir(server.data_dir()).unwrap();
    server.set_env("MUSTER_ENVELOPE_KEY_FILE", key.to_str().unwrap());
    // The journal is lost with the machine.
    let restore = |file: &str| {
        elsewhere(&server.data_dir(), Some(&key), &["restore", file, "--accept-revocation-loss"])
    };
    for sealed_for_the_envelope_alone in [&before, &after] {
        let refused = restore(sealed_for_the_envelope_alone.to_str().unwrap()).failed();
        assert!(refused.stderr.contains("another envelope"), "{refused}");
    }
    // Anybody can make a file for this recipient, with an envelope of their own.
    let refused = restore(with).failed();
    assert!(refused.stderr.contains("# muster envelope"), "{refused}");
    key_file(&key, &format!("{line}\n{}\n", identity.to_string().expose_secret()));
    restore(with).ok();
    server.start_again_on_the_same_ports();
    kept.peer(&server).reports().await.unwrap();
    kept.rotate(&server.http()).await;
    let listed = elsewhere(&server.data_dir(), Some(&key), &["envelope", "recovery", "list"]).ok();
    assert_eq!(listed.stdout.trim(), recipient);
    let again = backup(&server, "again.age");
    elsewhere(&server.data_dir(), Some(&key), &["backup", "verify", again.to_str().unwrap()]).ok();
}

async fn figures(http: &Http) -> String {
    String::from_utf8(http.get("/metrics").await.body.to_vec()).unwrap()
}

/// The files that the server's own backups are in, the oldest first.
fn made_by_itself(server: &Server) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(server.file("backups")) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "age"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_backs_itself_up_and_says_where_it_could_not() {
    let clock = Clock::new();
    let mut env = clock.env().to_vec();
    env.push(("MUSTER_BACKUP", "every=6h,keep=2"));
    let server = Server::quickstart_with(&env);
    std::fs::remove_file(server.file("root-key.pem")).unwrap();
    let http = server.http();
    assert!(!figures(&http).await.contains("muster_backup_newest_seconds"));
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    server.cli(&["envelope", "recovery", "add", &recipient]).run().ok();
    // Soon after its birth, then every six hours, and the oldest makes way.
    let mut last = PathBuf::new();
    for (hours, kept) in [(2, 1), (9, 2), (16, 2)] {
        clock.set_off(SignedDuration::from_hours(hours));
        let made = until_answered("a backup is made", async || {
            let made = made_by_itself(&server);
            made.last().filter(|newest| **newest != last && made.len() <= 2).cloned()
        });
        last = made.await;
        assert_eq!(made_by_itself(&server).len(), kept);
    }
    assert_eq!(std::fs::metadata(&last).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = server.cli(&["backup", "verify", last.to_str().unwrap(), "--json"]).run().json();
    assert_eq!(verified["server_pin"], server.hello.ca_pin.clone());
    let shown = figures(&http).await;
    for figure in ["muster_backup_newest_seconds ", "muster_backup_size_bytes ", "muster_backup_failed 0"] {
        assert!(shown.contains(figure), "{shown}");
    }
    assert_eq!(checked(&server), (Some(0), vec!["backup_same_disk".to_owned()]));
    let audit = server.cli(&["audit", "list", "--json"]).run().items();
    let scheduled = audit.iter().filter(|record| record["source"] == "schedule");
    assert!(
        scheduled.clone().all(|record| record["action"] == "store.backup" && record["actor"] == "muster")
    );
    assert_eq!(scheduled.count(), 3);

    // Somebody takes one elsewhere, and then its directory is lost.
    backup(&server, "elsewhere.age");
    assert_eq!(checked(&server), (Some(0), Vec::new()));
    std::fs::remove_dir_all(server.file("backups")).unwrap();
    std::fs::write(server.file("backups"), "in the way").unwrap();
    clock.set_off(SignedDuration::from_hours(100));
    let told = until_answered("the failure is told", async || {
        let told = tokio::task::block_in_place(|| checked(&server));
        told.1.contains(&"backup_failed".to_owned()).then_some(told)
    });
    assert_eq!(told.await.0, Some(4));
    assert!(figures(&http).await.contains("muster_backup_failed 1"));
    assert!(server.log().contains("could not back itself up"), "{}", server.log());
}
