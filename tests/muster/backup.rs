//! `muster backup` and `muster restore`: everything comes back, and nobody who was revoked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, ReasonCode};
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use crate::support::cli::{Cli, Output};
use crate::support::files;
use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::judges::fetch;
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::until_answered;

const STORE: &str = "muster.redb";
const JOURNAL: &str = "revocations.log";

fn backup(server: &Server, name: &str) -> PathBuf {
    let path = server.room().join(name);
    server.cli(&["backup", path.to_str().unwrap()]).run().ok();
    path
}

fn restore(server: &Server, path: &Path, more: &[&str]) -> Output {
    server.cli(&[&["restore", path.to_str().unwrap()], more].concat()).run()
}

/// The store is lost, the rest of the data directory is not.
fn lose_the_store(server: &mut Server) {
    server.stop();
    std::fs::remove_file(server.file(STORE)).unwrap();
}

async fn assert_out(server: &Server, identity: &Identity) {
    identity.peer(server).assert_refused().await;
    let token = server.join_token_for(&identity.agent_id());
    present_token(&server.http(), &token, &Key::p256().csr()).await.refused(403, "identity_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_load_has_everything_answered_before_it() {
    let mut server = Server::quickstart();
    let (secret_id, secret) = server.secret(&[]);
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (http, secret, report, stop) = (server.http(), secret.clone(), report.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let answer = present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
                    report.send((text(&answer, "host_id"), text(&answer, "serial"))).unwrap();
                }
            })
        })
        .collect();
    let mut answered = Vec::new();
    while answered.len() < 20 {
        answered.push(reports.recv().await.unwrap());
    }
    while let Ok(more) = reports.try_recv() {
        answered.push(more);
    }
    let path = backup(&server, "backup.age");
    stop.cancel();
    for client in clients {
        client.await.unwrap();
    }

    lose_the_store(&mut server);
    restore(&server, &path, &[]).ok();
    server.start_again();
    for (host, serial) in &answered {
        let enrollments = server.enrollments(host);
        assert!(enrollments.iter().any(|enrollment| enrollment["serial"] == **serial), "{serial}");
    }
    assert!(server.uses(&secret_id) >= answered.len() as u64);
    server.cli(&["audit", "verify"]).run().ok();
    let again = Identity::enroll(&server, "after").await;
    again.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_sealed_private_and_replaces_nothing() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let path = backup(&server, "backup.age");
    let content = std::fs::read(&path).unwrap();
    assert!(content.starts_with(b"age-encryption.org/v1\n"));
    let plain = String::from_utf8_lossy(&content);
    assert!(!plain.contains("web-1") && !plain.contains("hosts_v1"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let refused = server.cli(&["backup", path.to_str().unwrap()]).run().failed();
    assert!(refused.stderr.contains("exists already"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
    server.cli(&["backup", "no/such/directory/backup"]).run().failed();
    server.stop();
    let stopped = server.cli(&["backup", "stopped.age", "--json"]).run().json();
    let length = std::fs::metadata(server.room().join("stopped.age")).unwrap().len();
    assert_eq!(stopped["bytes"], length);
    let left = files::below(server.room())
        .into_iter()
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".muster"));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_an_envelope_is_refused() {
    let server = Server::quickstart();
    std::fs::remove_file(server.file("envelope.key")).unwrap();
    let refused = server.cli(&["backup", "backup.age"]).run().failed();
    assert!(refused.stderr.contains("envelope"), "{refused}");
    assert!(!server.room().join("backup.age").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_for_the_local_operator_alone() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["/local/backup", "/local/check"] {
        http.send("POST", path, None, Vec::new()).await.refused(403, "permission_denied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_revoked_after_the_backup_stays_out_by_the_journal() {
    let mut server = Server::quickstart();
    let revoked = Identity::enroll(&server, "web-1").await;
    let kept = Identity::enroll(&server, "web-2").await;
    let path = backup(&server, "backup.age");
    server.revoke("web-1");
    let newer = Identity::enroll(&server, "web-3").await;
    lose_the_store(&mut server);

    let restored = restore(&server, &path, &["--json"]).json();
    assert_eq!((&restored["journal_applied"], &restored["crl_applied"]), (&true.into(), &false.into()));
    assert_eq!(restored["certificates_denied"], 1);
    assert_eq!(restored["identities_denied"], 1);
    server.start_again();
    assert_out(&server, &revoked).await;
    kept.peer(&server).reports().await.unwrap();
    newer.peer(&server).assert_refused().await;

    let audit = server.cli(&["audit", "list", "--json"]).run().items();
    let record = audit.iter().find(|record| record["action"] == "store.restore").unwrap();
    assert_eq!(record["detail"]["journal"], "applied");
    assert!(audit.iter().all(|record| record["action"] != "store.replay_revocations"));
    // The trail says itself what it lacks, and goes on from there.
    let number = |key: &str| record["detail"][key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number("records_after") < number("records_seen"), "{record}");
    assert!(audit.iter().all(|record| record["action"] != "audit.records_missing"));
    assert!(!server.log().contains("CUT SHORT"), "{}", server.log());
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_revoked_after_the_backup_stays_out_by_the_revocation_list() {
    let mut server = Server::quickstart();
    let http = server.http();
    let revoked = Identity::enroll(&server, "web-1").await;
    let older = server.room().join("older.crl");
    let before = http.get("/agent-ca.crl").await.body;
    std::fs::write(&older, &before).unwrap();
    // Lists count in whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let path = backup(&server, "backup.age");
    server.revoke("web-1");
    let newer = server.room().join("newer.crl");
    // A list is made within a second of a change.
    let list = until_answered("the revocation is on the list", async || {
        let list = http.get("/agent-ca.crl").await.body;
        (list != before).then_some(list)
    });
    std::fs::write(&newer, list.await).unwrap();
    lose_the_store(&mut server);
    std::fs::remove_file(server.file(JOURNAL)).unwrap();

    let before = files::contents(&server.data_dir());
    let refused = restore(&server, &path, &["--crl", older.to_str().unwrap()]).failed();
    assert!(refused.stderr.contains("older than the backup"), "{refused}");
    let foreign = Server::quickstart().http().get("/agent-ca.crl").await.body;
    std::fs::write(&older, foreign).unwrap();
    let refused = restore(&server, &path, &["--crl", older.to_str().unwrap()]).failed();
    assert!(refused.stderr.contains("not signed by"), "{refused}");
    assert_eq!(files::contents(&server.data_dir()), before);

    let restored = restore(&server, &path, &["--crl", newer.to_str().unwrap()]).ok();
    assert!(!restored.stderr.contains("WARNING"), "{restored}");
    server.start_again();
    assert_out(&server, &revoked).await;
}

/// What a revoked intermediate has signed is on every list, for relying parties; its agents are to rotate at our doors.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_takes_out_nobody_because_an_intermediate_was_revoked() {
    let mut server = Server::quickstart();
    let (held, out) = (Identity::enroll(&server, "held").await, Identity::enroll(&server, "out").await);
    let before = backup(&server, "before.age");
    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    let shown = server.cli(&["agent-ca", "show", "--json"]).run().json();
    let old = text(&shown["certificates"][1], "sha256");
    let command = ["agent-ca", "revoke-intermediate", "--now", "--json", &old];
    server.cli(&command).stdin(&root_key).run().ok();
    let after = backup(&server, "after.age");
    server.revoke("out");
    // The new intermediate's, the old one's, the root's.
    let both = [ReasonCode::CACompromise, ReasonCode::PrivilegeWithdrawn];
    let lists =
        until_answered("both are on the lists of both intermediates, each with its reason", async || {
            let lists = fetch(&server).await;
            lists[..2].iter().all(|list| reasons(list) == both).then_some(lists)
        });
    let lists = lists.await;
    for (path, list) in [(after, &lists[0]), (before, &lists[1])] {
        lose_the_store(&mut server);
        std::fs::remove_file(server.file(JOURNAL)).unwrap();
        let file = server.room().join("list.crl");
        std::fs::write(&file, list).unwrap();
        let restored = restore(&server, &path, &["--crl", file.to_str().unwrap(), "--json"]).json();
        assert_eq!(
            (&restored["certificates_denied"], &restored["identities_denied"]),
            (&json!(1), &json!(1))
        );
        server.start_again();
        assert_out(&server, &out).await;
        held.peer(&server).reports().await.unwrap();
        held.rotate(&server.http()).await;
    }
}

/// Why each entry of a list is there.
fn reasons(list: &[u8]) -> Vec<ReasonCode> {
    let (_, list) = CertificateRevocationList::from_der(list).unwrap();
    let reason = |entry: &RevokedCertificate<'_>| entry.reason_code().unwrap().1;
    let mut reasons: Vec<_> = list.iter_revoked_certificates().map(reason).collect();
    reasons.sort_by_key(|reason| reason.0);
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_with_neither_journal_nor_list_says_so_loudly() {
    let mut server = Server::quickstart();
    let spared = Identity::enroll(&server, "web-1").await;
    let path = backup(&server, "backup.age");
    server.revoke("web-1");
    lose_the_store(&mut server);
    std::fs::remove_file(server.file(JOURNAL)).unwrap();
    let before = files::contents(&server.data_dir());
    let refused = restore(&server, &path, &[]).failed();
    assert!(refused.stderr.contains("--accept-revocation-loss"), "{refused}");
    assert_eq!(files::contents(&server.data_dir()), before);
    let restored = restore(&server, &path, &["--accept-revocation-loss"]).ok();
    assert!(restored.stderr.contains("WARNING: NO REVOCATION JOURNAL"), "{restored}");
    server.start_again();
    spared.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_can_not_know_of_is_closed() {
    let mut server = Server::quickstart();
    let token = server.join_token_for("web-1");
    let path = backup(&server, "backup.age");
    present_token(&server.http(), &token, &Key::p256().csr()).await.expect(201);
    lose_the_store(&mut server);
    let restored = restore(&server, &path, &["--json"]).json();
    // One of them is the quickstart's own.
    assert_eq!(restored["tokens_voided"], 2);
    server.start_again();
    present_token(&server.http(), &token, &Key::p256().csr()).await.refused(401, "token_voided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_touches_nothing_unless_it_succeeds() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let path = backup(&server, "backup.age");
    let whole = std::fs::read(&path).unwrap();
    let running = restore(&server, &path, &[]).failed();
    assert!(running.stderr.contains("there is a store already"), "{running}");
    server.stop();
    restore(&server, &path, &[]).failed();
    std::fs::remove_file(server.file(STORE)).unwrap();

    let before = files::contents(&server.data_dir());
    let bad = server.room().join("bad.age");
    let step = whole.len() / 12;
    for at in (0..whole.len()).step_by(step) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&bad, &flipped).unwrap();
        restore(&server, &bad, &[]).failed();
        std::fs::write(&bad, &whole[..at]).unwrap();
        restore(&server, &bad, &[]).failed();
    }
    std::fs::write(&bad, &whole[..whole.len() - 1]).unwrap();
    restore(&server, &bad, &[]).failed();
    let other = Server::quickstart();
    let key = other.file("envelope.key");
    let refused = server
        .cli(&["restore", path.to_str().unwrap()])
        .env("MUSTER_ENVELOPE_KEY_FILE", key.to_str().unwrap())
        .run()
        .failed();
    assert!(refused.stderr.contains("another envelope"), "{refused}");
    assert_eq!(files::contents(&server.data_dir()), before);

    restore(&server, &path, &[]).ok();
    restore(&server, &path, &[]).failed();
    server.start_again();
}

#[test]
fn what_an_interrupted_restore_leaves_is_cleared_away() {
    let mut server = Server::quickstart();
    server.stop();
    // As a restore makes it, and a kill leaves it.
    let (left, other) = (server.file(".muster.redb.Xy12zw"), server.file("muster.redb.old"));
    for path in [&left, &other] {
        std::fs::copy(server.file(STORE), path).unwrap();
    }
    server.start_again();
    assert!(!left.exists(), "nobody will ever look for it");
    assert!(other.exists(), "an operator's copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_works_on_another_machine_with_the_envelope_or_a_passphrase() {
    let room = tempfile::tempdir().unwrap();
    let passphrase = room.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = passphrase.to_str().unwrap();
    let muster = |data: &str, args: &[&str]| {
        Cli::new(room.path(), args)
            .env("MUSTER_DATA_DIR", room.path().join(data).to_str().unwrap())
            .env("MUSTER_ENVELOPE_PASSPHRASE_FILE", passphrase)
            .run()
    };
    muster("one", &["agent-ca", "init"]).ok();
    muster("one", &["backup", "backup.age"]).ok();
    let restored: Value =
        muster("two", &["restore", "backup.age", "--accept-revocation-loss", "--json"]).json();
    assert!(restored["rows"].as_u64().unwrap() > 3, "{restored}");
    let bundle = |data| muster(data, &["agent-ca", "export", "-"]).ok().stdout;
    assert_eq!(bundle("one"), bundle("two"));
}

/// As with a unit that has `DynamicUser=`: the files are the server's user's, the operator is root.
#[test]
fn what_root_makes_is_the_server_s_own() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut server = Server::quickstart();
    server.stop();
    let user = 54_321;
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    let all = files::below(&server.data_dir());
    all.iter().for_each(|path| own(path));
    own(&server.data_dir());
    // systemd puts a link in the place of such a directory.
    let real = server.room().join("real");
    std::fs::rename(server.data_dir(), &real).unwrap();
    std::os::unix::fs::symlink(&real, server.data_dir()).unwrap();
    // What is not the server's stays root's, whatever the server's user has put into the directory.
    let foreign = server.room().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("shadow"), "root's").unwrap();
    std::os::unix::fs::symlink(&foreign, real.join("a")).unwrap();
    std::os::unix::fs::symlink(foreign.join("shadow"), real.join("b")).unwrap();
    std::fs::hard_link(foreign.join("shadow"), real.join("c")).unwrap();
    std::fs::write(real.join("d"), "root's, too").unwrap();

    let path = backup(&server, "backup.age");
    server.join_token(&[]);
    server.cli(&["gen-cert"]).run().ok();
    std::fs::remove_file(server.file(STORE)).unwrap();
    std::fs::remove_file(server.file(JOURNAL)).unwrap();
    restore(&server, &path, &["--accept-revocation-loss"]).ok();
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    server.cli(&["envelope", "recovery", "add", recipient]).run().ok();
    let resealed = server.cli(&["agent-ca", "reseal"]).run().ok();
    assert!(resealed.stderr.contains("# muster envelope: "), "{resealed}");
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&path.symlink_metadata().unwrap());
    assert_eq!((owner(&path), owner(&foreign), owner(&foreign.join("shadow"))), (0, 0, 0));
    assert_eq!(owner(&real.join("d")), 0, "it is none of ours");
    for name in ["a", "b", "c", "d"] {
        std::fs::remove_file(real.join(name)).unwrap();
    }
    for path in files::below(&real) {
        assert_eq!(owner(&path), user, "{}", path.display());
    }
}

/// What is inside a backup, for whoever has its envelope.
fn decrypted(server: &Server, backup: &Path) -> Vec<u8> {
    let key = std::fs::read_to_string(server.file("envelope.key")).unwrap();
    let identity: age::x25519::Identity =
        key.lines().find(|line| !line.starts_with('#')).unwrap().parse().unwrap();
    age::decrypt(&identity, &std::fs::read(backup).unwrap()).unwrap()
}

/// An attacker knows the public key, which stands in no secret place, and has a Muster of their own: its CA and its
/// administrator must not come in by a restore.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_with_the_public_key_alone_is_refused() {
    let (mut server, attacker) = (Server::quickstart(), Server::quickstart());
    attacker.add_user("mallory", "admin", None);
    let content = decrypted(&attacker, &backup(&attacker, "attack.age"));
    assert!(content.starts_with(b"muster sealed 2\n"));
    let key = std::fs::read_to_string(server.file("envelope.key")).unwrap();
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let recipient: age::x25519::Recipient = recipient.parse().unwrap();
    let forge = |name: &str, content: &[u8]| {
        let path = server.room().join(name);
        std::fs::write(&path, age::encrypt(&recipient, content).unwrap()).unwrap();
        path
    };
    let sealed = forge("sealed.age", &content);
    let bare = forge("bare.age", &content[48..content.len() - 64]);
    let good = backup(&server, "good.age");
    server.stop();
    let store = server.store_file();
    std::fs::rename(&store, server.room().join("lost.redb")).unwrap();
    let before = files::contents(&server.data_dir());
    for (path, more, why) in [
        (&sealed, &[][..], "sealed by another envelope"),
        (&bare, &[], "not authenticated"),
        // The agents' server is this one.
        (&bare, &["--accept-unauthenticated"], "another server certificate"),
    ] {
        let refused = restore(&server, path, more).failed();
        assert!(refused.stderr.contains(why), "{refused}");
        assert_eq!(files::contents(&server.data_dir()), before, "{why}");
    }
    // The journal beside it is another store's.
    std::fs::rename(server.file("tls"), server.room().join("tls")).unwrap();
    let insisting = ["--accept-unauthenticated", "--accept-revocation-loss"];
    let refused = restore(&server, &bare, &insisting).failed();
    assert!(refused.stderr.contains("is another store's; move it away"), "{refused}");
    let journal = server.room().join("kept.log");
    std::fs::rename(server.file(JOURNAL), &journal).unwrap();
    // Who insists is shown first whom it puts in charge.
    let accepted = restore(&server, &bare, &insisting).ok();
    let bundle = attacker.cli(&["agent-ca", "export", "-"]).run().ok().stdout;
    let root = crate::support::keys::fingerprint(&crate::support::keys::certificates(&bundle)[0]);
    assert!(accepted.stderr.starts_with("WARNING: THIS BACKUP IS NOT AUTHENTICATED"), "{accepted}");
    assert!(accepted.stderr.contains(&root) && accepted.stderr.contains("admin, mallory"), "{accepted}");
    std::fs::remove_file(&store).unwrap();
    std::fs::remove_dir_all(server.file("tls")).unwrap();
    std::fs::rename(&journal, server.file(JOURNAL)).unwrap();
    restore(&server, &good, &[]).ok();
    let ca = |directory: &Path| std::fs::read(directory.join("ca.crt")).unwrap();
    assert_eq!(ca(&server.file("tls")), ca(&server.room().join("tls")));
}

/// The envelope in use must be the one that everything is sealed with, or nobody can ever open the backup.
#[test]
fn a_backup_is_not_sealed_with_an_envelope_that_opens_nothing() {
    let (server, other) = (Server::quickstart(), Server::quickstart());
    std::fs::copy(other.file("envelope.key"), server.file("envelope.key")).unwrap();
    let refused = server.cli(&["backup", "backup.age"]).run().failed();
    assert!(refused.stderr.contains("not the one that the agent CA is sealed with"), "{refused}");
    assert!(!server.room().join("backup.age").exists());
}
