//! `muster agent-ca`: made once, the root key shown once, the certificates for everybody.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::cli::{Cli, openssl};
use crate::support::keys;

fn muster(room: &Path, args: &[&str]) -> Cli {
    Cli::new(room, args).env("MUSTER_DATA_DIR", room.join("data").to_str().unwrap())
}

#[test]
fn init_prints_the_root_key_to_stdout_and_nowhere_else() {
    let room = tempfile::tempdir().unwrap();
    let init = muster(room.path(), &["agent-ca", "init"]).run().ok();
    assert_eq!(init.stdout.matches("-----BEGIN PRIVATE KEY-----").count(), 1, "{init}");
    assert!(init.stdout.starts_with("-----BEGIN PRIVATE KEY-----"), "only the key goes to stdout");
    assert!(!init.stderr.contains("PRIVATE KEY"), "{}", init.stderr);
    assert!(init.stderr.contains("envelope"), "says that key and data should part: {}", init.stderr);

    let key: String = init.stdout.lines().filter(|line| !line.starts_with('-')).collect();
    for file in std::fs::read_dir(room.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(&key[..40]), "the root key is in {}", path.display());
    }
    assert!(!room.path().join("data/root-key.pem").exists());
}

#[test]
fn a_second_init_refuses_and_changes_nothing() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init"]).run().ok();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    muster(room.path(), &["agent-ca", "init"]).run().failed();
    assert_eq!(muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout, bundle);
}

#[test]
fn the_trust_domain_is_chosen_at_init() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init", "--trust-domain", "fleet.example"]).run().ok();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    let certificates = keys::certificates(&bundle);
    assert_eq!(certificates.len(), 2, "root and intermediate");
    let named = certificates.iter().filter(|der| {
        let name = b"spiffe://fleet.example";
        der.windows(name.len()).any(|part| part == name)
    });
    assert!(named.count() >= 1, "the intermediate names its trust domain");

    let other = tempfile::tempdir().unwrap();
    for bad in ["Fleet", "a/b", "a b", ""] {
        let refused = muster(other.path(), &["agent-ca", "init", "--trust-domain", bad]).run();
        assert!(matches!(refused.code, Some(1 | 2)), "{bad:?}: {refused}");
        assert_eq!(refused.stdout, "", "{bad:?}");
    }
}

#[test]
fn export_writes_a_world_readable_file_without_any_key() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init"]).run().ok();
    muster(room.path(), &["agent-ca", "export", "bundle.pem"]).run().ok();
    let path = room.path().join("bundle.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let bundle = std::fs::read_to_string(path).unwrap();
    assert_eq!(keys::certificates(&bundle).len(), 2);
    assert!(!bundle.contains("PRIVATE"), "{bundle}");
    assert_eq!(muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout, bundle);
}

#[test]
fn export_needs_no_envelope() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init"]).run().ok();
    std::fs::remove_file(room.path().join("data/envelope.key")).unwrap();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    assert_eq!(keys::certificates(&bundle).len(), 2);
}

#[test]
fn export_creates_no_parent_directory() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init"]).run().ok();
    muster(room.path(), &["agent-ca", "export", "absent/bundle.pem"]).run().failed();
    assert!(!room.path().join("absent").exists());
}

#[test]
fn export_and_show_say_when_there_is_no_ca() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "export", "-"]).run().failed();
    muster(room.path(), &["agent-ca", "show"]).run().failed();
}

#[test]
fn show_names_the_trust_domain_and_fingerprints() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init", "--trust-domain", "fleet.example"]).run().ok();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    let shown = muster(room.path(), &["agent-ca", "show", "--json"]).run().json().to_string();
    assert!(shown.contains("fleet.example"), "{shown}");
    let root = keys::fingerprint(&keys::certificates(&bundle)[0]);
    assert!(shown.contains(&root), "{root} in {shown}");
    muster(room.path(), &["agent-ca", "show"]).run().ok();
}

#[test]
fn the_hierarchy_passes_strict_verification() {
    let room = tempfile::tempdir().unwrap();
    muster(room.path(), &["agent-ca", "init"]).run().ok();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    let certificates = keys::certificates(&bundle);
    for (name, der) in ["root.pem", "intermediate.pem"].iter().zip(&certificates) {
        std::fs::write(room.path().join(name), keys::pem("CERTIFICATE", der)).unwrap();
    }
    openssl(room.path(), &["verify", "-x509_strict", "-CAfile", "root.pem", "intermediate.pem"]).ok();
    let text = openssl(room.path(), &["x509", "-noout", "-text", "-in", "intermediate.pem"]).ok().stdout;
    assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");
    assert!(text.contains("Certificate Sign, CRL Sign"), "{text}");
    let text = openssl(room.path(), &["x509", "-noout", "-text", "-in", "root.pem"]).ok().stdout;
    assert!(text.contains("CA:TRUE, pathlen:1"), "{text}");
}

#[test]
fn an_encrypted_root_key_is_printed_locked_and_opens_with_its_passphrase_alone() {
    let room = tempfile::tempdir().unwrap();
    let secret = |name: &str, content: &str| {
        let path = room.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let passphrase = secret("passphrase", "correct horse battery staple\n");
    let short = secret("short", "horse\n");
    let init = |passphrase: &str| {
        let arguments = ["agent-ca", "init", "--encrypt", "--root-key-passphrase-file", passphrase];
        muster(room.path(), &arguments).run()
    };
    let refused = init(&short).failed();
    assert!(refused.stderr.contains("at least 12 characters"), "{refused}");
    assert!(!room.path().join("data").exists(), "nothing was made");
    let made = init(&passphrase).ok();
    assert!(made.stdout.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{made}");
    assert!(!made.stdout.contains("PRIVATE KEY"));
    let key = secret("root.age", &made.stdout);
    let renew = |key: &str, passphrase: &str| {
        let arguments = ["agent-ca", "renew", "--now", "--root-key", key];
        muster(room.path(), &arguments).env("MUSTER_ROOT_KEY_PASSPHRASE_FILE", passphrase).run()
    };
    let wrong = secret("wrong", "correct horse battery stable");
    let refused = renew(&key, &wrong).failed();
    assert!(refused.stderr.contains("the passphrase does not open the root key"), "{refused}");
    let cut = secret("cut.age", &made.stdout[..made.stdout.len() / 2]);
    let refused = renew(&cut, &passphrase).failed();
    assert!(refused.stderr.contains("damaged, or cut short"), "{refused}");
    renew(&key, &passphrase).ok();
    let bundle = muster(room.path(), &["agent-ca", "export", "-"]).run().ok().stdout;
    assert_eq!(keys::certificates(&bundle).len(), 3);
    // Another CA's key in another form.
    openssl(room.path(), &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.pem"]).ok();
    let other = secret("other.pem", &std::fs::read_to_string(room.path().join("sec1.pem")).unwrap());
    let refused = renew(&other, &passphrase).failed();
    assert!(refused.stderr.contains("not the key of this agent CA's root"), "{refused}");
}
