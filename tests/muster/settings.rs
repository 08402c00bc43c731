//! Settings and files that would leave agents outside are refused before anything is made, by `serve` and by
//! `serve --check`.

use std::fs;
use std::path::Path;

use crate::support::cli::Cli;
use crate::support::server::Server;
use crate::support::serving::{Serving, refuses};

#[test]
fn a_setting_that_leaves_agents_outside_is_refused_and_nothing_is_made() {
    let room = tempfile::tempdir().unwrap();
    let data_dir = room.path().join("data");
    for (variable, value, says) in [
        ("MUSTER_GRPC_ADDR", "https://muster.example.org:9443", "HOST:PORT"),
        ("MUSTER_GRPC_ADDR", "muster.example.org", "HOST:PORT"),
        ("MUSTER_GRPC_ADDR", "[::1]", "HOST:PORT"),
        ("MUSTER_GRPC_ADDR", ":99999", "HOST:PORT"),
        ("MUSTER_GRPC_ADDR", "  ", "HOST:PORT"),
        ("MUSTER_GRPC_ADDR", "*.example.org:9443", "HOST:PORT"),
        ("MUSTER_PUBLIC_URL", "http://muster.example.org", "https"),
        ("MUSTER_PUBLIC_URL", "https://muster.example.org/ui", "without a path"),
        ("MUSTER_CERT_NAMES", "https://muster.example.org", "DNS names"),
        ("MUSTER_SVID_TTL", "86400", "a duration with its unit"),
        ("MUSTER_RESERVED_AGENT_IDS", "root,web 1", "agent ids"),
        ("MUSTER_SVID_DNS_SUFFIX", "Agents.example", "a DNS name in lower case"),
        ("MUSTER_SVID_DNS_SUFFIX", "a=x.example,b=x.example", "stands there twice"),
        ("MUSTER_CRL_URL", "ldap://pki.example.org", "http address"),
        ("MUSTER_CRL_URL", "http://pki.example.org/?list", "and nothing else"),
        ("MUSTER_CRL_LISTEN", "8080", "an address and a port"),
        ("MUSTER_LOG", "verbose", "error, warn, info, debug or trace"),
    ] {
        for args in [&["--check"][..], &[]] {
            let said = refuses(&data_dir, args, &[(variable, value)]);
            assert!(said.contains(variable) && said.contains(says), "{variable}={value}: {said}");
        }
        assert!(!data_dir.exists(), "{variable}={value}");
    }
}

#[test]
fn a_join_token_names_no_agent_of_power() {
    let mint = |server: &Server, agent: &str| server.cli(&["enroll-token", "--agent", agent, "--json"]).run();
    let server = Server::quickstart();
    for id in ["root", "Admin", "consoleadmin", "POSTGRES"] {
        let refused = mint(&server, id).failed();
        assert!(
            refused.stderr.contains("is reserved") && refused.stderr.contains("invalid_agent_id"),
            "{refused}"
        );
    }
    mint(&server, "root-1").ok();
    let server = Server::quickstart_with(&[("MUSTER_RESERVED_AGENT_IDS", "boss")]);
    mint(&server, "Boss").failed();
    mint(&server, "root").ok();
}

#[test]
fn a_refusal_names_the_file_and_the_line() {
    let room = tempfile::tempdir().unwrap();
    let (data_dir, file) = (room.path().join("data"), room.path().join("muster.yml"));
    for (yaml, line, says) in [
        ("# how long\nsvid_ttl: 86400\n", 2, "a number without a unit"),
        ("log: info\n\ntls_cert_file: \"\"\n", 3, "a path"),
        ("grpc_addr: '[::1]'\n", 1, "HOST:PORT"),
        ("trusted_proxies: {}\n", 1, "networks"),
    ] {
        fs::write(&file, yaml).unwrap();
        let said = refuses(&data_dir, &["--check", "--config", file.to_str().unwrap()], &[]);
        assert!(said.contains(&format!("muster.yml, line {line}: '")) && said.contains(says), "{said}");
        assert!(!said.contains("untagged"), "{said}");
    }
}

#[test]
fn a_check_starts_nothing() {
    let room = tempfile::tempdir().unwrap();
    let data_dir = room.path().join("data");
    let check = || {
        let cli = Cli::new(room.path(), &["serve", "--check"]);
        cli.env("MUSTER_DATA_DIR", data_dir.to_str().unwrap()).env("MUSTER_LOG", "off,muster=debug")
    };
    assert!(check().run().ok().stderr.contains("usable"));
    assert!(!data_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ca_file_that_does_not_vouch_for_what_the_server_issues_is_refused() {
    let mut server = Server::quickstart();
    let own = String::from_utf8(server.http().get("/agent-ca.crt").await.body).unwrap();
    let foreign = Server::quickstart().cli(&["agent-ca", "export", "-"]).run().ok().stdout;
    server.stop();
    let file = server.room().join("agents.pem");
    let env = [("MUSTER_AGENT_TLS_CA_FILE", file.to_str().unwrap())];
    fs::write(&file, &foreign).unwrap();
    for args in [&["--check"][..], &[]] {
        let said = refuses(&server.data_dir(), args, &env);
        assert!(said.contains("does not vouch for what this server issues"), "{said}");
    }
    let certificates: Vec<_> = own.split_inclusive("-----END CERTIFICATE-----\n").collect();
    for vouches in [own.clone(), certificates[0].to_owned(), certificates[1].to_owned(), foreign + &own] {
        fs::write(&file, vouches).unwrap();
        let check = server.cli(&["serve", "--check"]).env(env[0].0, env[0].1);
        check.run().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_knows_makes_its_certificate_for_every_name_that_is_asked_for() {
    let serving = Serving::start(&[
        ("MUSTER_PUBLIC_URL", "https://muster.example.org:8443,https://alt.example.org"),
        ("MUSTER_CERT_NAMES", "third.example.org,192.0.2.7,2001:db8::7"),
    ]);
    let names = serving.certificate_names();
    for name in
        ["muster.example.org", "alt.example.org", "third.example.org", "192.0.2.7", "2001:DB8:0:0:0:0:0:7"]
    {
        assert!(names.contains(name), "{name} in {names}");
    }
    assert!(names.contains("localhost") && names.contains("127.0.0.1"), "{names}");
    assert_eq!(serving.http().get("/healthz").await.status, 200);
    assert_eq!(serving.hello["url"], "https://muster.example.org:8443");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hosts_know_makes_no_certificate_that_they_would_refuse() {
    let mut server = Server::quickstart();
    crate::support::identity::Identity::enroll(&server, "web-1").await;
    server.stop();
    fs::rename(server.file("tls"), server.room().join("lost")).unwrap();
    for args in [&["--check"][..], &[]] {
        let said = refuses(&server.data_dir(), args, &[]);
        assert!(said.contains("server.crt does not exist") && said.contains("gen-cert"), "{said}");
    }
    assert!(!server.file("tls").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_made_again_keeps_names_and_key() {
    let server = Server::quickstart();
    let tls = server.file("tls");
    let read = |name: &str| fs::read_to_string(tls.join(name)).unwrap();
    let names = |tls: &Path| crate::support::serving::names_in(server.room(), &tls.join("server.crt"));
    server.cli(&["gen-cert", "--name", "muster.example.org", "--name", "127.0.0.1"]).run().ok();
    let (ca, certificate, key, before) =
        (read("ca.crt"), read("server.crt"), read("server.key"), names(&tls));
    assert!(before.contains("muster.example.org") && !before.contains("localhost"), "{before}");

    server.cli(&["gen-cert"]).run().ok();
    assert_ne!(read("server.crt"), certificate);
    assert_eq!((read("ca.crt"), read("server.key"), names(&tls)), (ca.clone(), key.clone(), before));
    let more = server.cli(&["gen-cert", "--renew"]).env("MUSTER_CERT_NAMES", "alt.example.org");
    more.run().ok();
    assert!(names(&tls).contains("muster.example.org") && names(&tls).contains("alt.example.org"));

    server.cli(&["gen-cert", "--new-key"]).run().ok();
    assert_ne!(read("server.key"), key, "nobody depends on it yet");
    let key = read("server.key");
    crate::support::identity::Identity::enroll(&server, "web-1").await;
    // One knows the server by this very certificate, and says so with its first heartbeat.
    let pinned = crate::support::agent::Machine::new();
    let leaf = crate::support::keys::fingerprint(&crate::support::keys::certificates(&read("server.crt"))[0]);
    let token = server.join_token_for("pinned");
    crate::support::wait::until("the new certificate is served", || {
        let enrolled = pinned.enroll(&server.hello.url, &token, &["--ca-pin", &leaf]);
        (enrolled.code == Some(0)).then_some(())
    });
    let agent = pinned.run(&pinned.configure(&server, None), &[]);
    agent.wait_for_log("session open", crate::support::wait::PATIENCE);
    let refused = server.cli(&["gen-cert", "--new-key"]).run().failed();
    let said = "(2): 1 have reported that they trust the server's own certificate";
    assert!(refused.stderr.contains(said) && refused.stderr.contains("1 have not said"), "{refused}");
    assert!(refused.stderr.contains("--yes"), "{refused}");
    assert_eq!(read("server.key"), key);
    server.cli(&["gen-cert", "--new-key", "--yes"]).run().ok();
    assert_ne!(read("server.key"), key);
    assert_eq!(read("ca.crt"), ca);

    let room = tempfile::tempdir().unwrap();
    let nothing = Cli::new(room.path(), &["gen-cert", "--renew"]);
    let refused = nothing.env("MUSTER_DATA_DIR", room.path().join("data").to_str().unwrap()).run().failed();
    assert!(refused.stderr.contains("to renew"), "{refused}");
}

#[test]
fn a_certificate_of_the_future_or_the_past_is_refused_with_its_time() {
    let room = tempfile::tempdir().unwrap();
    for (from, until, says) in [
        (2090, 2091, "is not valid before 2090-01-01T00:00:00Z"),
        (2020, 2021, "expired at 2021-01-01T00:00:00Z"),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let (certificate, key_file) = (room.path().join("a.crt"), room.path().join("a.key"));
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let env = [
            ("MUSTER_TLS_CERT_FILE", certificate.to_str().unwrap()),
            ("MUSTER_TLS_KEY_FILE", key_file.to_str().unwrap()),
        ];
        let said = refuses(&room.path().join("data"), &["--check"], &env);
        assert!(said.contains(says), "{said}");
    }
}
