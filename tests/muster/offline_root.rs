//! A root key that never comes to the server: a request travels to it, and what it signs comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::cli::{Cli, Output, openssl};
use crate::support::judges::{entries, fetch};
use crate::support::keys;
use crate::support::server::Server;

/// The machine that holds the root key. It has no data directory.
struct Vault {
    room: tempfile::TempDir,
}

impl Vault {
    fn new() -> Self {
        Self { room: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn keep(&self, name: &str, content: &str) -> String {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn sign(&self, request: &Path, key: &str, more: &[&str]) -> Output {
        let command = ["agent-ca", "sign", request.to_str().unwrap(), "--root-key", key];
        Cli::new(self.room.path(), &[&command[..], more].concat()).run()
    }

    /// Signs, and says where the answer is.
    fn signed(&self, request: &Path, key: &str, more: &[&str]) -> (String, Output) {
        let output = self.sign(request, key, &[&["--yes"], more].concat()).ok();
        (self.keep("signed.pem", &output.stdout), output)
    }
}

fn cli(server: &Server, arguments: &[&str]) -> Output {
    tokio::task::block_in_place(|| server.cli(&[&["agent-ca"], arguments].concat()).run())
}

fn intermediates(server: &Server) -> Vec<serde_json::Value> {
    let shown = cli(server, &["show", "--json"]).json();
    let all = shown["certificates"].as_array().unwrap();
    all.iter().filter(|it| it["role"] == "intermediate").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_asked_signs_elsewhere_and_forgets_nothing() {
    let server = Server::quickstart();
    let vault = Vault::new();
    let root_key = vault.keep("root.pem", &fs::read_to_string(server.file("root-key.pem")).unwrap());
    fs::remove_file(server.file("root-key.pem")).unwrap();
    let [renewal, theft, again] = ["renewal", "theft", "again"].map(|name| server.room().join(name));

    // A renewal.
    let asked = cli(&server, &["renew", "--now", "--request", renewal.to_str().unwrap()]).ok();
    let key = asked.stderr.split("SHA-256 ").nth(1).unwrap().get(..64).unwrap().to_owned();
    assert!(cli(&server, &["show"]).ok().stdout.contains("muster agent-ca renew --install SIGNED"));
    let unasked = vault.sign(&renewal, &root_key, &[]);
    assert_eq!((unasked.code, &*unasked.stdout), (Some(2), ""), "{unasked}");
    assert!(unasked.stderr.contains("--yes") && !vault.file("root.pem.crl").exists(), "{unasked}");
    let (signed, said) = tokio::task::block_in_place(|| vault.signed(&renewal, &root_key, &[]));
    for told in [&*key, "Trust domain:  muster", "names nobody", "the first time only"] {
        assert!(said.stderr.contains(told), "{told}: {said}");
    }
    let renewed = cli(&server, &["renew", "--json", "--install", &signed]).json();
    assert_eq!(intermediates(&server)[1]["sha256"], renewed["renewed"]["sha256"]);
    let twice = cli(&server, &["renew", "--install", &signed]).failed();
    assert!(twice.stderr.contains("installed already"), "{twice}");

    // A theft: the list that comes back names what was stolen, and is kept beside the key, too.
    let stolen = intermediates(&server)[0]["serial"].as_str().unwrap().to_owned();
    let arguments = ["revoke-intermediate", &stolen, "--now", "--request", theft.to_str().unwrap()];
    cli(&server, &arguments).ok();
    let (signed, said) = tokio::task::block_in_place(|| vault.signed(&theft, &root_key, &[]));
    let listed = said.stderr.lines().find(|line| line.contains(&stolen) && line.ends_with("NEW"));
    assert!(listed.is_some(), "{said}");
    // Signed once more, because the answer was lost.
    let (again_signed, _) = tokio::task::block_in_place(|| vault.signed(&theft, &root_key, &[]));
    assert_eq!(signed, again_signed);
    let revoked = cli(&server, &["renew", "--json", "--install", &signed]).json();
    assert_eq!(revoked["revoked"]["revoked"]["serial"], stolen.as_str());
    assert_eq!(fetch(&server).await.last().map(|list| entries(list)), Some(1));
    let list = openssl(vault.room.path(), &["crl", "-in", "root.pem.crl", "-noout", "-text"]).ok();
    assert!(list.stdout.to_lowercase().contains(&stolen), "{list}");

    // A request of before the theft would have it forgotten.
    let forgetful = vault.sign(&renewal, &root_key, &["--yes"]).failed();
    assert!(
        forgetful.stderr.contains(&format!("lacks what this root has revoked ({stolen})")),
        "{forgetful}"
    );
    // A newer request takes the place of the one before, also of one that has been signed.
    cli(&server, &["renew", "--request", again.to_str().unwrap()]).ok();
    let (signed, said) = tokio::task::block_in_place(|| vault.signed(&again, &root_key, &[]));
    assert!(!said.stderr.contains("NEW"), "{said}");
    cli(&server, &["renew", "--request", renewal.to_str().unwrap()]).ok();
    let other = cli(&server, &["renew", "--install", &signed]).failed();
    assert!(other.stderr.contains("answers another request"), "{other}");
    for (file, why) in
        [(&*root_key, "not what 'muster agent-ca sign'"), (renewal.to_str().unwrap(), "not signed")]
    {
        let refused = cli(&server, &["renew", "--install", file]).failed();
        assert!(refused.stderr.contains(why), "{refused}");
    }
    assert_eq!(intermediates(&server).len(), 3);
    assert_eq!(server.audit("agent_ca.request").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_is_made_where_it_is_kept_and_locked_there() {
    let server = Server::quickstart();
    let vault = Vault::new();
    let request = server.room().join("request");
    let passphrase = vault.keep("passphrase", "correct horse battery staple\n");
    let lock = ["--encrypt", "--root-key-passphrase-file", &passphrase];
    let key = vault.file("new-root.age").to_str().unwrap().to_owned();
    cli(&server, &["prepare-root", "--request", request.to_str().unwrap()]).ok();
    let (signed, said) = tokio::task::block_in_place(|| vault.signed(&request, &key, &lock));
    assert!(said.stderr.contains("will be made, with a new key"), "{said}");
    assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let old_key = server.file("root-key.pem");
    let same = vault.sign(&request, old_key.to_str().unwrap(), &["--yes"]).failed();
    assert!(same.stderr.contains("another root wants another key"), "{same}");
    let installed = cli(&server, &["renew", "--json", "--install", &signed]).json();
    assert_eq!(installed["prepared"]["intermediate"]["issuing_from"], serde_json::Value::Null);
    let bundle = keys::certificates(&cli(&server, &["export", "-"]).ok().stdout);
    assert_eq!(bundle.len(), 4, "two roots, an intermediate of each");
    let lists = fetch(&server).await;
    assert_eq!(lists.len(), 4, "and their lists");

    // Until it is activated, the one before signs, and the new one does not.
    let renew = |key: &str, more: &[&str]| {
        let arguments = [&["renew", "--now", "--json", "--root-key", key], more].concat();
        cli(&server, &arguments)
    };
    let early = renew(&key, &["--root-key-passphrase-file", &passphrase]).failed();
    assert!(early.stderr.contains("not the key of this agent CA's root"), "{early}");
    renew(old_key.to_str().unwrap(), &[]).json();
    let twice = cli(&server, &["prepare-root"]).failed();
    assert!(twice.stderr.contains("muster agent-ca activate-root"), "{twice}");
    let activated = cli(&server, &["activate-root", "--json"]).json();
    assert_eq!(activated["issuing"]["sha256"], installed["prepared"]["intermediate"]["sha256"]);
    // From then on it is the new one that signs.
    renew(old_key.to_str().unwrap(), &[]).failed();
    let wrong = vault.keep("wrong", "correct horse battery stable\n");
    let locked = renew(&key, &["--root-key-passphrase-file", &wrong]).failed();
    assert!(locked.stderr.contains("the passphrase does not open the root key"), "{locked}");
    let renewed = renew(&key, &["--root-key-passphrase-file", &passphrase]).json();
    assert_eq!(intermediates(&server).last().unwrap()["sha256"], renewed["sha256"]);
    let early = cli(&server, &["retire-root"]).failed();
    assert!(early.stderr.contains("can go from"), "{early}");
    cli(&server, &["retire-root", "--force"]).ok();
    let bundle = keys::certificates(&cli(&server, &["export", "-"]).ok().stdout);
    assert_eq!(bundle.len(), 3, "the new root and its two intermediates");
}
