//! A store that can't grow, as on a full disk: refusals without harm, and work again once there is room.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tonic::Code;

use crate::support::client::Client;
use crate::support::fleet::{named_host, secret};
use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until_answered};

/// More enrollments than fit into what a fresh store has left.
const MANY: usize = 3_000;

/// From now on the server can write no byte beyond this place in any file.
fn limit_files(server: &mut Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.process().id().try_into().unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

async fn answers(http: &crate::support::http::Http, secret: &str) -> (Key, crate::support::http::Answer) {
    let key = Key::p256();
    let answer = present_secret(http, secret, &key.csr()).await;
    (key, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let revoked = named_host(&admin, "", "revoked").await;
    let kept = named_host(&admin, "", "kept").await;
    admin.act("/v1/agents/revoked/revoke").await.expect(200);
    let (secret_id, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;

    let full = std::fs::metadata(server.store_file()).unwrap().len();
    limit_files(&mut server, Some(full));
    let mut acknowledged = Vec::new();
    let refusal = loop {
        let (key, answer) = answers(&admin.http, &secret).await;
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(Identity { key, answer: answer.json() });
        assert!(acknowledged.len() < MANY, "the store never had to grow");
    };
    let problem = refusal.refused(503, "unavailable");
    assert!(!problem.to_string().contains('/'), "no path: {problem}");
    revoked.peer(&server).assert_refused().await;

    limit_files(&mut server, None);
    let again = until_answered("there is room again", async || {
        let (key, answer) = answers(&admin.http, &secret).await;
        if answer.status != 201 {
            answer.refused(503, "unavailable");
            return None;
        }
        Some(Identity { key, answer: answer.json() })
    });
    acknowledged.push(again.await);
    assert!(server.process().is_running(), "without a restart");
    assert_eq!(admin.get("/readyz").await.status, 200);

    check(&server, &secret_id, &acknowledged, &revoked, &kept).await;
    server.kill();
    server.start_again();
    check(&server, &secret_id, &acknowledged, &revoked, &kept).await;
}

/// What was acknowledged is there, and who was revoked is out.
async fn check(
    server: &Server,
    secret_id: &str,
    acknowledged: &[Identity],
    revoked: &Identity,
    kept: &Identity,
) {
    for identity in acknowledged.iter().step_by(acknowledged.len() / 10 + 1) {
        let serials = server.enrollments(&identity.host_id());
        assert!(serials.iter().any(|row| row["serial"] == identity.serial()), "{serials:?}");
    }
    // A commit that failed may have reached the disk all the same; then it is there as a whole.
    let hosts = server.hosts();
    let ids: std::collections::HashSet<_> = hosts.iter().map(|host| host["id"].as_str().unwrap()).collect();
    for identity in acknowledged {
        assert!(ids.contains(identity.host_id().as_str()), "{}", identity.host_id());
    }
    assert_eq!(usize::try_from(server.uses(secret_id)).unwrap(), hosts.len() - 2);
    acknowledged.last().unwrap().peer(server).reports().await.unwrap();
    kept.peer(server).reports().await.unwrap();
    revoked.peer(server).assert_refused().await;
    let token = server.join_token_for("revoked");
    present_token(&server.http(), &token, &Key::p256().csr()).await.refused(403, "identity_revoked");
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_write_nothing_still_keeps_the_revoked_out() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let revoked = named_host(&admin, "", "revoked").await;
    let kept = named_host(&admin, "", "kept").await;
    let mut session = kept.peer(&server).connect().await.unwrap().session().await.unwrap();
    admin.act("/v1/agents/revoked/revoke").await.expect(200);
    limit_files(&mut server, Some(4_096));
    let refused = admin.act("/v1/agents/kept/revoke").await;
    refused.refused(503, "unavailable");
    revoked.peer(&server).assert_refused().await;
    assert_eq!(admin.get("/healthz").await.status, 200);
    session.report().await;

    limit_files(&mut server, None);
    until_it_works(async || admin.act("/v1/agents/kept/revoke").await.status).await;
    assert_eq!(session.end(PATIENCE).await.unwrap_err().code(), Code::PermissionDenied);
    revoked.peer(&server).assert_refused().await;
    kept.peer(&server).assert_refused().await;
}

/// Limits files to the length of the journal, which is made so long that the store still has room. Returns the
/// administrator of the server that runs now.
async fn fill_the_journal(server: &mut Server) -> Client {
    let password = server.hello.admin_password.clone().unwrap();
    server.stop();
    let path = server.file("revocations.log");
    let mut journal = std::fs::read(&path).unwrap();
    let store = usize::try_from(std::fs::metadata(server.store_file()).unwrap().len()).unwrap();
    // A whole line of a kind that this version does not know, and keeps.
    let rest = format!("\"kind\":\"padding\",\"with\":\"{}\"}}", "x".repeat(3_900));
    let sum = &HEXLOWER.encode(digest::digest(&digest::SHA256, rest.as_bytes()).as_ref())[..16];
    let line = format!("{{\"sum\":\"{sum}\",{rest}\n");
    while journal.len() < 2 * store {
        journal.extend_from_slice(line.as_bytes());
    }
    std::fs::write(&path, &journal).unwrap();
    server.start_again();
    let admin = Client::sign_in(server, "admin", &password).await;
    let full = std::fs::metadata(&path).unwrap().len();
    limit_files(server, Some(full));
    admin
}

async fn until_it_works(act: impl AsyncFn() -> u16) {
    let works = async || matches!(act().await, 200 | 204).then_some(());
    until_answered("there is room again", works).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_does_not_wait_for_room_in_the_journal() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let revoked = named_host(&admin, "", "revoked").await;
    let kept = named_host(&admin, "", "kept").await;
    let admin = fill_the_journal(&mut server).await;
    let mut ending = revoked.peer(&server).connect().await.unwrap().session().await.unwrap();
    let going_on = kept.peer(&server).connect().await.unwrap().session().await.unwrap();
    admin.act("/v1/agents/revoked/revoke").await.refused(503, "unavailable");
    assert_eq!(ending.end(PATIENCE).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(admin.get("/readyz").await.status, 503);
    for _ in 0..3 {
        revoked.peer(&server).assert_refused().await;
        kept.peer(&server).reports().await.unwrap();
        admin.get("/v1/hosts").await.expect(200);
        going_on.report().await;
    }
    limit_files(&mut server, None);
    until_it_works(async || admin.act("/v1/agents/revoked/revoke").await.status).await;
    let journal = std::fs::read_to_string(server.file("revocations.log")).unwrap();
    assert!(journal.contains(&revoked.serial()), "what was in the store alone is there as well");
    // What changes nothing is no commit.
    until_it_works(async || admin.get("/readyz").await.status).await;
    server.cli(&["check"]).run().well();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_follows_what_a_failed_write_has_left_on_disk() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let deleted = named_host(&admin, "", "deleted").await;
    let back = named_host(&admin, "", "back").await;
    admin.act(&format!("/v1/hosts/{}/decommission", back.host_id())).await.expect(200);
    let admin = fill_the_journal(&mut server).await;
    let hosts = async || admin.items("/v1/hosts").await.len();
    assert_eq!(hosts().await, 1);
    let path = format!("/v1/hosts/{}", deleted.host_id());
    admin.delete(&path).await.refused(503, "unavailable");
    assert_eq!(hosts().await, 0, "it is gone on disk");
    admin.get(&path).await.refused(404, "not_found");

    // The journal has to know of it first, so this has changed nothing.
    let re_enable = format!("/v1/hosts/{}/re-enable", back.host_id());
    admin.act(&re_enable).await.refused(503, "unavailable");
    limit_files(&mut server, None);
    until_it_works(async || admin.act(&re_enable).await.status).await;
    let token = server.join_token_for("back");
    let key = Key::p256();
    let answer = present_token(&server.http(), &token, &key.csr()).await.expect(201);
    let returned = Identity { key, answer };
    returned.peer(&server).reports().await.unwrap();
    assert_eq!(hosts().await, 1);
    server.cli(&["check"]).run().well();
}
