//! `muster agent outputs`: files for programs that speak no SPIFFE, read by those programs, whole at every moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use muster::agent::workload::proto::X509svidResponse;
use rcgen::{KeyPair, PublicKeyData};
use rustix::process::Signal;
use serde_json::{Value, json};
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::support::cli::{openssl, program};
use crate::support::notify::NotifySocket;
use crate::support::provider::{OtherCa, Outputs, Provider, SPIFFE_ID};
use crate::support::wait;

fn dir(provider: &Provider, name: &str) -> PathBuf {
    Outputs::dir(provider.room.path(), name)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// One directory for each format, under these names.
fn every_format(provider: &Provider) -> Value {
    let password = provider.room.path().join("password");
    fs::write(&password, "correct horse\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let outputs = ["pem", "combined", "pkcs12", "hashed", "der"].map(|format| {
        let mut output = json!({"dir": dir(provider, format), "format": format, "key_mode": "0640"});
        if format == "pkcs12" {
            output["password_file"] = json!(password);
        }
        output
    });
    json!(outputs)
}

#[test]
fn every_format_is_read_by_the_programs_that_it_is_for() {
    let provider = Provider::start();
    let room = provider.room.path();
    let revoked = provider.ca.svid();
    let leaf = X509Certificate::from_der(&revoked.x509_svid).unwrap().1;
    let serial: u64 = leaf.raw_serial().iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
    provider.give(provider.ca.answer(&[serial]));
    let outputs = provider.outputs(every_format(&provider));
    outputs.run(&["--check"]).ok();
    assert_eq!(fs::read_dir(room.join("pem")).unwrap().count(), 0, "a check writes nothing");
    outputs.run(&["--once"]).ok();

    // pem
    let leaf_length = revoked.x509_svid.len() - provider.ca.intermediate.len();
    fs::write(room.join("revoked.der"), &revoked.x509_svid[..leaf_length]).unwrap();
    openssl(room, &["x509", "-inform", "DER", "-in", "revoked.der", "-out", "revoked.pem"]).ok();
    let public_of = |args: &[&str]| openssl(room, args).ok().stdout;
    let key = public_of(&["pkey", "-pubout", "-in", "pem/key.pem"]);
    assert_eq!(public_of(&["x509", "-noout", "-pubkey", "-in", "pem/cert.pem"]), key);
    let verify =
        ["verify", "-crl_check_all", "-CAfile", "pem/ca.pem", "-CRLfile", "pem/crl.pem", "-untrusted"];
    let verify = |file: &'static str| openssl(room, &[&verify[..], &["pem/bundle.pem", file]].concat());
    verify("pem/cert.pem").ok();
    let refused = verify("revoked.pem");
    assert!(refused.code != Some(0) && refused.stderr.contains("certificate revoked"), "{refused}");
    let denied: Value = serde_json::from_slice(&fs::read(room.join("pem/denied.json")).unwrap()).unwrap();
    let known = format!("{serial:x}");
    let known = if known.len() % 2 == 0 { known } else { format!("0{known}") };
    assert_eq!(denied, json!([{"serial": known, "end": null, "spiffe_id": null, "dn": null}]));

    // combined
    assert_eq!(
        public_of(&["x509", "-noout", "-pubkey", "-in", "combined/combined.pem"]),
        public_of(&["pkey", "-pubout", "-in", "combined/combined.pem"])
    );

    // der
    let key = public_of(&["pkey", "-inform", "DER", "-pubout", "-in", "der/key.der"]);
    assert_eq!(public_of(&["x509", "-inform", "DER", "-noout", "-pubkey", "-in", "der/cert.der"]), key);
    assert_eq!(fs::read(room.join("der/intermediate.der")).unwrap(), provider.ca.intermediate);

    // pkcs12
    let read = ["pkcs12", "-passin", "file:password", "-nodes", "-in", "pkcs12/identity.p12"];
    let shown = openssl(room, &read).ok().stdout;
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 2, "{shown}");
    assert_eq!(shown.matches("BEGIN PRIVATE KEY").count(), 1);
    for (store, entry) in [("identity.p12", "PrivateKeyEntry"), ("truststore.p12", "trustedCertEntry")] {
        let path = format!("pkcs12/{store}");
        let args = ["-list", "-keystore", &path, "-storetype", "PKCS12", "-storepass:file", "password"];
        let listed = program("keytool", room, &args).ok().stdout;
        assert!(listed.contains("contains 1 entry") && listed.contains(entry), "{listed}");
    }

    // hashed: the names are those that openssl gives, and it finds what it looks for.
    let rehashed = room.join("rehashed");
    fs::create_dir(&rehashed).unwrap();
    let both = room.join("both");
    fs::create_dir(&both).unwrap();
    let mut names = BTreeSet::new();
    for (number, folder) in [(1, "ca.d"), (2, "crl.d")] {
        for entry in fs::read_dir(room.join("hashed").join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(Pem::iter_from_buffer(&fs::read(entry.path()).unwrap()).count(), 1, "{name}");
            fs::copy(entry.path(), rehashed.join(format!("{number}-{name}.pem"))).unwrap();
            symlink(entry.path(), both.join(&name)).unwrap();
            names.insert(name);
        }
    }
    assert_eq!(names.len(), 3, "a root and two lists: {names:?}");
    openssl(room, &["rehash", "rehashed"]).ok();
    let by_openssl =
        fs::read_dir(&rehashed).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(by_openssl.filter(|name| !name.ends_with(".pem")).collect::<BTreeSet<_>>(), names);
    let verify =
        ["verify", "-crl_check_all", "-no-CAfile", "-CApath", "both", "-untrusted", "hashed/bundle.pem"];
    openssl(room, &[&verify[..], &["hashed/cert.pem"]].concat()).ok();
    let refused = openssl(room, &[&verify[..], &["revoked.pem"]].concat());
    assert!(refused.code != Some(0) && refused.stderr.contains("certificate revoked"), "{refused}");

    // Whoever may not have the key may have the rest.
    for (file, expected) in [
        ("pem/key.pem", 0o640),
        ("combined/combined.pem", 0o640),
        ("pkcs12/identity.p12", 0o640),
        ("der/key.der", 0o640),
        ("pem/cert.pem", 0o644),
        ("pkcs12/truststore.p12", 0o644),
        ("pem/..data", 0o755),
        ("hashed/crl.d", 0o755),
    ] {
        assert_eq!(mode(&room.join(file)), expected, "{file}");
    }

    // Nothing is written where nothing has changed.
    let before = fs::read_link(room.join("pem/..data")).unwrap();
    outputs.run(&["--once"]).ok();
    assert_eq!(fs::read_link(room.join("pem/..data")).unwrap(), before);
    let checked = outputs.run(&["--check"]).ok();
    assert_eq!(checked.stdout.matches("write nothing").count(), 5, "{checked}");
    let status = outputs.run(&["--status"]).ok();
    assert_eq!(status.stdout.matches(" ok ").count(), 5, "{status}");
    assert_eq!(outputs.status()["spiffe_id"], SPIFFE_ID);
}

/// Whether a certificate and a key, read from these texts, are a pair.
fn are_a_pair(certificate: &str, key: &str) -> bool {
    let block = Pem::iter_from_buffer(certificate.as_bytes()).next().unwrap().unwrap();
    let (_, leaf) = X509Certificate::from_der(&block.contents).unwrap();
    let start = key.find("-----BEGIN PRIVATE KEY").unwrap();
    let key = KeyPair::from_pem(&key[start..]).unwrap();
    leaf.public_key().raw == key.subject_public_key_info()
}

#[test]
fn killed_at_any_instant_readers_see_whole_sets() {
    const KILLS: u32 = 100;
    let provider = Provider::start();
    let room = provider.room.path();
    let (pem, combined) = (dir(&provider, "pem"), dir(&provider, "combined"));
    provider.give(provider.ca.answer(&[]));
    let outputs = provider.outputs(json!([{"dir": pem}, {"dir": combined, "format": "combined"}]));
    outputs.run(&["--once"]).ok();

    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let reader = {
        let (over, reads, pem, combined) = (Arc::clone(&over), Arc::clone(&reads), pem, combined);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let set = fs::File::open(pem.join("..data")).unwrap();
                let fd = std::os::fd::AsRawFd::as_raw_fd(&set);
                let inside = |name: &str| fs::read_to_string(format!("/proc/self/fd/{fd}/{name}"));
                let read = ["cert.pem", "key.pem", "crl.pem"].map(inside);
                let [Ok(certificate), Ok(key), Ok(lists)] = &read else {
                    // Whoever takes longer than 32 more sets do, finds it gone.
                    assert!(
                        read.iter().flatten().count() == 0
                            || fs::metadata(format!("/proc/self/fd/{fd}/key.pem")).is_err()
                    );
                    continue;
                };
                assert!(are_a_pair(certificate, key));
                assert!(lists.ends_with("-----END X509 CRL-----\n"));
                let both = fs::read_to_string(combined.join("combined.pem")).unwrap();
                assert!(are_a_pair(&both, &both));
                reads.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    // Rotations come as fast as they are taken in.
    let (mut written, mut kills) = (0, 0);
    while kills < KILLS {
        let mut process = outputs.keep();
        let line = process.stderr.wait_for_line(wait::PATIENCE, |line| line.contains("keeping files"));
        assert!(line.is_some(), "{}", process.stderr.text());
        // Every other one is killed at its beginning, the others somewhere in their work, each time a little later.
        if kills % 2 == 1 {
            provider.rotate();
            let line = process.stderr.wait_for_line(wait::PATIENCE, |line| line.contains("files written"));
            assert!(line.is_some(), "{}", process.stderr.text());
        }
        for _ in 0..kills % 40 {
            provider.rotate();
            std::thread::sleep(Duration::from_millis(2));
        }
        process.kill();
        written += process.stderr.text().matches("files written").count();
        kills += 1;
        assert!(!reader.is_finished(), "the reader saw a set that is none");
    }
    over.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert!(written > 100, "{written} sets were written");
    assert!(reads.load(Ordering::Relaxed) > 100);
    // What was left half is gone when the next one has had its time; what is kept is bounded.
    outputs.run(&["--once"]).ok();
    let sets = fs::read_dir(room.join("pem"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("..muster-"));
    let sets = sets.count();
    assert!(sets <= 33, "{sets} sets are kept");
}

#[test]
fn a_folder_that_is_not_fit_is_named_and_the_others_go_on() {
    let provider = Provider::start();
    let room = provider.room.path();
    provider.give(provider.ca.answer(&[]));
    type Spoil = fn(&Path, &Path);
    let mut cases: Vec<(&str, Spoil, &str)> = vec![
        (
            "a link",
            |dir, room| {
                fs::create_dir(room.join("elsewhere")).unwrap();
                symlink(room.join("elsewhere"), dir).unwrap();
            },
            "symbolic link",
        ),
        ("missing", |_, _| {}, "is not there"),
        ("a file", |dir, _| fs::write(dir, "").unwrap(), "no directory"),
        (
            "open to others",
            |dir, _| {
                fs::create_dir(dir).unwrap();
                fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
            },
            "chmod go-w",
        ),
        (
            "somebody's file in it",
            |dir, _| {
                fs::create_dir(dir).unwrap();
                fs::write(dir.join("key.pem"), "somebody's").unwrap();
            },
            "is not ours",
        ),
        (
            "somebody's link in it",
            |dir, room| {
                fs::create_dir(dir).unwrap();
                symlink(room.join("outputs.yml"), dir.join("cert.pem")).unwrap();
            },
            "is not ours",
        ),
        (
            "somebody's ..data in it",
            |dir, _| {
                fs::create_dir(dir).unwrap();
                fs::create_dir(dir.join("..data")).unwrap();
            },
            "is not ours",
        ),
    ];
    if rustix::process::geteuid().is_root() {
        cases.push((
            "somebody else's",
            |dir, _| {
                fs::create_dir(dir).unwrap();
                std::os::unix::fs::chown(dir, Some(4321), Some(4321)).unwrap();
            },
            "belongs to uid 4321",
        ));
    }
    let (mut wanted, mut dirs) = (Vec::new(), Vec::new());
    for (number, (name, spoil, expected)) in cases.iter().enumerate() {
        let place = room.join(format!("bad-{number}"));
        spoil(&place, room);
        wanted.push(json!({"dir": place}));
        dirs.push((*name, place, *expected));
    }
    let good = dir(&provider, "good");
    fs::write(good.join("README"), "somebody's").unwrap();
    wanted.push(json!({"dir": good}));
    let outputs = provider.outputs(json!(wanted));
    let checked = outputs.run(&["--check", "--json"]);
    assert_eq!(checked.code, Some(1));
    let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
    let mut process = outputs.keep();
    for (number, (name, place, expected)) in dirs.iter().enumerate() {
        let told = process.wait_for_log(&format!("dir={}", place.display()), wait::PATIENCE);
        assert!(told.contains(expected), "{name}: {told}");
        let problem = checked["outputs"][number]["problems"].to_string();
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    wait::until("the good one is written", || good.join("crl.pem").exists().then_some(()));
    assert_eq!(fs::read_to_string(good.join("README")).unwrap(), "somebody's");
    // Nothing was put into a place that was refused, or through it.
    assert_eq!(fs::read_dir(room.join("elsewhere")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(room.join("bad-4/key.pem")).unwrap(), "somebody's");
    assert_eq!(fs::read_dir(room.join("bad-4")).unwrap().count(), 1);
    // What is put right is taken up without a restart.
    fs::create_dir(room.join("bad-1")).unwrap();
    wait::until("the missing one is written", || room.join("bad-1/key.pem").exists().then_some(()));
    // A disk that takes no more, as a limit to the size of a file does it, leaves the old set whole.
    let small = Outputs::dir(room, "small");
    let full = Outputs::new(&Outputs::dir(room, "full"), &provider.socket(), json!([{"dir": small}]));
    full.run(&["--once"]).ok();
    let before = crate::support::files::contents(&small);
    provider.rotate();
    let refused = full.run_limited();
    assert!(refused.code == Some(1) && refused.stderr.contains("can't be written to"), "{refused}");
    assert_eq!(crate::support::files::contents(&small), before, "nothing new, nothing gone");
    // Two writers in one place would tear it.
    let refused = outputs.run(&["--once"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("another `muster agent outputs`"),
        "{refused}"
    );
    assert_eq!(outputs.status()["state"], "failing");
    process.signal(Signal::TERM);
    assert_eq!(process.wait().status.code(), Some(0));
}

/// Its last octet is the signature's.
fn with_another_signature(mut list: Vec<u8>) -> Vec<u8> {
    *list.last_mut().unwrap() ^= 1;
    list
}

#[test]
fn lists_that_are_incomplete_or_forged_replace_nothing() {
    let provider = Provider::start();
    let place = dir(&provider, "pem");
    provider.give(provider.ca.answer(&[7]));
    let outputs = provider.outputs(json!([{"dir": place}]));
    let process = outputs.keep();
    wait::until("files", || place.join("crl.pem").exists().then_some(()));
    let good = fs::read(place.join("crl.pem")).unwrap();
    let ca = &provider.ca;
    let forger = OtherCa::new();
    for (lists, reason) in [
        (vec![ca.list(&ca.issuer, &[])], "has no list of"),
        (vec![ca.list(&ca.root_issuer, &[])], "has no list of"),
        (vec![forger.list(&forger.issuer, &[]), ca.list(&ca.root_issuer, &[])], "has no list of"),
        (
            vec![with_another_signature(ca.list(&ca.issuer, &[])), ca.list(&ca.root_issuer, &[])],
            "is not signed by it",
        ),
        (vec![b"no list".to_vec(), ca.list(&ca.root_issuer, &[])], "is no revocation list"),
        (Vec::new(), "gives no lists"),
    ] {
        // The certificate goes on rotating, with the lists that are there.
        let svids = vec![ca.svid()];
        let serial = X509Certificate::from_der(&svids[0].x509_svid).unwrap().1.serial.clone();
        provider.give(X509svidResponse { svids, crl: lists, ..Default::default() });
        wait::until("the rotation", || {
            let block = Pem::iter_from_buffer(&fs::read(place.join("cert.pem")).ok()?).next()?.ok()?;
            (X509Certificate::from_der(&block.contents).ok()?.1.serial == serial).then_some(())
        });
        assert_eq!(fs::read(place.join("crl.pem")).unwrap(), good, "{reason}");
        wait::until(reason, || outputs.status()["lists_problem"].as_str()?.contains(reason).then_some(()));
    }
    provider.revoke(&[7, 8]);
    wait::until("the new lists", || {
        let text = fs::read(place.join("crl.pem")).ok()?;
        let block = Pem::iter_from_buffer(&text).next()?.ok()?;
        let entries =
            CertificateRevocationList::from_der(&block.contents).ok()?.1.iter_revoked_certificates().count();
        (entries == 2).then_some(())
    });
    wait::until("all is well", || (outputs.status()["state"] == "ok").then_some(()));
    drop(process);
}

/// Programs that look for the agent's certificate alone refuse all that it has signed for want of its list.
#[test]
fn an_intermediate_that_its_root_has_revoked_has_no_list() {
    let provider = Provider::start();
    let ca = &provider.ca;
    let place = dir(&provider, "pem");
    let serial = X509Certificate::from_der(&ca.intermediate).unwrap().1.serial.to_bytes_be();
    let root_list = ca.list_of(&ca.root_issuer, &[&serial]);
    let crl = vec![ca.list(&ca.issuer, &[7]), root_list.clone()];
    provider.give(X509svidResponse { svids: vec![ca.svid()], crl, ..Default::default() });
    provider.outputs(json!([{"dir": place}])).run(&["--once"]).ok();
    let written = fs::read(place.join("crl.pem")).unwrap();
    let written: Vec<_> = Pem::iter_from_buffer(&written).map(|block| block.unwrap().contents).collect();
    assert_eq!(written, [root_list]);
}

#[test]
fn files_outlive_the_provider_and_an_identity_is_waited_for() {
    let mut provider = Provider::start();
    let place = dir(&provider, "pem");
    let outputs = provider.outputs(json!([{"dir": place}]));
    let process = outputs.keep();
    process.wait_for_log("there is no identity yet", wait::PATIENCE);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    provider.give(provider.ca.answer(&[]));
    wait::until("files", || place.join("key.pem").exists().then_some(()));
    provider.stop();
    process.wait_for_log("files stay as they are", wait::PATIENCE);
    let first = fs::read(place.join("cert.pem")).unwrap();
    provider.rotate();
    provider.serve();
    wait::until("the next certificate", || {
        (fs::read(place.join("cert.pem")).unwrap() != first).then_some(())
    });
    // A link that somebody has removed comes back, and one that nobody needs any more goes.
    fs::remove_file(place.join("ca.pem")).unwrap();
    symlink("..data/old.pem", place.join("old.pem")).unwrap();
    provider.rotate();
    wait::until("the link", || place.join("ca.pem").exists().then_some(()));
    wait::until("the old link goes", || (!place.join("old.pem").is_symlink()).then_some(()));
    drop(process);
    // Another format takes the place of the first one.
    let outputs = provider.outputs(json!([{"dir": place, "format": "combined"}]));
    outputs.run(&["--once"]).ok();
    assert!(place.join("combined.pem").exists() && !place.join("cert.pem").is_symlink());
}

#[test]
fn a_service_manager_hears_when_the_files_are_there() {
    let provider = Provider::start();
    let place = dir(&provider, "pem");
    provider.give(provider.ca.answer(&[]));
    let notify = NotifySocket::new(provider.room.path());
    let outputs = provider.outputs(json!([{"dir": place}]));
    let mut process = outputs.keep_with(&[("NOTIFY_SOCKET", notify.address())]);
    notify.wait_for("READY=1");
    assert!(place.join("key.pem").exists());
    process.signal(Signal::TERM);
    notify.wait_for("STOPPING=1");
    assert_eq!(process.wait().status.code(), Some(0));
}

#[test]
fn a_drop_in_names_user_and_folders() {
    let provider = Provider::start();
    let (one, two) = (dir(&provider, "one"), dir(&provider, "two"));
    let outputs = provider.outputs(json!([{"dir": one}, {"dir": two, "group": "root"}]));
    let unit = outputs.run(&["--unit"]).ok().stdout;
    for line in [
        "[Service]".to_owned(),
        format!("ReadWritePaths={}", one.display()),
        format!("ReadWritePaths={}", two.display()),
        format!("ReadWritePaths={}", provider.room.path().join("state").display()),
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}: {unit}");
    }
    assert!(unit.contains("ExecStart=") && unit.contains(" agent outputs --config "), "{unit}");
}
