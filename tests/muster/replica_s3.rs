//! A replica in an object store that speaks S3: moto's server, which honours conditional puts, with a way there that is cut.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::support::cli::Cli;
use crate::support::identity::Identity;
use crate::support::ports::free_port;
use crate::support::process::{Process, command};
use crate::support::relay::Relay;
use crate::support::server::Server;
use crate::support::wait::until;

/// What `.ci/prepare-use` has installed.
const MOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/moto-5.2.5/bin/moto_server");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto's server: make test-use"]
async fn an_object_store_has_everything_and_gives_it_back() {
    assert!(Path::new(MOTO).exists(), "{MOTO} is missing: run .ci/prepare-use first");
    let room = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut moto = command(MOTO, room.path());
    moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let _moto = Process::start(&mut moto);
    until("moto makes a bucket", || {
        let mut moto = TcpStream::connect(("127.0.0.1", port)).ok()?;
        moto.write_all(b"PUT /bucket HTTP/1.0\r\nContent-Length: 0\r\n\r\n").ok()?;
        let mut answer = String::new();
        moto.read_to_string(&mut answer).ok()?;
        answer.contains(" 200 ").then_some(())
    });
    let relay = Relay::open();
    relay.lead_to(&format!("127.0.0.1:{port}"));
    let keys = room.path().join("keys");
    std::fs::write(&keys, "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n").unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let entry = format!(
        "url=s3://bucket/muster,every=100ms,endpoint=http://{},region=eu-central-1,credentials_file={}",
        relay.address,
        keys.display()
    );
    let mut server = Server::quickstart_with(&[("MUSTER_REPLICAS", &entry)]);
    let standing = |server: &Server| -> Value {
        let shown = server.cli(&["replica", "status", "--json"]).run().stdout;
        serde_json::from_str::<Value>(&shown).unwrap()["items"][0].clone()
    };
    let has_all = |server: &Server| {
        until("the bucket has everything", || {
            let standing = standing(server);
            (standing["state"] == "following" && standing["unsent"] == 0).then_some(())
        });
    };
    Identity::enroll(&server, "first").await;
    has_all(&server);
    // Answers are lost, connections cut, then nothing gets there: it is caught up, with nothing doubled.
    relay.keep_answers();
    Identity::enroll(&server, "second").await;
    relay.cut();
    relay.lead_to(&format!("127.0.0.1:{}", free_port()));
    relay.cut();
    Identity::enroll(&server, "third").await;
    until("it is behind", || (standing(&server)["state"] == "behind").then_some(()));
    relay.lead_to(&format!("127.0.0.1:{port}"));
    has_all(&server);
    let verified = server.cli(&["replica", "verify", "--json"]).run().json();
    assert_eq!(verified["items"][0]["gaps"].as_array().unwrap().len(), 0, "{verified}");

    server.kill();
    let data = room.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(server.file("envelope.key"), data.join("envelope.key")).unwrap();
    let restored = Cli::new(room.path(), &["restore", "--from", &entry, "--json"])
        .env("MUSTER_DATA_DIR", data.to_str().unwrap())
        .run()
        .json();
    assert_eq!(restored["hosts_in_service"], 3, "{restored}");
}
