//! What lies where the server writes: links to other people's files, and files that are not the server's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::identity::Identity;
use crate::support::keys::certificates;
use crate::support::server::Server;
use crate::support::wait;

#[test]
fn a_link_in_the_way_never_leads_a_write_elsewhere() {
    let mut server = Server::quickstart();
    let victim = server.room().join("victim");
    fs::write(&victim, "mine").unwrap();
    let link = |name: &str| {
        let path = server.room().join(name);
        symlink(&victim, &path).unwrap();
        path
    };
    for (name, command) in
        [("bundle", &["agent-ca", "export"][..]), ("backup", &["backup"]), ("trail", &["audit", "export"])]
    {
        let path = link(name);
        // Whether it takes the link's place or refuses is each command's own affair.
        server.cli(&[command, &[path.to_str().unwrap()]].concat()).run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{name}");
        let written = fs::symlink_metadata(&path).unwrap().is_file();
        assert!(written || fs::read_link(&path).unwrap() == victim, "{name}");
    }
    server.stop();
    for name in ["muster.sock", "revocations.log", "muster.redb"] {
        let path = server.file(name);
        let aside = server.room().join("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        symlink(&victim, &path).unwrap();
        let refused = server.try_start_again().unwrap_err();
        assert_eq!(refused.status.code(), Some(1), "{name}: {refused:?}");
        assert!(refused.stderr.contains(name), "{name}: {refused:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{name}");
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
    }
    server.start_again();
}

#[test]
fn only_a_dead_server_s_socket_makes_way() {
    let mut server = Server::quickstart();
    server.kill();
    let socket = server.file("muster.sock");
    assert!(socket.exists(), "a killed server leaves it behind");
    server.start_again();
    server.cli(&["host", "list", "--json"]).run().ok();
    server.stop();
    fs::write(&socket, "something else").unwrap();
    let refused = server.try_start_again().unwrap_err();
    assert!(refused.stderr.contains("in the way"), "{refused:?}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_certificate_is_served_and_a_broken_one_is_not() {
    let server = Server::quickstart();
    let peer = Identity::enroll(&server, "web-1").await.peer(&server);
    let mut open = peer.connect().await.unwrap();
    open.heartbeat().await.unwrap();
    let http = server.http();
    let presented = async || {
        let stream = http.open().await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = presented().await;
    let key = fs::read(server.file("tls/server.key")).unwrap();

    fs::write(server.file("tls/server.key"), "no key").unwrap();
    server.wait_for_log("the one in use stays", wait::PATIENCE);
    assert_eq!(presented().await, first);
    fs::write(server.file("tls/server.key"), key).unwrap();

    tokio::task::block_in_place(|| server.cli(&["gen-cert", "--name", "127.0.0.1"]).run().ok());
    let chain = fs::read_to_string(server.file("tls/server.crt")).unwrap();
    let second = certificates(&chain)[0].clone();
    assert_ne!(second, first);
    server.wait_for_log("server certificate replaced", wait::PATIENCE);
    assert_eq!(presented().await, second);
    open.heartbeat().await.unwrap();
}
